"""The stages in order, from a question to an answer that shows how it came about."""

import json

import pytest

from rag.assistant import NOTHING_FOUND, SAID_SO, Assistant
from rag.errors import InputError, PromptError, SettingsError
from rag.generation import LocalGenerator
from rag.models import speaks
from rag.schema import Answer, Prompt, SamplingParams, TokenStep, Turn
from rag.templates import REFUSAL
from tests.conftest import HashingEmbedder
from tests.test_generation import Scripted
from ui.terminal import as_data

PARAMS = SamplingParams(max_new_tokens=6, temperature=1, seed=1)


@pytest.fixture
def make(index, put, tiny):
    put(index, ["boats float", "oars row", "tea is hot"])

    def assistant(model=None, **options):
        return Assistant(index, HashingEmbedder(), LocalGenerator(model or tiny()), "tiny", **options)

    return assistant


def test_ask_is_the_end_of_the_stream(make):
    first, *steps, answer = make().stream("Do boats float?", PARAMS, k=2)
    assert isinstance(first, Prompt)
    assert all(isinstance(step, TokenStep) for step in steps)
    assert isinstance(answer, Answer)
    assert (answer.prompt, answer.steps) == (first, tuple(steps))
    again = make().ask("Do boats float?", PARAMS, k=2)
    assert (again.text, again.steps, again.prompt) == (answer.text, answer.steps, answer.prompt)


def test_the_prompt_holds_the_best_passages(make):
    answer = make().ask("Do boats float?", PARAMS, k=2)
    second, best = answer.prompt.passages  # the best stands next to the question
    assert (best.passage.text, best.rank, second.rank) == ("boats float", 1, 2)
    assert "boats float" in answer.prompt.text


def test_an_answer_adds_up(make):
    answer = make().ask("Do boats float?", PARAMS)
    assert answer.text == "".join(step.text for step in answer.steps).strip()
    assert answer.logprob == pytest.approx(sum(step.logprob for step in answer.steps))
    assert answer.finish_reason == answer.steps[-1].finish_reason
    assert 0 < answer.timings.retrieval < answer.timings.first_token < answer.timings.total
    assert answer.confidence is None, "uncalibrated until a calibrator is there"


def test_a_seed_nobody_gave_is_recorded_and_makes_the_answer_again(make):
    params = SamplingParams(max_new_tokens=6, temperature=2)
    first = make().ask("Do boats float?", params)
    assert first.params.seed is not None
    assert make().ask("Do boats float?", first.params).steps == first.steps
    assert make().ask("Do boats float?", params).params.seed != first.params.seed


@pytest.mark.parametrize(("text", "why"), [(REFUSAL, SAID_SO), (f" {REFUSAL.upper()}", SAID_SO), ("They float.", None)])
def test_a_refusal_is_seen(make, tiny, text, why):
    assistant = make(ScriptedWithFrame(tiny(), text))
    assert assistant.ask("Do boats float?", SamplingParams(max_new_tokens=60)).abstained == why


class ScriptedWithFrame(Scripted):
    """A scripted model that can be asked through a prompt."""

    def __init__(self, model, text):
        super().__init__(model, text)
        self.encode, self.chat_frame = model.encode, model.chat_frame


def test_an_empty_collection_is_not_answered_from(tmp_path, tiny):
    from rag.index import open_index
    from tests.conftest import IDENTITY

    empty = open_index(tmp_path / "empty", IDENTITY, create=True)
    answer = Assistant(empty, HashingEmbedder(), LocalGenerator(tiny()), "tiny").ask("Anything?")
    assert (answer.text, answer.steps, answer.abstained, answer.finish_reason) == ("", (), NOTHING_FOUND, None)
    assert answer.timings.first_token is None


def test_what_cannot_be_asked_is_refused(make):
    with pytest.raises(InputError, match="ask something"):
        make().ask("  ")
    with pytest.raises(PromptError, match="shorter question"):
        make().ask("why " * 3000, PARAMS)
    with pytest.raises(SettingsError, match="Unknown template"):
        make(template="poem")


def test_an_answer_is_json_data(make):
    data = as_data(make().ask("Do boats float?", SamplingParams(max_new_tokens=3, temperature=1, top_k=2, seed=0)))
    again = json.loads(json.dumps(data, allow_nan=False))
    step = again["steps"][0]
    assert {"token_id", "text", "logprob", "sampled_logprob", "rank", "entropy", "alternatives"} <= set(step)
    assert [a["sampled_logprob"] is None for a in step["alternatives"]] == [False, False, True, True, True]
    assert again["calibrated"] is False
    assert again["prompt"]["passages"][-1]["passage"]["text"] == "boats float"


def test_a_follow_up_is_searched_with_what_it_leans_on_and_the_model_reads_the_turns(make):
    history = [Turn("Is tea hot?", "yes"), Turn("Do boats float?", "they do")]
    prompt, *_ = make(template="plain").stream("Why?", PARAMS, k=1, history=history)
    assert prompt.search_question == "Do boats float? Why?"
    assert prompt.passages[0].passage.text == "boats float"
    assert (prompt.question, prompt.history, prompt.turns_left_out) == ("Why?", tuple(history[1:]), 0)
    assert prompt.text.endswith("Question: Do boats float?\nAnswer: they do\n\nQuestion: Why?\nAnswer:")


@pytest.mark.parametrize(("template", "read"), [("plain", 0), ("chat", 2)])
def test_a_question_that_stands_alone_is_searched_alone(make, template, read):
    history = [Turn("Is tea hot?", "yes"), Turn("Do boats float?", "they do")]
    prompt = make(template=template).ask("Who owns the oars?", PARAMS, k=1, history=history).prompt
    assert prompt.search_question == "Who owns the oars?"
    assert len(prompt.history) == read, "a chat model reads the whole conversation"


def test_a_template_without_passages_searches_nothing(make):
    answer = make(template="text-translation").ask("Boats float.", PARAMS, history=[Turn("Who?", "Ann")])
    assert answer.prompt.history == ()
    assert (answer.prompt.passages, answer.prompt.search_question, answer.abstained) == ((), None, None)
    assert answer.steps
    with pytest.raises(InputError, match="ask something"):
        make(template="text-translation").ask(" ", PARAMS)


def test_what_leaves_no_room_or_is_no_text_is_refused(make):
    with pytest.raises(PromptError, match="max_new_tokens 9000 leaves nothing"):
        make().ask("Do boats float?", SamplingParams(max_new_tokens=9000))
    with pytest.raises(InputError, match="not valid text"):
        make().ask("Why?", PARAMS, history=[Turn("Who?", "\ud800")])


def test_a_language_that_the_model_does_not_speak_is_not_answered_but_looked_up(rag):
    asked = ["ask", "潮汐磨坊的门票多少钱?", "--quiet"]
    answer = json.loads(rag(*asked, "--json")[1])
    assert "multilingual" in answer["abstained"]
    assert (answer["steps"], answer["reason"], answer["contrast"]) == ([], None, None)
    assert answer["prompt"]["passages"]
    shown = rag(*asked)[1]
    assert "(no answer)" in shown
    assert "Fits best" in shown


@pytest.mark.parametrize(
    ("model", "question", "asked"),
    [
        ("embedded + reader", "多少钱?", False),
        ("embedded", "How much?", True),
        ("multilingual", "多少钱?", True),
        ("/my/model", "多少钱?", True),
        ("english", "Сколько?", False),
    ],
)
def test_presets_say_what_they_speak(model, question, asked):
    assert speaks(model, question) is asked
