"""Into which band a number falls. Every band has a colour and, for those who do not see it, a sign of another kind.

The names are the style sheet's; what they say to people is for `data`. Plain numbers in, names out.
"""

import math
from collections.abc import Mapping

# Lower bounds of the model's own probability, upper bounds of a rank and of an entropy in nats.
PROBABILITY = (("sure", 0.9), ("likely", 0.5), ("unsure", 0.1), ("guess", 0.0))
RANK = (("first", 1.0), ("near", 3.0), ("far", 10.0), ("remote", math.inf))
ENTROPY = (("settled", 0.5), ("open", 1.5), ("wide", 3.0), ("lost", math.inf))
MUCH = 1.0  # nats of lift from which it is much: 2.7 times as probable
COLOURS = 6  # for passages; the printed number tells apart those that share one

# How each band is marked beside its colour. Within a scale no two are alike.
SIGNS: Mapping[str, Mapping[str, str]] = {
    "probability": {"sure": "plain", "likely": "dotted", "unsure": "dashed", "guess": "wavy"},
    "rank": {"first": "plain", "near": "dotted", "far": "dashed", "remote": "wavy"},
    "entropy": {"settled": "plain", "open": "dotted", "wide": "dashed", "lost": "wavy"},
    "lift": {"much-more": "double", "more": "solid", "same": "plain", "less": "dashed", "much-less": "wavy"},
}


def band(logprob: float) -> str:
    """Of the model's own probability, from its log-probability."""
    return next(name for name, bound in PROBABILITY if math.exp(logprob) >= bound)


def rank_band(rank: int) -> str:
    """Of a rank, 1 being the best."""
    return next(name for name, bound in RANK if rank <= bound)


def entropy_band(entropy: float) -> str:
    """Of an entropy in nats."""
    return next(name for name, bound in ENTROPY if entropy < bound or bound == math.inf)


def lift_band(lift: float) -> str:
    """Of what the documents changed, in nats; noise is to come as 0, which is `same`."""
    if not lift:
        return "same"
    if lift > 0:
        return "much-more" if lift >= MUCH else "more"
    return "much-less" if lift <= -MUCH else "less"


def passage_band(place: int) -> str:
    """Of the passage at this place among those that were read, from 0."""
    return f"passage-{place % COLOURS}"


def heat_band(value: float, largest: float) -> str:
    """`up-1` to `up-4` or `down-1` to `down-4`: a value beside the largest of its table, both as distances from 0."""
    if not value or not largest:
        return "zero"
    level = min(4, math.ceil(4 * abs(value) / largest))
    return f"{'up' if value > 0 else 'down'}-{level}"
