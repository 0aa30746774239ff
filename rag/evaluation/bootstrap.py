"""Percentile bootstrap (Efron 1979): how far a figure would move with other questions of the same kind.

Knows numbers, and nothing of what they measure.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
Rows = npt.NDArray[np.int64]


def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the mean of n >= 1 values, from 2,000 resamples; the same values give the same interval."""
    row = np.asarray(values, dtype=np.float64)
    chance = np.random.default_rng(0)
    means = [row[chance.integers(0, len(row), len(row))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def intervals(
    figures: Callable[[Rows], Mapping[str, float]], n: int, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each figure of n >= 1 rows, where `figures` computes them from the rows of a resample.

    A resample in which a figure is not defined (NaN) does not count for it; without any both ends are NaN.
    """
    chance = np.random.default_rng(0)
    found = [figures(chance.integers(0, n, n)) for _ in range(resamples)]
    ends: dict[str, tuple[float, float]] = {}
    for name in found[0]:
        known = [values[name] for values in found if not np.isnan(values[name])]
        low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
        ends[name] = float(low), float(high)
    return ends
