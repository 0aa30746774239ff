"""Laws of the confidence: what its features are of odd answers, what is stored, and for whom it holds."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from rag.confidence import (
    FEATURES,
    FORMAT,
    Calibration,
    Logistic,
    features,
    identity,
    logistic_data,
    logistic_of,
    read_calibration,
)
from rag.errors import SettingsError
from rag.evaluation.asking import given
from rag.schema import Alternative, Answer, Contrast, Prompt, SamplingParams, Timings, TokenStep
from rag.templates import TEMPLATES

numbers = st.floats(-1e3, 1e3)
models = st.dictionaries(st.sampled_from(sorted(FEATURES)), st.tuples(numbers, st.floats(1e-3, 1e3), numbers)).flatmap(
    lambda terms: st.builds(Logistic, numbers, st.just(terms))
)
any_nats = st.one_of(st.floats(-40, 0), st.just(-math.inf), st.floats(allow_nan=True))
steps = st.builds(
    TokenStep,
    st.integers(0, 3),
    st.sampled_from(["", "Ann", " rows", "\n", "三", "."]),
    any_nats,
    any_nats,
    st.integers(1, 9),
    any_nats,
    st.lists(st.builds(Alternative, st.integers(0, 3), st.just("x"), any_nats, any_nats), max_size=3).map(tuple),
)
passages = st.lists(st.sampled_from(["Ann rows.", "", "三四", "Bob"]), max_size=3).map(given)


def lifted(nats):
    """A contrast with this lift."""
    return Contrast((0.0,), (-nats,), (-nats,), (1,), (1,), 1, 0.001)


def answer_of(own, texts=(), **changes):
    """An answer with these steps, from these passages."""
    found = given(texts) if all(isinstance(text, str) for text in texts) else texts
    prompt = Prompt("Who rows?", "plain", tuple(found), (), "Who rows?", (1,))
    text = "".join(step.text for step in own).strip()
    return replace(Answer(prompt, text, tuple(own), SamplingParams(), "none", Timings(0, 0, 0)), **changes)


def step(text, logprob=-0.5, others=(-2.0,)):
    alternatives = (
        Alternative(0, text, logprob, logprob),
        *(Alternative(n, "x", x, x) for n, x in enumerate(others, 1)),
    )
    return TokenStep(0, text, logprob, logprob, 1, 0.7, alternatives)


@for_all(st.lists(steps, max_size=5), passages, st.none() | any_nats.map(lifted), st.none() | any_nats, models)
def test_features_of_any_answer_are_finite_and_give_a_probability(own, texts, changed, refusal, model):
    found = features(answer_of(own, texts, contrast=changed), refusal)
    assert list(found) == list(FEATURES)
    assert all(value is None or math.isfinite(value) for value in found.values())
    assert 0 < model.probability(found) < 1


def test_features_say_what_they_are_named_for():
    passage, other = given(["Ann rows at noon.", "Bob sails."])
    read = [replace(passage, dense=0.8, lexical=math.e - 1), replace(other, dense=0.5, lexical=0.0)]
    answer = answer_of([step(" Ann", -0.5, (-2.0, -3.0)), step(" rows", -1.5, (-0.5,)), step("", -9.0)], read)
    answer = replace(answer, alone=(-7.0, 3.0), at_first="Bob")
    found = features(replace(answer, contrast=lifted(4.0)), refusal=-5.0)
    expected = {
        "logprob_sum": -2.0,
        "logprob_mean": -1.0,
        "logprob_min": -1.5,
        "first_entropy": 0.7,
        "margin": -1.0,
        "lift": 4.0,
        "refusal": -3.0,
        "alone": 3.0,
        "alone_second": -7.0,
        "reread": 1.0,
        "quoted": 1.0,
        "agreement": 0.5,
        "first": 1.0,
        "asked": 1.0,
        "echo": 0.5,
        "dense": 0.8,
        "dense_gap": 0.3,
        "lexical": 1.0,
        "length": math.log(3),
    }
    assert found == pytest.approx(expected)


def test_nothing_written_and_no_passage_leave_features_unknown():
    found = features(answer_of([step("", -0.1)]))
    assert {name for name, value in found.items() if value is not None} == {"logprob_sum", "echo", "length"}
    assert features(answer_of([]))["length"] == 0


def test_what_was_not_read_of_a_passage_holds_no_answer():
    (passage,) = given(["Ann rows. Bob sails."])
    assert features(answer_of([step("Bob")], [passage]))["quoted"] == 1
    assert features(answer_of([step("Bob")], [replace(passage, read=9)]))["quoted"] == 0


@for_all(models)
def test_a_model_is_the_same_after_json(model):
    assert logistic_of(json.loads(json.dumps(logistic_data(model)))) == model


def test_a_probability_grows_with_what_speaks_for_it_and_ignores_what_is_unknown():
    model = Logistic(0.0, {"lift": (2.0, 3.0, 1.5), "length": (0.0, 1.0, -1.0)})
    assert model.probability({}) == 0.5 == model.probability({"lift": 2.0, "length": None})
    assert model.probability({"lift": 1.0}) < 0.5 < model.probability({"lift": 3.0})
    assert model.probability({"lift": 1e9}) == model.probability({"lift": 100.0}), "what lies far out counts no more"


@for_all(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_confidence_never_makes_the_advice_worse(a, b, p, q):
    calibration = Calibration(Logistic(0.0, {}), max(a, b), min(a, b), {}, "")
    order = ["decline", "warn", "answer"]
    assert order.index(calibration.advice(min(p, q))) <= order.index(calibration.advice(max(p, q)))


# files


@pytest.fixture
def record():
    model = {"intercept": 0.5, "features": {"lift": {"mean": 1.0, "scale": 2.0, "coefficient": 3.0}}}
    return {
        "format": FORMAT,
        "model": model,
        "thresholds": {"answer_from": 0.8, "decline_below": 0.3},
        "made_for": {"language_model": "a"},
        "data": {"name": "rows.jsonl"},
        "answers": 12,
    }


def test_a_file_is_read_as_it_was_written(record, tmp_path):
    file = tmp_path / "confidence.json"
    file.write_text(json.dumps(record))
    calibration = read_calibration(file)
    assert logistic_data(calibration.model) == record["model"]
    assert (calibration.answer_from, calibration.decline_below) == (0.8, 0.3)
    assert (calibration.made_for, calibration.measured_on) == (record["made_for"], "12 answers to rows.jsonl")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.pop("model"),
        lambda r: r.update(format=99),
        lambda r: r["thresholds"].update(answer_from=0.1),
        lambda r: r["model"]["features"]["lift"].update(scale=0),
        lambda r: r["model"]["features"]["lift"].update(coefficient="much"),
        lambda r: r["model"]["features"].update(mood=r["model"]["features"]["lift"]),
        lambda r: r.update(model=float("nan")),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(record, tmp_path, spoil):
    spoil(record)
    file = tmp_path / "confidence.json"
    file.write_text(json.dumps(record))
    with pytest.raises(SettingsError, match="rag eval calibrate"):
        read_calibration(file)
    with pytest.raises(SettingsError, match="rag eval calibrate"):
        read_calibration(tmp_path / "none.json")


def test_who_a_confidence_is_for_is_told_by_weights_precision_template_and_embedder():
    base = {"language_model": "w", "precision": "float32", "template": TEMPLATES["plain"], "embedder": "e"}
    base["reading"] = "together"
    others = [
        {"language_model": "v"},
        {"precision": "int8"},
        {"template": TEMPLATES["cited"]},
        {"template": replace(TEMPLATES["plain"], text="{passages}\n{question}")},
        {"embedder": "f"},
        {"reading": "each passage"},
    ]
    assert identity(**base) == identity(**base)
    assert all(identity(**base | other) != identity(**base) for other in others)
