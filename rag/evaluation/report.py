"""A run -> what its report shows: metrics, how right it was and when, what it declined, and its failures by cost.

Data in, data out; `ui.report` draws it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.evaluation.bootstrap import interval
from rag.evaluation.saved import METRICS, Row, SavedRun, mean_token_probability, score

Interval = tuple[float, float]
FEW = 10  # resampling fewer values, or equal ones, says nothing of what else could have been

_RANKS = (1, 2, 3, 4, 5, 6, 11, 21)  # the lowest rank of each group
_LENGTHS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
_TENTHS = tuple(n / 10 for n in range(10))


@dataclass(frozen=True, slots=True)
class Group:
    """The mean of some questions' values. `expected` is their mean token probability where they were grouped by it."""

    label: str
    questions: int
    mean: float | None
    interval: Interval | None  # None where there are fewer than `FEW`, or all are equal
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What is drawn of a run. `declines[answerable, declined]` counts questions."""

    run: SavedRun
    metrics: list[Group]
    by_rank: list[Group]
    by_length: list[Group]
    by_probability: list[Group]
    declines: dict[tuple[bool, bool], int]
    wrong_answers: list[Row]  # the most probable first
    wrong_refusals: list[Row]  # those first whose right passage was found best


def report(run: SavedRun) -> Report:
    """Sort a run's rows. Answers are scored by `score`; an answer to an unanswerable question counts as 0."""
    rows = run.finished
    answered = [row for row in rows if not _declined(row)]
    ranked = [row for row in rows if row["answerable"] and "relevant_rank" in row]
    return Report(
        run=run,
        metrics=[_group(name, [value(row) for row in rows]) for name, value in METRICS.items()],
        by_rank=_by_rank(ranked),
        by_length=_filled(_binned(answered, _tokens, _LENGTHS, _whole_numbers)),
        by_probability=_binned(answered, mean_token_probability, _TENTHS, _tenth),
        declines={
            (answerable, declined): sum(row["answerable"] == answerable and _declined(row) == declined for row in rows)
            for answerable in (True, False)
            for declined in (False, True)
        },
        wrong_answers=sorted(
            (row for row in answered if score(row) == 0), key=lambda row: -(mean_token_probability(row) or 0)
        ),
        wrong_refusals=sorted(
            (row for row in rows if row["answerable"] and _declined(row)),
            key=lambda row: row.get("relevant_rank") or float("inf"),
        ),
    )


def _declined(row: Row) -> bool:
    return row.get("abstained") is not None


def _tokens(row: Row) -> float:
    return len(row["token_ids"])


def _rank(row: Row) -> float | None:
    rank: int | None = row["relevant_rank"]
    return rank


def _by_rank(rows: Sequence[Row]) -> list[Group]:
    found = _filled(_binned(rows, _rank, _RANKS, _whole_numbers))
    missed = [row for row in rows if row["relevant_rank"] is None]
    return [*found, _group("not retrieved", [score(row) for row in missed])] if rows else []


def _binned(
    rows: Sequence[Row],
    value: Callable[[Row], float | None],
    bounds: Sequence[float],
    label: Callable[[float, float | None], str],
) -> list[Group]:
    """A group of rows a bin: from a bound up to the next; the last is open. Rows without a value are in none."""
    groups = []
    for low, high in zip(bounds, [*bounds[1:], None], strict=True):
        inside = [row for row in rows if (v := value(row)) is not None and low <= v and (high is None or v < high)]
        probabilities = [p for row in inside if (p := mean_token_probability(row)) is not None]
        expected = sum(probabilities) / len(probabilities) if probabilities else None
        groups.append(_group(label(low, high), [score(row) for row in inside], expected))
    return groups


def _filled(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.questions]


def _tenth(low: float, high: float | None) -> str:
    return f"{low:.1f} to {high or 1:.1f}"


def _whole_numbers(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:.0f} or more"
    return f"{low:.0f}" if high == low + 1 else f"{low:.0f} to {high - 1:.0f}"


def _group(label: str, values: Sequence[float | None], expected: float | None = None) -> Group:
    numbers = [value for value in values if value is not None]
    mean = sum(numbers) / len(numbers) if numbers else None
    varied = len(numbers) >= FEW and len(set(numbers)) > 1
    return Group(label, len(numbers), mean, interval(numbers) if varied else None, expected)
