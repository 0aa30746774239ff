"""Labelled answers -> a fitted confidence with its figures: a regularised logistic regression. Asks nothing.

Fitted on the best answer to each question, also where the model would have declined; its figures and thresholds come
from cross-validation over topics, so that no question is judged by what was learnt from its own article.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from rag.confidence import FEATURES, FORMAT, Logistic, logistic_data, logistic_of
from rag.errors import InputError
from rag.evaluation.bootstrap import RESAMPLES, Rows, interval, intervals
from rag.evaluation.labelling import KINDS
from rag.evaluation.reliability import Floats, figures, price, threshold_for_risk, threshold_to_keep
from rag.evaluation.saved import Row, as_json

# What a confidence has to beat: the same regression over less.
BASELINES = {
    "length": ("length",),
    "retrieval scores": ("dense", "dense_gap", "lexical"),
    "mean log-probability": ("logprob_mean",),
}
_FEWEST = 10  # right answers, and wrong ones
_FOLDS = 5
_STRENGTH = 0.1  # C, the inverse of the L2 penalty, on standardised features
KEPT = 0.8  # share of the right answers that are kept where declines are counted by kind


def calibrate(
    rows: Sequence[Row],
    made_for: Mapping[str, str],
    data: Mapping[str, object],
    risks: tuple[float, float],
    resamples: int = RESAMPLES,
) -> Row:
    """Fit on rows of `labelling.label_all`; what is stored, and what is shown. Raises `InputError` for too few.

    `risks` are the shares of wrong answers that are wished for: at most, among those given without a warning, and
    among all that are given.
    """
    given = scored(rows)
    right = sum(row["right"] for row in given)
    if min(right, len(given) - right) < _FEWEST:
        raise InputError(
            f"{right} right and {len(given) - right} wrong answers are too few to fit a confidence on; "
            f"at least {_FEWEST} of each are needed, and some hundreds for one that is worth anything."
        )
    y = outcomes(given)
    known = [name for name in FEATURES if any(row["features"][name] is not None for row in given)]
    model = fit(given, known)
    held_out = cross_validated(given, known)
    strict, lenient = sorted(risks)
    thresholds = {
        "answer_from": threshold_for_risk(held_out, y, strict),
        "decline_below": threshold_for_risk(held_out, y, lenient),
        "wished_risks": [strict, lenient],
    }
    baselines = {name: fit(given, names) for name, names in BASELINES.items()}
    measured = {name: cross_validated(given, names) for name, names in BASELINES.items()}
    record = {
        "format": FORMAT,
        "made_for": dict(made_for),
        "data": dict(data),
        "answers": len(given),
        "model": logistic_data(model),
        "thresholds": thresholds,
        "baselines": {name: logistic_data(one) for name, one in baselines.items()},
        "figures": {
            "in_sample": figures(probabilities(model, given), y),
            "cross_validated": with_intervals({"confidence": held_out, **measured}, y, resamples),
            "not_refused": _not_refused(given, held_out, y, resamples),
            **counted(rows, held_out, thresholds, y),
        },
    }
    result: Row = as_json(record)
    return result


def measure(record: Mapping[str, Row], rows: Sequence[Row], resamples: int = RESAMPLES) -> Row:
    """The figures, on these rows, of what was fitted on others. Raises `InputError` where none was answered."""
    given = scored(rows)
    if not given:
        raise InputError("No question was answered, so there is no confidence to measure.")
    y = outcomes(given)
    p = probabilities(logistic_of(record["model"]), given)
    others = {name: probabilities(logistic_of(one), given) for name, one in record["baselines"].items()}
    result: Row = as_json(
        {
            "answers": len(given),
            "figures": {
                "measured": with_intervals({"confidence": p, **others}, y, resamples),
                "not_refused": _not_refused(given, p, y, resamples),
                **counted(rows, p, record["thresholds"], y),
            },
        }
    )
    return result


def scored(rows: Sequence[Row]) -> list[Row]:
    """The rows with an answer, be it one that the model would rather not have given."""
    return [row for row in rows if row["error"] is None and row["features"] is not None]


def outcomes(rows: Sequence[Row]) -> Floats:
    """1 for right, 0 for wrong (n,)."""
    return np.array([float(row["right"]) for row in rows])


def fit(rows: Sequence[Row], names: Sequence[str]) -> Logistic:
    """A logistic regression over these features, standardised; an unknown value counts as the mean."""
    values = np.array([[math.nan if (v := row["features"][n]) is None else v for n in names] for row in rows])
    known = [column[~np.isnan(column)] for column in values.T]
    means = [float(column.mean()) if len(column) else 0.0 for column in known]
    scales = [float(column.std()) or 1.0 if len(column) else 1.0 for column in known]
    standard = np.nan_to_num(np.clip((values - means) / scales, -5, 5), nan=0.0)
    fitted = LogisticRegression(C=_STRENGTH, max_iter=1000).fit(standard, outcomes(rows))
    coefficients = [float(c) for c in fitted.coef_[0]]
    terms = {name: term for name, *term in zip(names, means, scales, coefficients, strict=True)}
    return Logistic(float(fitted.intercept_[0]), {name: (a, b, c) for name, (a, b, c) in terms.items()})


def probabilities(model: Logistic, rows: Sequence[Row]) -> Floats:
    """The confidences (n,) of rows."""
    return np.array([model.probability(row["features"]) for row in rows])


def cross_validated(rows: Sequence[Row], names: Sequence[str]) -> Floats:
    """Each row's confidence (n,) by a model that has not seen its topic; its question, where there are few topics."""
    questions = [row["id"].removesuffix(f" {row['kind']}") for row in rows]
    topics = [row["topic"] or question for row, question in zip(rows, questions, strict=True)]
    if len(set(topics)) < 2 * _FOLDS:
        topics = questions
    found = np.zeros(len(rows))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    y = outcomes(rows)
    for learnt, judged in folds.split(np.zeros(len(rows)), y, topics):
        if y[learnt].min() == y[learnt].max():
            raise InputError("The right answers, or the wrong ones, are all of one topic; ask about several.")
        model = fit([rows[i] for i in learnt], names)
        found[judged] = probabilities(model, [rows[i] for i in judged])
    return found


def with_intervals(confidences: Mapping[str, Floats], y: Floats, resamples: int) -> Row:
    """Every figure of every confidence with its 95 % interval: {name: {figure: [value, low, high]}}.

    All of them are resampled together.
    """

    def all_figures(chosen: Rows, noise: float = 2.0) -> dict[str, float]:
        return {
            f"{name}\n{figure}": value
            for name, p in confidences.items()
            for figure, value in figures(p[chosen], y[chosen], noise).items()
        }

    whole, ends = all_figures(np.arange(len(y)), 1.0), intervals(all_figures, len(y), resamples)
    table: Row = {name: {} for name in confidences}
    for key, value in whole.items():
        name, figure = key.split("\n")
        table[name][figure] = [value, *ends[key]]
    return table


def _not_refused(given: Sequence[Row], p: Floats, y: Floats, resamples: int) -> Row | None:
    """The confidence's figures over the answers alone that the model itself gave; None where there is none."""
    own = np.array([not row["refused"] for row in given])
    if not own.any():
        return None
    table: Row = with_intervals({"confidence": p[own]}, y[own], resamples)["confidence"]
    return table


def counted(rows: Sequence[Row], p: Floats, thresholds: Mapping[str, Any], y: Floats) -> Row:
    """What the thresholds do: counts of questions, the price curve, and what is declined of each kind."""
    finished = [row for row in rows if row["error"] is None]
    left = iter(p)
    of_each = [None if row["features"] is None else float(next(left)) for row in finished]
    low, high = float(thresholds["decline_below"]), float(thresholds["answer_from"])
    kept = threshold_to_keep(p, y, KEPT)
    return {
        "questions": len(finished),
        "errors": len(rows) - len(finished),
        "refused": sum(row["refused"] for row in finished),
        "right": sum(row["right"] for row in finished),
        "steps": {
            "answer": _step(p, y, high, 2.0),
            "warn": _step(p, y, low, high),
            "decline": _step(p, y, -1.0, low),
        },
        "price": price(finished, of_each),
        f"keeping_{KEPT * 100:.0f}": {
            "threshold": kept,
            "declined": {kind: _declined(finished, of_each, kind, kept) for kind in KINDS},
        },
        "declined": {kind: _declined(finished, of_each, kind, low) for kind in KINDS},
        "reasons": _reasons(finished, of_each, high),
    }


def _step(p: Floats, y: Floats, low: float, high: float) -> Row:
    inside = (p >= low) & (p < high)
    return {"answers": int(inside.sum()), "right": int(y[inside].sum())}


def _declined(rows: Sequence[Row], p: Sequence[float | None], kind: str, threshold: float) -> Row | None:
    """The share of a kind of question that is declined, by the model or by the threshold; None where there is none."""
    found = [float(c is None or c < threshold) for row, c in zip(rows, p, strict=True) if row["kind"] == kind]
    if not found:
        return None
    low, high = interval(found)
    return {"share": sum(found) / len(found), "interval": [low, high], "questions": len(found)}


def _reasons(rows: Sequence[Row], p: Sequence[float | None], threshold: float) -> Row:
    """How often each reason was given, for what needs one: no answer, or one below a threshold."""
    counts: dict[str, int] = {}
    for row, c in zip(rows, p, strict=True):
        if c is None or c < threshold:
            counts[row["reason"] or "none"] = counts.get(row["reason"] or "none", 0) + 1
    return counts
