"""What every parser returns, and the draft that it writes into: text, places, and an account of what was left out."""

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rag.errors import ParseError

MAX_CHARACTERS = 10_000_000  # some five thousand pages; more is no document that a person reads
MAX_TAGS = 4_000_000  # of HTML or XML that is read as a tree, some 0.2 KB each
# What neither SQLite's text nor a page can show: NUL and other control characters, lone surrogates.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Characters that nobody sees and a model reads: zero-width blanks, marks of direction, tags. The joiners U+200C and
# U+200D stay between letters that are not Latin, where Persian, Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\u200b\u2060-\u2064\ufeff\u180e\u202a-\u202e\u2066-\u2069\u200e\u200f\U000e0000-\U000e007f]"
    "|(?<![^\x00-\u024f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\u024f])"
)
_MARKDOWN = re.compile(r"^( {0,3})(?=#{1,6}[ \t]|```|~~~)", re.MULTILINE)  # what the chunker would take for structure
_DAY = re.compile(r"\s*(?:D:)?(\d{4})-?(\d{2})-?(\d{2})")
_TITLE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text, in Markdown where its kind has headings, and where its pages, slides or rows begin."""

    text: str
    title: str | None = None
    places: tuple[tuple[int, int], ...] = ()  # (offset of the first character, number), offsets ascending
    unit: str = "page"  # what the numbers count: page, slide, row, line
    date: str | None = None  # what the file itself states as the day of its last change, YYYY-MM-DD
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # characters left out, by reason


class Draft:
    """Text in the making. Removes what cannot be stored or seen, counts it, and keeps to the size limit."""

    def __init__(self, unit: str = "page") -> None:
        """Start empty; `unit` is what `place` counts."""
        self._unit = unit
        self._pieces: list[str] = []
        self._length = 0
        self._places: list[tuple[int, int]] = []
        self._dropped: Counter[str] = Counter()

    def place(self, number: int) -> None:
        """A page, slide or row of this number begins here."""
        self._places.append((self._length, number))

    def write(self, text: str) -> None:
        """Add text. Raises `ParseError` where the document becomes too long."""
        visible, removed = _INVISIBLE.subn("", text)
        if removed:
            self._dropped["invisible"] += len(text) - len(visible)
        clean = _UNSTORABLE.sub(" ", visible)
        self._length += len(clean)
        if self._length > MAX_CHARACTERS:
            raise ParseError(f"it holds more than {MAX_CHARACTERS // 1_000_000} million characters; split it")
        self._pieces.append(clean)

    def drop(self, reason: str, text: str) -> None:
        """Count text that is left out: "hidden" or "boilerplate"; blanks do not count."""
        if size := len("".join(text.split())):
            self._dropped[reason] += size

    def parsed(self, title: str | None = None, date: str | None = None) -> Parsed:
        """What was written."""
        clean = " ".join(_UNSTORABLE.sub(" ", _INVISIBLE.sub("", title or "")).split())
        text = "".join(self._pieces)
        return Parsed(
            text,
            clean[:_TITLE_LENGTH] or None,
            tuple(self._places),
            self._unit,
            date,
            MappingProxyType(dict(self._dropped)),
        )


def plain(text: str) -> str:
    """Text of a document that is no Markdown, such that none of its lines is taken for a heading or a fence."""
    return _MARKDOWN.sub(r"\1\\", text)


def iso_day(stated: str | None) -> str | None:
    """`2024-05-01T10:00:00Z` or a PDF's `D:20240501...` -> `2024-05-01`; None for what is no day."""
    match = _DAY.match(stated or "")
    try:
        return datetime.date(*map(int, match.groups())).isoformat() if match else None
    except ValueError:
        return None


def table_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Each row as one line that carries its headers, `Name: Oak; Price: 3`, so that a row read alone makes sense."""
    names = [" ".join(name.split()) for name in header]
    return [line for row in rows if (line := _row(names, row))]


def _row(names: Sequence[str], row: Sequence[str]) -> str:
    cells = [" ".join(cell.split()) for cell in row]
    named = [(names[i] if i < len(names) else "", cell) for i, cell in enumerate(cells) if cell]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in named)
