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
# Numbers with their sign and inner marks, characters of scripts without spaces one by one, words, symbols that count.
_WORD = re.compile(
    rf"[-−+±]?\d[\d.,:/-]*(?<=\d)|[{_CJK}]|[^\W\d{_CJK}][^\W{_CJK}]*(?:['’-][^\W{_CJK}]+)*"
    r"|[%‰$€£¥₹°±@/]|[<>≤≥](?=\s*\d)"
)
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_COPY = 0.9  # of the words of the second, in order
_VERSION = 0.8  # of the words of both
_COARSE = 0.7  # of the distinct pieces between blanks; less is not looked at more closely
# Lower-case words that turn a statement into another one.
_TURNING = frozenset(
    """
    no not never none nothing neither nor without except unless only cannot must may shall should can could would
    yes hardly rarely always almost former formerly previously
    one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand million
    billion half quarter third double first second daily weekly monthly quarterly yearly annual annually
    monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday
    january february march april june july august september october november december
    before after more less least most minimum maximum above below over under within up down north south east west
    allowed forbidden permitted prohibited open closed approved rejected granted denied accepted refused true false
    nicht kein keine keinen nie ne pas jamais sans niet geen nunca sin não sem non mai senza ikke inte не нет без
    """.split()  # noqa: SIM905
)


class Words:
    """A passage ready to be compared with others."""

    def __init__(self, text: str) -> None:
        """Take a text apart, coarsely at first: most pairs have so little in common that no more is needed."""
        self.text = text
        has_blanks = not _CJK_CHARACTER.search(text)
        self.coarse: frozenset[object] = frozenset(text.casefold().split() if has_blanks else pairwise(text))

    @cached_property
    def has_capitals(self) -> bool:
        """Whether names can be told by their capitals."""
        return any(map(str.isupper, self.text))

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
    turning = _is_turned(inside) or (bool(inside) and not (first.has_capitals and second.has_capitals))
    if turning:
        return "version" if 2 * matched / both >= _VERSION else None
    return "copy" if matched / length >= _COPY and not any(map(_turns, beyond)) else None


def _differences(first: Words, second: Words) -> tuple[list[str], list[str]]:
    """The words in which they differ between what they share, and what the second has more at its ends.

    What the first has more at its ends is neither: there the second was only cut shorter. With words that were put in
    the place of others comes a number or a symbol beside them: they may be its unit, its month or an address.
    """
    inside: list[str] = []
    beyond: list[str] = []
    i = j = 0
    for same in LCSseq.opcodes(first.folded, second.folded).as_matching_blocks():
        left, right = first.words[i : same.a], second.words[j : same.b]
        is_end = i == j == 0 or not same.size
        if left and right:
            beside = [*first.words[max(i - 1, 0) : i], *first.words[same.a : same.a + 1]]
            inside += [*left, *right, *(word for word in beside if not any(map(str.isalpha, word)))]
        elif is_end:
            beyond += right
        else:
            inside += [*left, *right]
        i, j = same.a + same.size, same.b + same.size
    return inside, beyond


def _is_turned(words: list[str]) -> bool:
    """Whether words that differ can make it another statement, by themselves or as opposites: legal and illegal."""
    beginnings = {word[-4:]: word[0] for word in words}
    return any(map(_turns, words)) or any(beginnings[word[-4:]] != word[0] for word in words if len(word) > 4)


def _turns(word: str) -> bool:
    """Whether a word can make it another statement: a number, a symbol, a name, a negation.

    A name is a word with a capital, or in a script without capitals any word.
    """
    return (
        any(c.isnumeric() or (c.isalpha() and not c.islower()) for c in word)
        or not any(map(str.isalpha, word))
        or word in _TURNING
        or word.endswith(("n't", "n’t"))
    )
