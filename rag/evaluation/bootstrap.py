"""Percentile bootstrap (Efron 1979) of a mean: how far it would move with other questions of the same kind.

Knows numbers, and nothing of what they measure.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000


def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the mean of n >= 1 values, from 2,000 resamples; the same values give the same interval."""
    row = np.asarray(values, dtype=np.float64)
    chance = np.random.default_rng(0)
    means = [row[chance.integers(0, len(row), len(row))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
