"""Judging an answer: what each confidence leads to, whom it leaves alone, and how it is said."""

from dataclasses import replace

import pytest

from rag.assistant import SAID_SO
from rag.confidence import Calibration, Logistic, features
from rag.contrast import contrast, refusal_logprob
from rag.generation import LocalGenerator
from rag.judging import UNSURE, judge
from rag.reasons import DISAGREE, NOT_FOUND
from rag.templates import REFUSAL, choose_template
from tests.test_attribution import TEXTS, answered
from tests.test_confidence import answer_of, step
from ui.terminal import UNCALIBRATED, trust

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
    refusal = refusal_logprob(answer, template, again)
    assert found.confidence == pytest.approx(model.probability(features(answer, refusal)), abs=1e-4)


def test_the_refusal_is_scored_in_the_answers_place(generator):
    answer, template = answered(generator, TEXTS[:2])
    tokens = generator.model.encode(f" {REFUSAL}", False)
    (alone,) = generator.score([(answer.prompt.token_ids, tokens)])
    assert refusal_logprob(answer, template, generator) == pytest.approx(float(alone.sum()), abs=1e-3)


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
