"""Judging an answer: what each confidence leads to, whom it leaves alone, and how it is said."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from rag.assistant import SAID_SO
from rag.confidence import Calibration, Logistic, features
from rag.contrast import contrast, refusal_logprob
from rag.generation import LocalGenerator
from rag.judging import UNSURE, judge
from rag.reasons import DISAGREE, DOUBTED, NOT_FOUND
from rag.schema import SamplingParams
from rag.templates import REFUSAL, choose_template
from tests.test_attribution import TEXTS, answered
from tests.test_confidence import answer_of, step
from ui.terminal import INSTEAD, UNCALIBRATED, show_answer, trust

SURE, TORN, WRONG = (Calibration(Logistic(z, {}), 0.8, 0.3, {}, "9 answers to x") for z in (3.0, 0.0, -3.0))


@pytest.fixture
def generator(tiny):
    return LocalGenerator(tiny())


@pytest.mark.parametrize(
    ("calibration", "advice", "abstained"), [(SURE, "answer", None), (TORN, "warn", None), (WRONG, "decline", UNSURE)]
)
def test_a_confidence_leads_to_one_of_three_steps(generator, calibration, advice, abstained):
    answer, template = answered(generator, TEXTS[:3])
    found = judge(answer, template, generator, calibration)
    assert (found.advice, found.abstained) == (advice, abstained)
    assert found.contrast == contrast(answer, template, generator)
    assert found.confidence == calibration.model.probability({})
    assert found.text == answer.text, "what was written stays to be seen"
    assert (found.reason is None) or advice != "answer"
    assert any("9 answers to x" in sentence for sentence in trust(found))
    assert UNCALIBRATED not in trust(found)


def test_the_confidence_is_that_of_the_answers_features(generator):
    model = Logistic(0.1, {"lift": (0.0, 1.0, 0.7), "refusal": (-50.0, 20.0, 0.4), "length": (1.0, 1.0, -0.3)})
    answer, template = answered(generator, TEXTS[:2])
    found = judge(answer, template, generator, replace(SURE, model=model))
    again = LocalGenerator(generator.model, prefix_bytes=0)
    answer = replace(answer, contrast=contrast(answer, template, again))
    refusal = refusal_logprob(answer.prompt.token_ids, template, again)
    assert found.confidence == pytest.approx(model.probability(features(answer, refusal)), abs=1e-4)


def test_the_refusal_is_scored_in_the_answers_place(generator):
    answer, template = answered(generator, TEXTS[:2])
    tokens = generator.model.encode(f" {REFUSAL}", False)
    (alone,) = generator.score([(answer.prompt.token_ids, tokens)])
    assert refusal_logprob(answer.prompt.token_ids, template, generator) == pytest.approx(float(alone.sum()), abs=1e-3)


def test_without_a_calibration_nothing_is_claimed(generator):
    answer, template = answered(generator, TEXTS[:2])
    found = judge(answer, template, generator, None)
    assert (found.confidence, found.advice, found.calibrated_on, found.abstained) == (None, None, None, None)
    assert UNCALIBRATED in trust(found)


def test_a_refusal_has_a_reason_and_no_confidence(generator):
    answer = answer_of([step(REFUSAL, -0.1)], ["Bob sails."], abstained=SAID_SO)
    found = judge(answer, choose_template("plain", None), generator, SURE)
    assert (found.confidence, found.advice, found.abstained, found.reason) == (None, None, SAID_SO, NOT_FOUND)
    assert found.contrast is None
    assert trust(found) == [f"Not answered: {SAID_SO}.", f"Why: {NOT_FOUND}."]


def test_what_was_cut_off_is_left_as_it_is(generator):
    answer, template = answered(generator, TEXTS[:2])
    steps = (*answer.steps[:-1], replace(answer.steps[-1], finish_reason="cancelled"))
    cut = replace(answer, steps=steps)
    assert judge(cut, template, generator, SURE) == cut
    empty = replace(answer, steps=(), text="")
    assert judge(empty, template, generator, SURE) == empty


def test_an_answer_that_cannot_be_measured_is_uncalibrated(generator):
    answer, _ = answered(generator, TEXTS[:2])
    found = judge(answer, choose_template("examples", None), generator, SURE)  # which did not write it
    assert (found.confidence, found.calibrated_on) == (None, None)
    assert judge(answer_of([step("Ann")]), choose_template("plain", None), generator, SURE).confidence is None


def test_passages_that_disagree_are_warned_of_however_sure_it_is(generator):
    answer, template = answered(generator, ["The oldest rower here is Ann.", "The oldest rower here is Bob."])
    steps = (replace(answer.steps[0], text="Ann"), *(replace(s, text="") for s in answer.steps[1:]))
    answer = replace(answer, steps=steps, text="Ann")
    for calibration, advice in ((SURE, "warn"), (None, None)):
        found = judge(answer, template, generator, calibration)
        assert (found.advice, found.reason) == (advice, DISAGREE)
        assert f"Mind: {DISAGREE}." in trust(found)


class Declining:
    """A generator that declines, unless it is kept from it."""

    def __init__(self, generator):
        self.inner = generator

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def stream(self, token_ids, params, cancelled=None):
        if params.begin_suppress_tokens:
            yield from self.inner.stream(token_ids, params, cancelled)
        else:
            yield replace(step(REFUSAL, -0.1), finish_reason="end_token")


@pytest.fixture
def declining(assistant):
    def make(calibration):
        assistant.generator, assistant.calibration = Declining(assistant.generator), calibration
        return assistant

    return make


PARAMS = SamplingParams(max_new_tokens=3, seed=0)


@pytest.mark.parametrize("calibration", [None, WRONG])
def test_a_refusal_stands_where_nothing_is_sure_enough(declining, calibration):
    answer = declining(calibration).ask("Does it float?", PARAMS)
    assert (answer.text, answer.abstained, answer.reason) == (REFUSAL, SAID_SO, NOT_FOUND)
    assert answer.confidence == (calibration and calibration.model.probability({}))
    assert any("best answer would have had a confidence of 0.05" in said for said in trust(answer)) == bool(calibration)


@pytest.mark.parametrize("calibration", [SURE, TORN])
def test_a_refusal_gives_way_to_an_answer_that_is_sure_enough(declining, calibration):
    assistant = declining(calibration)
    answer = assistant.ask("Does it float?", PARAMS)
    assert answer.text != REFUSAL
    assert (answer.abstained, answer.confidence) == (None, calibration.model.probability({}))
    assert answer.advice == "warn", "however sure: the model itself would have declined"
    again = assistant.generator.stream(answer.prompt.token_ids, answer.params)
    assert [s.token_id for s in again] == [s.token_id for s in answer.steps], "made again from what it keeps"
    console = Console(file=io.StringIO(), width=100)
    show_answer(console, assistant.stream("Does it float?", PARAMS), assistant.support)
    shown = console.file.getvalue()
    assert shown.index(REFUSAL) < shown.index(INSTEAD) < shown.index("Confidence 0.")


@pytest.mark.parametrize("how", [{"beams": 2}, {"temperature": 0.5}, {"repetition_penalty": 1.2}, {"top_k": 3}])
def test_a_confidence_speaks_of_plainly_greedy_answers_alone(declining, how):
    assistant = declining(SURE)
    assert assistant.ask("Does it float?", replace(PARAMS, **how)).abstained == SAID_SO
    assistant.generator = assistant.generator.inner
    answer = assistant.ask("Does it float?", replace(PARAMS, **how))
    assert (answer.confidence, answer.calibrated_on) == (None, None)
    assert assistant.ask("Does it float?", PARAMS).confidence is not None


def test_what_was_stopped_while_it_declined_is_left(declining):
    assistant = declining(SURE)
    assistant.generator.stream = lambda *_: iter([replace(step(REFUSAL), finish_reason="cancelled")])
    assert assistant.ask("Does it float?", PARAMS).text == REFUSAL


def test_a_doubted_answer_says_so(generator):
    answer, template = answered(generator, TEXTS[:2])
    unlikely = replace(answer, steps=tuple(replace(s, logprob=s.logprob - 99) for s in answer.steps))
    assert judge(unlikely, template, generator, TORN).reason == DOUBTED
    assert judge(unlikely, template, generator, WRONG).reason == NOT_FOUND
