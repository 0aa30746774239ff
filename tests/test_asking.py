"""The jobs of the page Ask through a real worker: what they tell, what they store, and what becomes of those left."""

import dataclasses
import threading
from contextlib import closing

import pytest
import torch

from rag.assistant import NOTHING_FOUND
from rag.errors import CollectionError, GenerationError, InputError, PromptError
from rag.schema import Answer, Filter, Prompt, SamplingParams, TokenStep
from rag.schema import Turn as Said
from tests.conftest import byte_tokenizer, tiny_model
from tests.told_answers import told_of, turn_of
from ui import asking, resources, store
from ui.asking import BRANCHING, JUDGING, LOADING, SEARCHING, SUPPORTING, Progress, Wanted
from ui.told import Told
from ui.worker import Waiting, Worker

TEXTS = {"tea.txt": "The tea room opens at ten. It sells scones.", "boat.md": "The boat is red. Ann rows it."}
QUESTION = "When does the tea room open?"
LIKELY = SamplingParams(max_new_tokens=12, temperature=1.3, seed=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a collection of two files and a tiny language model that reads: its weights are large."""
    from ui.cli import main

    folder, documents, model = (tmp_path_factory.mktemp(name) for name in ("home", "documents", "model"))
    made = tiny_model("llama")
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(10 if weights.ndim == 2 else 1)
    made.save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    for name, text in TEXTS.items():
        (documents / name).write_text(text)
    assert main(["ingest", str(documents), "--home", str(folder), "--collection", "papers", "--quiet"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", folder), ("COLLECTION", "papers"), ("LANGUAGE_MODEL", model)):
            patch.setenv(f"RAG_{name}", str(value))
        resources.clear()
        yield folder
    resources.clear()


@pytest.fixture(scope="module")
def worker():
    return Worker()


def wanted(**changes):
    given = {"collection": "papers", "template": "plain", "params": LIKELY, "passages": 2, "keep": Filter()}
    return Wanted(**given | changes)


def told(worker, job):
    """What a job tells."""
    events = worker.submit(job).follow(0.005)
    return [event for event in events if event is not None and not isinstance(event, Waiting)]


def asked(home, worker, question=QUESTION, **changes):
    """A stored turn of a conversation of its own."""
    number = store.begin(home, question, "papers")
    told(worker, asking.ask(home, number, question, wanted(**changes), ()))
    (turn,) = store.turns(home, number)
    return turn


def now(home, turn):
    """The turn as it is stored by now."""
    (found,) = (one for one in store.turns(home, turn.conversation) if one.id == turn.id)
    return found


def nothing(cancelled, tell):
    """A job: what was submitted before has ended when this has."""


def timeless(answer):
    return dataclasses.replace(answer, timings=None)


# ask


def test_an_answer_is_told_as_it_is_made_and_stored_as_it_was_told(home, worker):
    number = store.begin(home, QUESTION, "papers")
    events = told(worker, asking.ask(home, number, QUESTION, wanted(), ()))
    kinds = [event if isinstance(event, str) else type(event) for event in events]
    steps = kinds.count(TokenStep)
    assert steps > 1
    assert kinds == [LOADING, SEARCHING, Prompt, *[TokenStep] * steps, JUDGING, Answer, SUPPORTING, Told]
    (turn,) = store.turns(home, number)
    last = events[-1]
    assert turn.told == last
    assert last.answer == events[-3]
    assert last.answer.steps == tuple(event for event in events if isinstance(event, TokenStep))
    assert last.citations == resources.assistant("papers", "plain").support(last.answer) != ()
    assert last.settings == {"collection": "papers", "template": "plain", "passages": 2}


def test_it_is_the_answer_that_the_assistant_gives(home, worker):
    turn = asked(home, worker)
    answer = resources.assistant("papers", "plain").ask(QUESTION, LIKELY, 2)
    assert timeless(turn.told.answer) == timeless(answer)
    assert len(answer.prompt.passages) == 2


def test_a_seed_is_kept_where_none_was_given(home, worker):
    turn = asked(home, worker, params=dataclasses.replace(LIKELY, seed=None))
    answer = turn.told.answer
    again = asked(home, worker, params=dataclasses.replace(LIKELY, seed=answer.params.seed))
    assert again.told.answer.steps == answer.steps


def test_a_filter_holds_and_is_kept(home, worker):
    turn = asked(home, worker, keep=Filter(types=("md", "pdf"), since="2000-01-01"), passages=1)
    assert [one.passage.source.endswith("boat.md") for one in turn.told.answer.prompt.passages] == [True]
    assert turn.told.settings["types"] == "md, pdf"
    assert turn.told.settings["since"] == "2000-01-01"
    nobody = asked(home, worker, keep=Filter(tags=("none",)))
    assert (nobody.told.answer.abstained, nobody.told.citations) == (NOTHING_FOUND, ())


def test_a_follow_up_is_read_with_what_was_said(home, worker):
    turn = asked(home, worker)
    history = asking.history_of([turn, turn_of(told_of(""))])
    assert history == [Said(QUESTION, turn.told.answer.text)], "not what was stopped before it began"
    told(worker, asking.ask(home, turn.conversation, "And when does it close?", wanted(), history))
    _, second = store.turns(home, turn.conversation)
    assert second.told.answer.prompt.history == tuple(history)


def test_what_is_stopped_is_kept_as_far_as_it_was_written(home, worker):
    number = store.begin(home, QUESTION, "papers")
    long = dataclasses.replace(LIKELY, max_new_tokens=400, min_new_tokens=400)
    with closing(worker.submit(asking.ask(home, number, QUESTION, wanted(params=long), ())).follow(0.005)) as events:
        first = next(event for event in events if isinstance(event, TokenStep))
    told(worker, nothing)
    (turn,) = store.turns(home, number)
    answer = turn.told.answer
    assert answer.steps[0] == first
    assert answer.finish_reason == "cancelled"
    assert 1 <= len(answer.steps) < 400
    assert (answer.confidence, answer.contrast, turn.told.citations) == (None, None, ())


def test_what_is_left_while_it_is_judged_is_kept_whole(home, worker):
    number = store.begin(home, QUESTION, "papers")
    with closing(worker.submit(asking.ask(home, number, QUESTION, wanted(), ())).follow(0.005)) as events:
        answer = next(event for event in events if isinstance(event, Answer))
    told(worker, nothing)
    (turn,) = store.turns(home, number)
    assert turn.told.answer == answer
    assert answer.finish_reason != "cancelled"


def test_what_is_left_while_its_support_is_looked_for_has_none(home):
    number, stopped, last = store.begin(home, QUESTION, "papers"), threading.Event(), []

    def tell(event):
        last.append(event)
        if event == SUPPORTING:
            stopped.set()

    asking.ask(home, number, QUESTION, wanted(), ())(stopped, tell)
    assert last[-1].citations == ()
    assert [turn.told for turn in store.turns(home, number)] == [last[-1]]


def test_what_is_left_while_it_waits_leaves_nothing(home, worker):
    number, gate = store.begin(home, QUESTION, "papers"), threading.Event()
    worker.submit(lambda cancelled, tell: gate.wait(20))
    with closing(worker.submit(asking.ask(home, number, QUESTION, wanted(), ())).follow(0.005)) as events:
        assert isinstance(next(events), Waiting)
    gate.set()
    told(worker, nothing)
    assert store.turns(home, number) == []


@pytest.mark.parametrize(
    ("question", "changes", "error", "says"),
    [
        (" ", {}, InputError, "empty"),
        (QUESTION, {"collection": "none"}, CollectionError, "There is no collection"),
        (QUESTION, {"params": SamplingParams(max_new_tokens=9000)}, PromptError, "context window"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_and_leaves_nothing(home, worker, question, changes, error, says):
    number = store.begin(home, question, "papers")
    with pytest.raises(error, match=says):
        told(worker, asking.ask(home, number, question, wanted(**changes), ()))
    assert store.turns(home, number) == []


def test_a_conversation_that_was_deleted_meanwhile_gets_no_answer(home, worker):
    number = store.begin(home, QUESTION, "papers")
    store.delete(home, number)
    with pytest.raises(InputError, match="was deleted"):
        told(worker, asking.ask(home, number, QUESTION, wanted(), ()))


# explain


def test_what_each_passage_gave_is_computed_and_stored(home, worker):
    turn = asked(home, worker)
    stage, *progress = told(worker, asking.explain(home, turn))
    assert stage == LOADING
    assert all(isinstance(one, Progress) and 1 <= one.done <= one.total for one in progress)
    for what in {one.what for one in progress}:
        ones = [one for one in progress if one.what == what]
        assert [one.done for one in ones] == [*range(1, ones[-1].total + 1)]
    after = now(home, turn).told
    assert after.evidence.method == "shapley"
    assert after.citations == after.evidence.citations
    assert sum(one.total for one in after.evidence.passages) == pytest.approx(after.evidence.contrast.total, abs=1e-3)
    assert dataclasses.replace(after, evidence=None, citations=turn.told.citations) == turn.told


def test_explaining_can_be_left_and_then_changes_nothing(home, worker):
    turn = asked(home, worker)
    with closing(worker.submit(asking.explain(home, turn)).follow(0.005)) as events:
        next(event for event in events if isinstance(event, Progress))
    told(worker, nothing)
    assert now(home, turn) == turn


def test_what_was_deleted_meanwhile_is_explained_for_nobody(home, worker):
    turn = asked(home, worker)
    store.delete(home, turn.conversation)
    told(worker, asking.explain(home, turn))
    assert told(worker, asking.branch(home, turn, 0, 0, 65))[-1] == 0


# branch


def other(step):
    return next(one.token_id for one in step.alternatives if one.token_id != step.token_id)


def test_a_branch_keeps_what_stood_before_and_goes_on_from_there(home, worker):
    turn = asked(home, worker)
    answer = turn.told.answer
    token = other(answer.steps[4])
    assert told(worker, asking.branch(home, turn, 0, 4, token)) == [LOADING, BRANCHING, 1]
    (branch,) = now(home, turn).told.branches
    tokens = [step.token_id for step in branch.steps]
    assert tokens[:5] == [*(step.token_id for step in answer.steps[:4]), token]
    assert branch.steps[:4] == answer.steps[:4]
    assert (branch.prompt, branch.params, branch.language_model) == (
        answer.prompt,
        answer.params,
        answer.language_model,
    )
    assert branch.contrast is not None, "what the documents changed in it"
    assert (branch.confidence, branch.calibrated_on, branch.advice) == (None, None, None)
    assert now(home, turn).told == dataclasses.replace(turn.told, branches=(branch,))


def test_a_branch_of_a_branch(home, worker):
    turn = asked(home, worker)
    told(worker, asking.branch(home, turn, 0, 4, other(turn.told.answer.steps[4])))
    turn = now(home, turn)
    (first,) = turn.told.branches
    assert told(worker, asking.branch(home, turn, 1, 6, other(first.steps[6])))[-1] == 2
    kept, second = now(home, turn).told.branches
    assert kept == first
    assert second.steps[:6] == first.steps[:6]
    assert second.steps[6].token_id == other(first.steps[6])


def test_the_token_that_was_drawn_gives_the_same_answer_again(home, worker):
    answer = asked(home, worker).told.answer
    assistant = resources.assistant("papers", "plain")
    for position in (0, 5, len(answer.steps) - 1):
        again = assistant.branch(answer, position, answer.steps[position].token_id)
        assert [step.token_id for step in again.steps] == [step.token_id for step in answer.steps]
        assert again.text == answer.text
        assert again.logprob == pytest.approx(answer.logprob, abs=1e-3)


def test_an_answer_of_a_beam_search_goes_on_by_itself(home, worker):
    beams = asked(home, worker, params=SamplingParams(max_new_tokens=8, beams=2, length_penalty=0.5, seed=1))
    answer = beams.told.answer
    branch = resources.assistant("papers", "plain").branch(answer, 2, other(answer.steps[2]))
    assert (branch.params.beams, branch.params.length_penalty) == (1, 1.0)
    assert [s.token_id for s in branch.steps[:2]] == [s.token_id for s in answer.steps[:2]]


def test_a_branch_that_is_left_before_it_began_leaves_nothing(home, worker):
    turn = asked(home, worker)
    events, job = [], asking.branch(home, turn, 0, 0, other(turn.told.answer.steps[0]))
    stopped = threading.Event()
    stopped.set()
    job(stopped, events.append)
    assert events == [LOADING, BRANCHING]
    assert now(home, turn) == turn


class SetAfter(threading.Event):
    """Set once it was looked at so many times: someone leaves at a certain step."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def is_set(self):
        self.times -= 1
        return self.times < 0


def test_a_branch_that_is_left_is_kept_as_far_as_it_was_written(home, worker):
    turn = asked(home, worker)
    long = dataclasses.replace(turn.told.answer.params, max_new_tokens=400, min_new_tokens=400)
    answer, events = dataclasses.replace(turn.told.answer, params=long), []
    asking.branch(home, dataclasses.replace(turn, told=told_of_answer(turn, answer)), 0, 3, 65)(
        SetAfter(30), events.append
    )
    assert events[-1] == 1
    (branch,) = now(home, turn).told.branches
    assert branch.finish_reason == "cancelled"
    assert branch.steps[:3] == answer.steps[:3]
    assert 3 < len(branch.steps) < 400
    assert branch.contrast is None


def told_of_answer(turn, answer):
    return dataclasses.replace(turn.told, answer=answer)


@pytest.mark.parametrize(
    ("position", "token", "error"), [(-1, 65, InputError), (99, 65, InputError), (0, 10**6, GenerationError)]
)
def test_a_branch_that_cannot_be_is_a_sentence_and_leaves_nothing(home, worker, position, token, error):
    turn = asked(home, worker)
    with pytest.raises(error):
        told(worker, asking.branch(home, turn, 0, position, token))
    assert now(home, turn) == turn


# another model


@pytest.mark.parametrize("work", [asking.explain, lambda home, turn: asking.branch(home, turn, 0, 0, 65)])
def test_an_answer_of_another_model_is_left_alone(home, worker, work):
    turn = asked(home, worker)
    foreign = dataclasses.replace(turn.told.answer, language_model="larger")
    with pytest.raises(InputError, match="The language model larger wrote this answer"):
        told(worker, work(home, dataclasses.replace(turn, told=told_of_answer(turn, foreign))))
    assert now(home, turn) == turn
