"""How good confidences are: calibration, ranking, and what declining costs. Pure functions of numbers.

Confidences p (n,) are in [0, 1], outcomes y (n,) are 1 for right and 0 for wrong.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import brier_score_loss, roc_auc_score

Floats = npt.NDArray[np.float64]
BINS = 15
COVERAGES = (50, 80, 90)  # per cent of the answers that are given
BETTER_HIGH = ("auroc", *(f"accuracy_at_{c}" for c in COVERAGES))


def figures(p: Floats, y: Floats, noise: float = 1.0) -> dict[str, float]:
    """All of the figures; NaN where one is not defined, as AUROC is for equal outcomes.

    `noise` is 2 for a resample of n rows: it scatters about the sample as the sample does about the truth, so that
    twice the variance has to be taken off a calibration error.

    ece              debiased expected calibration error over equal-mass bins, see `ece`
    rms_error        square root of the debiased squared calibration error, see `squared_error`
    brier            mean of (p - y)^2 (Brier 1950)
    auroc            probability that a right answer has more confidence than a wrong one
    aurc             area under the risk-coverage curve, see `risks`
    accuracy_at_80   share of right ones among the 80 % with the most confidence
    """
    risk = risks(p, y)
    at = {f"accuracy_at_{c}": 1 - float(risk[max(math.ceil(len(p) * c / 100), 1) - 1]) for c in COVERAGES}
    return {
        "ece": ece(p, y, noise=noise),
        "rms_error": math.sqrt(max(squared_error(p, y, noise=noise), 0.0)),
        "brier": float(brier_score_loss(y, p, pos_label=1)),
        "auroc": float(roc_auc_score(y, p)) if 0 < y.sum() < len(y) else math.nan,
        "aurc": float(risk.mean()),
        **at,
    }


def ece(p: Floats, y: Floats, bins: int = BINS, noise: float = 1.0) -> float:
    """Expected calibration error: sum over bins of n_b / n |mean p - mean y|, less what chance adds to it.

    With equal-mass bins and the normal approximation of Kumar et al. 2019: the mean outcome of a bin scatters by
    s = sqrt(y(1 - y) / n_b), so that a distance d looks like E|d + s Z| on average, in closed form that of a folded
    normal; the difference E|d + s Z| - |d| is taken off. Never below 0.
    """
    total = 0.0
    for share, distance, deviation in _bins(p, y, bins):
        d, s = abs(distance), deviation * math.sqrt(noise)
        folded = d
        if s > 0:
            folded = s * math.sqrt(2 / math.pi) * math.exp(-((d / s) ** 2) / 2) + d * math.erf(d / s / math.sqrt(2))
        total += share * (2 * d - folded)
    return max(total, 0.0)


def squared_error(p: Floats, y: Floats, bins: int = BINS, noise: float = 1.0) -> float:
    """Squared calibration error: sum of n_b / n ((mean p - mean y)^2 - y(1 - y) / (n_b - 1)) (Kumar et al. 2019).

    Without bias for the binned confidences, so it can be below 0.
    """
    n = len(p)
    return sum(
        share * (distance**2 - noise * deviation**2 * (share * n) / max(share * n - 1, 1))
        for share, distance, deviation in _bins(p, y, bins)
    )


def _bins(p: Floats, y: Floats, bins: int) -> list[tuple[float, float, float]]:
    """Of each bin: its share, mean p - mean y, and the standard deviation of its mean y. Equal p share a bin."""
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    wanted = [round(len(p) * b / bins) for b in range(1, bins)]
    cuts = sorted({int(np.searchsorted(p, p[min(cut, len(p) - 1)])) for cut in wanted} - {0})
    found = []
    for part_p, part_y in zip(np.split(p, cuts), np.split(y, cuts), strict=True):
        rate = part_y.mean()
        found.append((len(part_p) / len(p), part_p.mean() - rate, math.sqrt(rate * (1 - rate) / len(part_p))))
    return found


def risks(p: Floats, y: Floats) -> Floats:
    """Share of wrong ones (n,) among the k with the most confidence, k = 1 to n (El-Yaniv and Wiener 2010).

    Its mean is the area under the risk-coverage curve. Of equal confidences each is as likely to come first.
    """
    order = np.argsort(-p, kind="stable")
    wrong = 1 - y[order]
    _, group, size = np.unique(-p[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, wrong) / size)[group]
    return np.asarray(np.cumsum(wrong) / np.arange(1, len(p) + 1), dtype=np.float64)


def threshold_for_risk(p: Floats, y: Floats, risk: float) -> float:
    """The lowest confidence from which on at most this share of the answers is wrong; 1 where there is none.

    A higher risk never gives a higher threshold.
    """
    order = np.argsort(-p, kind="stable")
    shares = np.cumsum(1 - y[order]) / np.arange(1, len(p) + 1)
    last_of_equals = np.append(p[order][:-1] != p[order][1:], True)
    fitting = np.flatnonzero((shares <= risk) & last_of_equals)
    return float(p[order][fitting[-1]]) if len(fitting) else 1.0


def threshold_to_keep(p: Floats, y: Floats, share: float) -> float:
    """The highest confidence from which on this share of the right answers is kept."""
    right = np.sort(p[y == 1])[::-1]
    return float(right[max(math.ceil(len(right) * share), 1) - 1]) if len(right) else 0.0


def price(rows: Sequence[Mapping[str, object]], p: Sequence[float | None], points: int = 51) -> list[dict[str, float]]:
    """What declining below a threshold costs: shares of all questions, at thresholds from 0 to 1.

    Rows have `kind`, `right`; p is None where there is no answer, declined at every threshold. The shares sum to 1.
    """
    confidences = np.array([-1.0 if value is None else value for value in p])
    right = np.array([bool(row["right"]) for row in rows])
    answerable = np.array([row["kind"] == "answerable" for row in rows])
    curve = []
    for threshold in np.linspace(0, 1, points):
        given = confidences >= threshold
        shares = {
            "right": given & right,
            "wrong": given & ~right,
            "declined_answerable": ~given & answerable,
            "declined_unanswerable": ~given & ~answerable,
        }
        curve.append({"threshold": round(float(threshold), 4), **{k: float(v.mean()) for k, v in shares.items()}})
    return curve
