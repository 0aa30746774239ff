"""Two runs over the same questions -> what is better, by how much, and whether chance could explain it.

Knows runs as they were saved; what they were made with is read from their manifests and asked of nobody.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rag.errors import InputError
from rag.evaluation.bootstrap import interval
from rag.evaluation.saved import METRICS, Row, SavedRun, score, settings

Pair = tuple[Row, Row]


def compare(a: SavedRun, b: SavedRun) -> dict[str, Any]:
    """Metric by metric B minus A over the questions that both answered, what differs in how, and who won which.

    A `difference` is a mean over pairs, its `interval` the 95 % paired bootstrap (Koehn 2004). `wins` are the questions
    where B is better, `losses` those where A is, the biggest first. Raises `InputError` where the questions differ.
    """
    pairs, left_out = _pair(a, b)
    by_gain = sorted(((_gain(*pair), pair) for pair in pairs), key=lambda judged: -abs(judged[0]))
    return {
        "metrics": {name: found for name in METRICS if (found := _metric(name, pairs))},
        "wins": [_described(gain, *pair) for gain, pair in by_gain if gain > 0],
        "losses": [_described(gain, *pair) for gain, pair in by_gain if gain < 0],
        "manifest_differences": _differences(a.manifest, b.manifest),
        "questions": len(pairs),
        "same_answer": sum(a["answer"] == b["answer"] for a, b in pairs),
        "left_out": left_out,
    }


def _pair(a: SavedRun, b: SavedRun) -> tuple[list[Pair], dict[str, int]]:
    """Both rows of every question that both runs answered; how many questions are in no pair, and why."""
    rows_b = {row["id"]: row for row in b.rows}
    shared = [(row, rows_b[row["id"]]) for row in a.rows if row["id"] in rows_b]
    if not shared:
        raise InputError(f"{a.folder} and {b.folder} share no question; compare runs over the same data.")
    for row, other in shared:
        if any(row[name] != other[name] for name in ("question", "answers", "answerable")):
            raise InputError(
                f"{a.folder} and {b.folder} mean different things by the question {row['id']!r}: "
                "their data differ; compare runs over the same data."
            )
    pairs = [(row, other) for row, other in shared if row["error"] is None and other["error"] is None]
    if not pairs:
        raise InputError(f"No question has an answer in both {a.folder} and {b.folder}; every pair has an error.")
    left_out = {
        "only_in_a": len(a.rows) - len(shared),
        "only_in_b": len(b.rows) - len(shared),
        "errors": len(shared) - len(pairs),
    }
    return pairs, left_out


def _metric(name: str, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """A metric over the pairs of which it knows both rows; None where there is no such pair."""
    values = [(METRICS[name](a), METRICS[name](b)) for a, b in pairs]
    known = np.array([(a, b) for a, b in values if a is not None and b is not None], dtype=np.float64)
    if not known.size:
        return None
    mean_a, mean_b = known.mean(axis=0).tolist()
    differences = known[:, 1] - known[:, 0]
    low, high = interval(differences)
    return {
        "a": mean_a,
        "b": mean_b,
        "difference": float(differences.mean()),
        "interval": [low, high],
        "excludes_zero": low > 0 or high < 0,
        "questions": len(known),
    }


def _gain(a: Row, b: Row) -> float:
    return (score(b) or 0.0) - (score(a) or 0.0)


def _described(gain: float, a: Row, b: Row) -> dict[str, Any]:
    return {
        "id": a["id"],
        "question": a["question"],
        "answers": a["answers"],
        "answerable": a["answerable"],
        "difference": gain,
        "a": _side(a),
        "b": _side(b),
    }


def _side(row: Row) -> dict[str, Any]:
    return {"answer": row["answer"], "abstained": row.get("abstained"), "score": score(row)}


def _differences(a: Row, b: Row) -> dict[str, dict[str, Any]]:
    """The settings of which the manifests say different things; one that a manifest lacks is None."""
    flat_a, flat_b = settings(a), settings(b)
    names = [name for name in flat_a | flat_b if flat_a.get(name) != flat_b.get(name)]
    return {name: {"a": flat_a.get(name), "b": flat_b.get(name)} for name in names}
