"""The types of evidence: what the documents changed in an answer, and which passage each part of it leans on.

Values a token belong to the answer's steps, in their order; log-probabilities are the model's own, in nats. Standard
library only; how they are computed is for `contrast` and `attribution`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contrast:
    """An answer's tokens with the documents and without them."""

    logprobs: tuple[float, ...]  # with all passages: as written, in `Evidence` as read again with the others
    without: tuple[float, ...]  # the same instruction, with no passage in its place
    closed_book: tuple[float, ...]  # the question without the instruction
    ranks: tuple[int, ...]  # 1 is the model's most probable token
    ranks_without: tuple[int, ...]
    written: int  # so many tokens wrote the text; what follows (an end token, a stop string) only ended it
    noise_floor: float  # nats a token below which a difference means nothing

    @property
    def lift(self) -> tuple[float, ...]:
        """By how much the documents raised each token's log-probability."""
        return tuple(a - b for a, b in zip(self.logprobs, self.without, strict=True))

    @property
    def total(self) -> float:
        """The lift of the answer's text."""
        return sum(self.lift[: self.written])


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
