"""CSV and TSV, and the rows that spreadsheets share with them: each row as a line that carries its headers.

Knows one table a file or sheet: the header is the first row of at least two cells near the top. Rows above it, such as
a title, stay as they are.
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from ingest.parsing.parsed import Draft, Parsed, plain, table_rows
from ingest.parsing.text import decode
from rag.errors import ParseError

Row = Mapping[int, str]  # column -> text, without empty cells
_LOOK_AHEAD = 10  # rows in which the header is looked for
_SAMPLE_ROWS, _SAMPLE_CHARACTERS = 50, 100_000
_DELIMITERS = ",;\t|"


def parse_csv(content: bytes) -> Parsed:
    """Rows as `Name: Oak; Price: 3`, numbered as a spreadsheet numbers them."""
    csv.field_size_limit(2**31 - 1)  # a limit of the whole process; the draft has one for the document
    text = decode(content)
    draft = Draft("row")
    try:
        write_rows(draft, _records(text, sniff(text)), str)
    except csv.Error as error:
        raise ParseError(f"it is not valid CSV: {error}") from error
    return draft.parsed()


def sniff(text: str) -> str:
    """The delimiter that divides most of the first rows, most of them into equally many fields."""
    sample = text[:_SAMPLE_CHARACTERS]
    return max(_DELIMITERS, key=lambda delimiter: _fitness(sample, delimiter))


def _fitness(sample: str, delimiter: str) -> tuple[float, float, int]:
    """Share of the rows that it divides, share of those that have the usual width, this width."""
    rows = itertools.islice(csv.reader(io.StringIO(sample), delimiter=delimiter), _SAMPLE_ROWS)
    widths = Counter(len(row) for row in rows if row)
    divided = Counter({width: count for width, count in widths.items() if width > 1})
    if not divided:
        return 0.0, 0.0, 0
    width, usual = max(divided.items(), key=lambda item: (item[1], item[0]))
    return divided.total() / widths.total(), usual / divided.total(), width


def _records(text: str, delimiter: str) -> Iterator[tuple[int, Row]]:
    for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), start=1):
        yield number, {column: cell for column, cell in enumerate(cells) if cell.strip()}


def write_rows(
    draft: Draft,
    rows: Iterable[tuple[int, Row]],
    escape: Callable[[str], str] = plain,
    spans: Mapping[int, list[tuple[int, int]]] | None = None,
) -> None:
    """Write numbered rows as lines under their headers, each at its place.

    `spans` are the columns (first, last) of merged cells by row; a header of merged cells goes on in the next row.
    """
    filled = ((number, row) for number, row in rows if row)
    first = list(itertools.islice(filled, _LOOK_AHEAD))
    at = next((i for i, (_, row) in enumerate(first) if len(row) > 1), 0)
    header, below = _header(first[at:], spans or {})
    for number, row in itertools.chain(first[:at], first[at : at + below] if len(first) == at + below else ()):
        _write(draft, number, {}, row, escape)
    for number, row in itertools.chain(first[at + below :], filled):
        _write(draft, number, header, row, escape)


def _header(rows: list[tuple[int, Row]], spans: Mapping[int, list[tuple[int, int]]]) -> tuple[Row, int]:
    """The names of the columns and the number of rows that hold them: none where there is no word in them."""
    if not rows:
        return {}, 0
    number, names = rows[0]
    wide = [(a, b) for a, b in spans.get(number, []) if a in names and a < b]
    height = 2 if wide and len(rows) > 1 else 1
    if height == 2:
        above = dict(names) | {column: names[a] for a, b in wide for column in range(a, b + 1)}
        below = rows[1][1]
        names = {c: f"{above.get(c, '')} {below.get(c, '')}".strip() for c in sorted(above.keys() | below.keys())}
    has_words = any(character.isalpha() for name in names.values() for character in name)
    return (names, height) if has_words else ({}, 0)


def _write(draft: Draft, number: int, header: Row, row: Row, escape: Callable[[str], str]) -> None:
    columns = sorted(row)
    for line in table_rows([header.get(c, "") for c in columns], [[row[c] for c in columns]]):
        draft.place(number)
        draft.write(escape(line) + "\n")
