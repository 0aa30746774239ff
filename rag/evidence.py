"""The types of evidence: which passage each part of an answer leans on, and which of its sentences.

Values a token belong to the answer's steps, in their order; log-probabilities are the model's own, in nats. How they
are computed is for `contrast` and `attribution`.
"""

from dataclasses import dataclass

from rag.schema import Contrast


@dataclass(frozen=True, slots=True)
class PassageValues:
    """What one passage gave to each token."""

    rank: int  # [n] as it is cited
    values: tuple[float, ...]  # its part of the lift, by the evidence's method
    alone: tuple[float, ...]  # log-probabilities with this passage alone
    left_out: tuple[float, ...]  # and with all but this one
    total: float  # the values of the answer's text, summed


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of an answer, and the sentence of a passage that it leans on most."""

    start: int  # characters of the answer's text
    end: int
    rank: int  # of the passage
    passage_start: int  # characters of the passage's text: what to highlight
    passage_end: int
    value: float  # what the passage gave to this part of the answer, in nats
    loss: float  # what this part loses when the passage is read without that sentence, in nats


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an answer comes from."""

    contrast: Contrast
    method: str  # of the values: `shapley`, or `first and last` above five passages
    passages: tuple[PassageValues, ...]  # the one that gave most first
    citations: tuple[Citation, ...]  # one for each sentence of the answer that leans on a passage
    tokens_read: int  # what it cost: how many tokens the model was given
