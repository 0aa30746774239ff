"""Laws of fitting and of what it is measured by, on confidences whose truth is known."""

import json
import math

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from rag.confidence import FEATURES, logistic_of
from rag.errors import InputError
from rag.evaluation.bootstrap import interval, intervals
from rag.evaluation.calibration import calibrate, cross_validated, fit, measure, outcomes, probabilities, scored
from rag.evaluation.reliability import (
    ece,
    figures,
    price,
    risks,
    squared_error,
    threshold_for_risk,
    threshold_to_keep,
)
from ui.price import page

N = 20_000
RISKS = (0.2, 0.4)


@pytest.fixture
def chance():
    return np.random.default_rng(0)


def drawn(chance, n=N):
    """Confidences, and outcomes that are as often right as these say."""
    p = chance.uniform(size=n)
    return p, (chance.uniform(size=n) < p).astype(float)


judged = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40)


def arrays(pairs):
    p, y = zip(*pairs, strict=True)
    return np.array(p), np.array(y, dtype=float)


def test_calibrated_confidences_have_no_calibration_error(chance):
    p, y = drawn(chance)
    assert ece(p, y) < 0.01
    assert abs(squared_error(p, y)) < 0.0005
    small = [squared_error(*drawn(chance, 300)) for _ in range(200)]
    assert abs(np.mean(small)) < 0.002, "without bias, however few there are"
    plain = [np.mean([abs(a.mean() - b.mean()) for a, b in _tenths(*drawn(chance, 300))]) for _ in range(50)]
    assert np.mean([ece(*drawn(chance, 300), bins=10) for _ in range(50)]) < 0.75 * np.mean(plain), (
        "chance is taken off"
    )


def _tenths(p, y):
    order = np.argsort(p)
    return zip(np.array_split(p[order], 10), np.array_split(y[order], 10), strict=True)


def test_a_known_error_is_found(chance):
    p, y = drawn(chance)
    assert ece(np.full(N, 0.9), (chance.uniform(size=N) < 0.6).astype(float)) == pytest.approx(0.3, abs=0.02)
    assert ece(p**2, y) == pytest.approx(1 / 6, abs=0.02)  # the mean of p - p^2
    assert squared_error(p**2, y) == pytest.approx(1 / 30, abs=0.005)  # and of its square


def test_shuffled_labels_cannot_be_told_apart(chance):
    p, y = drawn(chance)
    chance.shuffle(y)
    found = figures(p, y)
    assert found["auroc"] == pytest.approx(0.5, abs=0.02)
    assert found["accuracy_at_50"] == pytest.approx(y.mean(), abs=0.02)
    assert found["aurc"] == pytest.approx(1 - y.mean(), abs=0.03)


def test_a_perfect_order_has_the_least_risk():
    y = np.array([1.0] * 60 + [0.0] * 40)
    found = figures(np.linspace(1, 0, 100), y)
    assert found["auroc"] == 1
    assert (found["accuracy_at_50"], found["accuracy_at_80"]) == (1, 0.75)
    assert found["aurc"] == pytest.approx(sum((k - 60) / k for k in range(61, 101)) / 100)


@for_all(judged)
def test_figures_of_anything_are_within_their_bounds(pairs):
    p, y = arrays(pairs)
    for name, value in figures(p, y).items():
        assert 0 <= value <= 1.0 + 1e-9 or (name == "auroc" and math.isnan(value)), name


@for_all(judged, st.randoms())
def test_equal_confidences_make_no_order(pairs, random):
    mixed = list(pairs)
    random.shuffle(mixed)
    assert np.allclose(risks(*arrays(pairs)), risks(*arrays(mixed)))
    assert risks(*arrays(pairs))[-1] == pytest.approx(1 - arrays(pairs)[1].mean())


@for_all(judged, st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_keeps_its_promise_and_falls_as_the_risk_grows(pairs, a, b):
    p, y = arrays(pairs)
    low, high = threshold_for_risk(p, y, max(a, b)), threshold_for_risk(p, y, min(a, b))
    assert low <= high
    given = y[p >= high]
    assert high == 1 or 1 - given.mean() <= min(a, b) + 1e-9


@for_all(judged, st.floats(0.01, 1))
def test_what_is_to_be_kept_is_kept(pairs, share):
    p, y = arrays(pairs)
    threshold = threshold_to_keep(p, y, share)
    right = p[y == 1]
    assert not len(right) or (right >= threshold).mean() >= share


@for_all(judged, st.lists(st.sampled_from(["answerable", "near", "elsewhere"]), min_size=40, max_size=40))
def test_the_price_accounts_for_every_question_and_moves_one_way(pairs, kinds):
    rows = [{"kind": kind, "right": y and kind == "answerable"} for (_, y), kind in zip(pairs, kinds, strict=False)]
    curve = price(rows, [None if n % 5 == 4 else p for n, (p, _) in enumerate(pairs)])
    parts = ("right", "wrong", "declined_answerable", "declined_unanswerable")
    assert all(sum(point[part] for part in parts) == pytest.approx(1) for point in curve)
    for part in parts:
        moves = np.diff([point[part] for point in curve]) * (1 if part.startswith("declined") else -1)
        assert (moves >= -1e-12).all()


def test_the_interval_of_a_mean_is_the_same_either_way(chance):
    values = chance.normal(size=200)
    found = intervals(lambda chosen: {"mean": values[chosen].mean(), "none": math.nan}, 200)
    assert found["mean"] == pytest.approx(interval(values))
    assert all(map(math.isnan, found["none"]))


# fitting


def rows_of(chance, n=400):
    """Rows whose answers are right as often as their lift says; other features are noise or unknown."""
    rows = []
    for i in range(n):
        lift = chance.normal()
        kind = ("answerable", "answerable", "near", "elsewhere")[i % 4]
        refused, silent = i % 9 == 0, i % 50 == 7
        right = kind == "answerable" and not silent and chance.uniform() < 1 / (1 + math.exp(-2 * lift))
        values = {name: float(chance.normal()) for name in FEATURES}
        values |= {"lift": 3 * lift + 5, "lexical": None}
        row = {"id": f"{i}", "kind": kind, "topic": f"t{i % 30}", "error": None, "refused": refused}
        rows.append(row | {"right": bool(right), "features": None if silent else values, "reason": None})
    return [*rows, {"id": "bad", "kind": "near", "topic": None, "error": "It failed."}]


def test_a_fit_finds_what_counts_and_beats_its_baselines(chance):
    rows = rows_of(chance)
    record = calibrate(rows, {"language_model": "w"}, {"name": "made"}, RISKS, resamples=20)
    assert max(record["model"]["features"], key=lambda n: abs(record["model"]["features"][n]["coefficient"])) == "lift"
    assert set(record["model"]["features"]) == set(FEATURES) - {"lexical"}, "what no answer has gets no weight"
    table = record["figures"]["cross_validated"]
    assert all(table["confidence"]["auroc"][0] > of["auroc"][0] + 0.1 for n, of in table.items() if n != "confidence")
    assert all(low <= high for of in table.values() for _, low, high in of.values())
    assert record["answers"] + 8 == record["figures"]["questions"] == 400
    assert record["figures"]["refused"] == 45
    assert record["figures"]["not_refused"]["auroc"][0] > 0.7
    assert record["figures"]["errors"] == 1
    steps = record["figures"]["steps"].values()
    assert sum(step["answers"] for step in steps) == record["answers"]
    assert sum(step["right"] for step in steps) == record["figures"]["right"]
    assert 0 <= record["thresholds"]["decline_below"] <= record["thresholds"]["answer_from"] <= 1
    assert "<polyline" in page(record)


def test_what_was_stored_gives_the_confidences_that_were_fitted(chance):
    rows = rows_of(chance)
    record = json.loads(json.dumps(calibrate(rows, {}, {"name": "made"}, RISKS, resamples=2), allow_nan=False))
    given = scored(rows)
    again = probabilities(logistic_of(record["model"]), given)
    known = [name for name in FEATURES if name != "lexical"]
    assert np.array_equal(again, probabilities(fit(given, known), given))
    measured = measure(record, rows, resamples=2)["figures"]
    in_sample = {name: value for name, (value, *_) in measured["measured"]["confidence"].items()}
    assert in_sample == pytest.approx(record["figures"]["in_sample"])
    assert measured["price"][0]["right"] == pytest.approx(np.mean([row["right"] for row in rows[:-1]]))


def test_nobody_is_judged_by_what_was_learnt_of_his_topic(chance):
    rows = scored(rows_of(chance))
    for n, row in enumerate(rows):  # the topic decides, and every topic has a feature of its own
        topic = n % len(FEATURES)
        row |= {"topic": f"t{topic}", "right": topic % 2 == 0}
        row["features"] = {name: float(m == topic) for m, name in enumerate(FEATURES)}
    y = outcomes(rows)
    assert figures(probabilities(fit(rows, tuple(FEATURES)), rows), y)["auroc"] == 1, "known topics can be told"
    assert figures(cross_validated(rows, tuple(FEATURES)), y)["auroc"] < 0.7
    for n, row in enumerate(rows):  # without topics a question is one with what it is asked as once more
        row |= {"topic": None, "id": f"question {n % len(FEATURES)}"} | {"kind": "withheld", "right": row["right"]}
        row["id"] += " withheld" if n >= len(FEATURES) else ""
    assert figures(cross_validated(rows, tuple(FEATURES)), y)["auroc"] < 0.7


def test_right_answers_of_one_topic_only_are_a_sentence(chance):
    rows = scored(rows_of(chance))
    for row in rows:
        row["right"] = row["topic"] == "t2"
    with pytest.raises(InputError, match="all of one topic"):
        calibrate(rows, {}, {"name": "made"}, RISKS, resamples=2)


@settings(max_examples=20)
@for_all(st.integers(0, 9))
def test_too_few_of_either_are_refused(right):
    rows = scored(rows_of(np.random.default_rng(1), 40))
    rows = [row | {"right": n < right} for n, row in enumerate(rows)]
    with pytest.raises(InputError, match="too few"):
        calibrate(rows, {}, {"name": "made"}, RISKS)
