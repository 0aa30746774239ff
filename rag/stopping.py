"""Text of a token stream: characters that span tokens, stop strings that straddle them, and where a sentence ends.

Knows text only; which token comes next is for `generation`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.schema import FinishReason

_REPLACEMENT = "�"  # what decoding puts in place of an incomplete character
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|No|vs|approx|e\.g|i\.e|etc|cf|p|pp|Fig)\.$|(?:^|\n)\s*\d+\.$"
)
# A full stop ends a sentence when a blank follows; a CJK one when anything but a closing mark does.
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]”’]*(?=\s)|[。！？]+[”’」』）]*(?=[^。！？”’」』）])")


class TextIncrements:
    """What each token adds to the decoded text, so that the increments concatenate to `decode(all)`."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        """Decode with the tokenizer's own function, so that its rules for blanks hold."""
        self._decode = decode
        self._ids: list[int] = []
        self._given = 0

    def add(self, token_id: int, last: bool = False) -> str:
        """The text that this token completes: empty inside a character, unless it is the last token."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        if text.endswith(_REPLACEMENT) and not last:
            return ""
        increment = text[self._given :]
        self._given = len(text)
        return increment


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a stop rule says of the text that is held back: stop after `keep` characters, or release `keep` of them."""

    keep: int
    reason: FinishReason | None = None


class StopRule:
    """Stop strings and sentence ends, over the text that was not released yet."""

    def __init__(self, stop: tuple[str, ...], at_sentence_end: bool) -> None:
        """Remember what to stop at."""
        self._stop = stop
        self._at_sentence_end = at_sentence_end
        self._released = ""

    def check(self, held: str) -> Verdict:
        """Judge the held text; it is released (`keep > 0`) where no stop can begin in it any more."""
        found: list[tuple[int, FinishReason]] = [(at, "stop_string") for s in self._stop if (at := held.find(s)) >= 0]
        if self._at_sentence_end and (end := sentence_end(self._released + held)) is not None:
            found.append((end - len(self._released), "sentence_end"))
        if found:
            return Verdict(*min(found))
        if self._could_stop(held):
            return Verdict(0)
        self._released += held
        return Verdict(len(held))

    def _could_stop(self, held: str) -> bool:
        """Whether the held text ends in the beginning of a stop string, or in what may prove a sentence's end."""
        begun = any(held.endswith(s[:n]) for s in self._stop for n in range(1, len(s)))
        return begun or (self._at_sentence_end and bool(re.search(r"[.!?。！？][\"')\]”’」』）]*$", held)))


def sentence_end(text: str) -> int | None:
    """Where the first sentence of a text ends, None while it has not ended; "Dr. Lee" and "3.5 m" do not end one."""
    for match in _SENTENCE_END.finditer(text):
        before = text[: match.start() + 1]
        if before.strip() and not (match[0] == "." and _ABBREVIATION.search(before)):
            return match.end()
    return None
