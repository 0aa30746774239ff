"""Two passages -> is one a near-copy of the other, another version of it, or something else?

A near-copy says nothing new and only fills the results. A version differs in a number, a date, a name or a negation:
that is evidence, and must stay. Compares words; knows nothing of scores or of where passages come from.
"""

import re
from functools import cached_property
from itertools import pairwise
from typing import Literal

from rapidfuzz.distance import LCSseq

Relation = Literal["copy", "version"]
_CJK = r"぀-ヿ㐀-䶿一-鿿豈-﫿가-힣\U00020000-\U0003134f"
# Numbers with their sign and inner marks, characters of scripts without spaces one by one, words.
_WORD = re.compile(rf"[-−+]?\d[\d.,:/-]*(?<=\d)|[{_CJK}]|[^\W\d{_CJK}][^\W{_CJK}]*(?:['’-][^\W{_CJK}]+)*")
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_COPY = 0.9  # of the words of the second, in order
_VERSION = 0.8  # of the words of both
_COARSE = 0.7  # of the distinct pieces between blanks; less is not looked at more closely
# Lower-case words that turn a statement into another one.
_TURNING = frozenset(
    [
        "no",
        "not",
        "never",
        "none",
        "nothing",
        "neither",
        "nor",
        "without",
        "except",
        "unless",
        "only",
        "cannot",
        "must",
        "may",
        "shall",
        "should",
        "can",
        "could",
        "would",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "hundred",
        "thousand",
        "million",
        "half",
        "quarter",
        "third",
        "double",
        "first",
        "second",
        "daily",
        "weekly",
        "monthly",
        "quarterly",
        "yearly",
        "annual",
        "annually",
        "before",
        "after",
        "more",
        "less",
        "least",
        "most",
        "minimum",
        "maximum",
        "above",
        "below",
        "over",
        "under",
        "within",
        "allowed",
        "forbidden",
        "permitted",
        "prohibited",
    ]
)


class Words:
    """A passage ready to be compared with others."""

    def __init__(self, text: str) -> None:
        """Take a text apart, coarsely at first: most pairs have so little in common that no more is needed."""
        self.text = text
        has_blanks = not _CJK_CHARACTER.search(text)
        self.coarse: frozenset[object] = frozenset(text.casefold().split() if has_blanks else pairwise(text))

    @cached_property
    def words(self) -> list[str]:
        """The words as they stand there, without punctuation."""
        return _WORD.findall(self.text)

    @cached_property
    def folded(self) -> list[str]:
        """The words without regard to case."""
        return [word.casefold() for word in self.words]


def compare(first: Words, second: Words) -> Relation | None:
    """Whether the second passage is a near-copy of the first (its words, without more), a version of it, or neither.

    Characters of Chinese, Japanese and Korean are compared one by one, and each that differs may be part of a name:
    such passages are near-copies only where all are the same.
    """
    shared = len(first.coarse & second.coarse)
    if shared < _COARSE * len(second.coarse) and 2 * shared < _COARSE * (len(first.coarse) + len(second.coarse)):
        return None
    length, both = len(second.folded), len(first.folded) + len(second.folded)
    if not length or len(first.folded) == 0:
        return "copy" if both == 0 else None
    matched = LCSseq.similarity(first.folded, second.folded)
    if matched / length < _COPY and 2 * matched / both < _VERSION:
        return None
    inside, beyond = _differences(first, second)
    if any(map(_turns, inside)):
        return "version" if 2 * matched / both >= _VERSION else None
    return "copy" if matched / length >= _COPY and not any(map(_turns, beyond)) else None


def _differences(first: Words, second: Words) -> tuple[list[str], list[str]]:
    """The words in which they differ between what they share, and what the second has more at its ends.

    What the first has more at its ends is neither: there the second was only cut shorter.
    """
    inside: list[str] = []
    beyond: list[str] = []
    for step in LCSseq.opcodes(first.folded, second.folded):
        kind, i, end, j, other_end = step.tag, step.src_start, step.src_end, step.dest_start, step.dest_end
        at_an_end = (i == end and i in (0, len(first.words))) or (j == other_end and j in (0, len(second.words)))
        if kind != "equal" and not at_an_end:
            inside += [*first.words[i:end], *second.words[j:other_end]]
        elif kind == "insert":
            beyond += second.words[j:other_end]
    return inside, beyond


def _turns(word: str) -> bool:
    """Whether a word can make it another statement: a number, a name, a negation."""
    return (
        any(c.isdigit() or c.isupper() for c in word)
        or word in _TURNING
        or word.endswith(("n't", "n’t"))
        or bool(_CJK_CHARACTER.match(word))
    )
