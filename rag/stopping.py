"""Text of a token stream: characters that span tokens, stop strings that straddle them, and where a sentence ends.

Knows text only; which token comes next is for `generation`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rag.schema import FinishReason

_REPLACEMENT = "�"  # what decoding puts in place of an incomplete character
_CONTEXT = 80  # characters of released text that are kept to tell an abbreviation from a sentence's end
_CLOSING = "[\"')\\]*”’」』）》〉】〕］]"
_MONTH = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
_TITLE = "Mr|Mrs|Ms|Dr|Prof|St|Mt|Rev|Gen|Col|Capt|Lt|Sgt"
_ABBREVIATION = re.compile(rf"(?:^|[\s(])(?:(?:[A-Z]\.)*[A-Z]|{_TITLE}|vs|approx|e\.g|i\.e|cf)\.$|(?:^|\n)\s*\d+\.$")
_BEFORE_NUMBER = re.compile(rf"(?:^|[\s(])(?:No|Nos|pp?|Figs?|Eq|Ch|Sec|[Vv]ol|{_MONTH})\.$")
# A full stop ends a sentence when a blank and then no small letter follows, a CJK one when anything but a closing mark
# does.
_SENTENCE_END = re.compile(
    rf"[.!?…]+{_CLOSING}*(?=[^\S\n]*(?:\n|\s(?P<next>\S)))|[。！？｡]+{_CLOSING}*(?=[^。！？｡])(?!{_CLOSING})"
)
_MAY_END = re.compile(rf"[.!?…。！？｡]{_CLOSING}*\s*$")


class TextIncrements:
    """What each token adds to the decoded text, so that the increments concatenate to `decode(all)`.

    Only a window is decoded: the tokens whose text was given last, which end with a whole character and stand before
    the new ones so that a decoder that strips the first blank of a text strips none in the middle.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        """Decode with the tokenizer's own function, so that its rules for blanks hold."""
        self._decode = decode
        self._window: list[int] = []
        self._given = (0, 0)  # how many tokens of the window have given their text, and how many characters that is

    def add(self, token_id: int, last: bool = False) -> str:
        """The text that this token completes: empty inside a character, unless it is the last token."""
        self._window.append(token_id)
        text = self._decode(self._window)
        if text.endswith(_REPLACEMENT) and not last:
            return ""
        tokens, characters = self._given
        latest = self._window[tokens:]
        if alone := self._decode(latest):
            self._window, self._given = latest, (len(latest), len(alone))
        else:  # special tokens, or a blank that is stripped where it stands first: no beginning for a window
            self._given = (len(self._window), len(text))
        return text[characters:]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a stop rule says of the text that is held back: stop after `keep` characters, or release `keep` of them."""

    keep: int
    reason: FinishReason | None = None


class StopRule:
    """Stop strings and sentence ends, over the text that was not released yet."""

    def __init__(self, stop: tuple[str, ...], at_sentence_end: bool, min_tokens: int = 0) -> None:
        """Remember what to stop at: at what the `min_tokens`th token or a later one completes."""
        self._stop = stop
        self._at_sentence_end = at_sentence_end
        self._early = min_tokens - 1  # how many tokens still come too early to stop
        self._passed = 0  # characters of the held text that came too early
        self._context = ""

    def check(self, held: str) -> Verdict:
        """Judge the held text, once a token; it is released (`keep > 0`) where no stop can begin in it any more."""
        if self._early > 0:
            self._early -= 1
            self._passed = len(held)
        elif found := self._found(held):
            return Verdict(*min(found))
        if self._could_stop(held):
            return Verdict(0)
        self._context = (self._context + held)[-_CONTEXT:]
        self._passed = 0
        return Verdict(len(held))

    def _found(self, held: str) -> list[tuple[int, FinishReason]]:
        """Where the answer could end, and why."""
        starts = [held.find(s, max(self._passed - len(s) + 1, 0)) for s in self._stop]
        found: list[tuple[int, FinishReason]] = [(at, "stop_string") for at in starts if at >= 0]
        before = len(self._context)
        if self._at_sentence_end and (end := sentence_end(self._context + held, before + self._passed)) is not None:
            found.append((end - before, "sentence_end"))
        return found

    def _could_stop(self, held: str) -> bool:
        """Whether the held text ends in the beginning of a stop string, or in what may prove a sentence's end."""
        begun = any(held.endswith(s[:n]) for s in self._stop for n in range(1, len(s)))
        return begun or (self._at_sentence_end and bool(_MAY_END.search(held)))


def stops(text: str, stop: tuple[str, ...], at_sentence_end: bool) -> bool:
    """Whether a whole text has reached its end."""
    return any(s in text for s in stop) or (at_sentence_end and sentence_end(text) is not None)


def sentence_end(text: str, after: int = 0) -> int | None:
    """Where the first sentence that ends beyond `after` ends, None while none has; what follows a full stop proves it.

    "Dr. Lee", "3.5 m", "No. 7" and "at 3 p.m. on Monday" end none. Of "the U.S. Then" nobody can tell: it goes on.
    """
    for match in _SENTENCE_END.finditer(text):
        if match.end() > after and _ends(text[max(match.start() - _CONTEXT, 0) : match.start()], match):
            return match.end()
    return None


def sentence_ends(text: str) -> Iterator[int]:
    """After which characters a text can be cut: at the end of a sentence or of a line, such as a table's row."""
    at = 0
    while (end := sentence_end(text[at:])) is not None:
        at += end
        yield at
    yield from (n for n, character in enumerate(text) if character == "\n" and text[:n].strip())


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, or line, in a text, the blanks around it left out."""
    ends = sorted({*sentence_ends(text), len(text)})
    spans = []
    for start, end in zip([0, *ends], ends, strict=False):
        if piece := text[start:end].strip():
            start += text[start:end].index(piece)
            spans.append((start, start + len(piece)))
    return spans


def _ends(before: str, match: re.Match[str]) -> bool:
    """Whether a mark ends a sentence: not before a small letter, not in an abbreviation, not where nothing was said."""
    follows = match["next"] or ""
    if follows.islower() or not any(c.isalnum() for c in before):
        return False
    if match[0] != ".":
        return True
    return not (_ABBREVIATION.search(before + ".") or (follows.isdigit() and _BEFORE_NUMBER.search(before + ".")))
