"""XLSX as text: a heading a sheet, a line a row with its headers, numbered as the program numbers them.

Streams the sheets: memory does not grow with their length. Knows the values that were last computed, not the formulas.
Charts, comments and text boxes are not read.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from zipfile import ZipFile

from lxml import etree

from ingest.parsing.archive import READ_ERRORS, open_archive, open_entry
from ingest.parsing.cells import Formats, read_formats, shown
from ingest.parsing.office import SAFE, attribute, main_part, read_xml, related, relation_id, relations, stated
from ingest.parsing.parsed import MAX_CHARACTERS, Draft, Parsed
from ingest.parsing.tables import write_rows
from rag.errors import ParseError

_MAX_CELLS = 5_000_000
_MAX_COLUMNS = 16_384
_MAX_MERGES = 100_000
_MERGE = re.compile(rb'mergeCell [^>]{0,100}?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
_BLOCK = 1 << 20  # bytes read at once; a mark that is cut in two by its end stands in the overlap
_OVERLAP = 200
_ON = ("1", "true")


@dataclass(slots=True)
class _Sheet:
    """What a sheet says while it is read."""

    draft: Draft
    strings: list[str]
    formats: Formats
    down: dict[int, list[tuple[int, int, int]]]  # row -> (column, last column, last row) of the merges that begin there
    hidden: set[int] = field(default_factory=set)  # columns
    cells: int = 0


def parse_xlsx(content: bytes) -> Parsed:
    """All sheets that are shown, in their order. Raises `ParseError`."""
    archive = open_archive(content)
    part = main_part(archive)
    book = read_xml(archive, part)
    strings = [text for name in related(archive, part, "sharedStrings") for text in _strings(archive, name)]
    styles = related(archive, part, "styles")
    since_1904 = attribute(book.find("workbookPr"), "date1904") in _ON
    formats = read_formats(read_xml(archive, styles[0]) if styles else None, since_1904)
    listed = relations(archive, part)
    draft = Draft("row")
    for entry in book.iterfind("sheets/sheet"):
        kind, name = listed.get(relation_id(entry), ("", ""))
        if kind == "worksheet":
            out = Draft() if (unseen := attribute(entry, "state") in ("hidden", "veryHidden")) else draft
            _write_sheet(archive, name, attribute(entry, "name") or "Sheet", _Sheet(out, strings, formats, {}))
            if unseen:
                draft.drop("hidden", out.parsed().text)
    title, day = stated(archive)
    return draft.parsed(title, day)


def _strings(archive: ZipFile, name: str) -> Iterator[str]:
    """The texts that cells refer to, without what only tells how to pronounce them."""
    room = 4 * MAX_CHARACTERS
    for item in _elements(archive, name, ("{*}si",)):
        text = _rich(item)
        room -= len(text) + 1
        if room < 0:
            raise ParseError(f"it holds more than {MAX_CHARACTERS // 1_000_000} million characters; split it")
        yield text


def _rich(item: etree._Element) -> str:
    texts = (t.text or "" for t in item.iter("{*}t") if not str(t.getparent().tag).endswith("}rPh"))
    return "".join(texts)


def _elements(archive: ZipFile, name: str, tags: tuple[str, ...]) -> Iterator[etree._Element]:
    """The elements of a part as they come; each is emptied when the next is asked for."""
    with open_entry(archive, name) as part:
        try:
            for _, element in etree.iterparse(part, tag=tags, remove_comments=True, remove_pis=True, **SAFE):
                yield element
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
        except (etree.XMLSyntaxError, *READ_ERRORS) as error:
            raise ParseError("it is damaged: a part is no valid XML") from error


def _write_sheet(archive: ZipFile, part: str, name: str, sheet: _Sheet) -> None:
    spans: dict[int, list[tuple[int, int]]] = {}
    for first, top, last, bottom in _merges(archive, part):
        sheet.down.setdefault(top, []).append((first, last, bottom))
        spans.setdefault(top, []).append((first, last))
    rows = _rows(archive, part, sheet)
    if top_row := next(rows, None):
        sheet.draft.write(f"# {' '.join(name.split())}\n\n")
        write_rows(sheet.draft, itertools.chain([top_row], rows), spans=spans)
        sheet.draft.write("\n")


def _merges(archive: ZipFile, part: str) -> list[tuple[int, int, int, int]]:
    """(first column, first row, last column, last row) of merged cells; a sheet names them only after its rows."""
    found: dict[tuple[int, int, int, int], None] = {}
    with open_entry(archive, part) as stream:
        tail = b""
        try:
            while (block := stream.read(_BLOCK)) and len(found) < _MAX_MERGES:
                for a, top, b, bottom in _MERGE.findall(tail + block):
                    found[(_column(a.decode()), int(top), _column(b.decode()), int(bottom))] = None
                tail = block[-_OVERLAP:]
        except READ_ERRORS as error:
            raise ParseError("it is damaged or cut off") from error
    return list(found)


def _rows(archive: ZipFile, part: str, sheet: _Sheet) -> Iterator[tuple[int, dict[int, str]]]:
    number = 0
    open_merges: list[tuple[int, int, str]] = []  # (column, last row, text) of cells that go on downwards
    for element in _elements(archive, part, ("{*}row", "{*}col")):
        if str(element.tag).endswith("}col"):
            _note_hidden(element, sheet)
            continue
        stated_number = element.get("r", "")
        number = int(stated_number) if stated_number.isdecimal() and len(stated_number) < 8 else number + 1
        row = _row(element, sheet)
        open_merges = [merge for merge in open_merges if merge[1] >= number]
        for column, _, text in open_merges:
            row.setdefault(column, text)
        open_merges += [
            (a, bottom, row[a]) for a, _, bottom in sheet.down.get(number, ()) if bottom > number and a in row
        ]
        if attribute(element, "hidden") in _ON:
            sheet.draft.drop("hidden", "".join(row.values()))
        elif row:
            yield number, row


def _note_hidden(column: etree._Element, sheet: _Sheet) -> None:
    first, last = column.get("min", ""), column.get("max", "")
    if column.get("hidden") in _ON and first.isdecimal() and last.isdecimal():
        sheet.hidden |= set(range(int(first[:5]), min(int(last[:5]), _MAX_COLUMNS) + 1))


def _row(element: etree._Element, sheet: _Sheet) -> dict[int, str]:
    row: dict[int, str] = {}
    column = 0
    for cell in element:
        sheet.cells += 1
        column = _column(cell.get("r", "")) or column + 1
        text = _value(cell, sheet)
        if column in sheet.hidden:
            sheet.draft.drop("hidden", text)
        elif text.strip() and column <= _MAX_COLUMNS:
            row[column] = text
    if sheet.cells > _MAX_CELLS:
        raise ParseError(f"a sheet has more than {_MAX_CELLS // 1_000_000} million cells; split it")
    return row


def _value(cell: etree._Element, sheet: _Sheet) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _rich(cell)
    raw = next((child.text or "" for child in cell if str(child.tag).endswith("}v")), "")
    if kind == "s":
        return sheet.strings[int(raw)] if raw.isdecimal() and int(raw[:9]) < len(sheet.strings) else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(raw, raw)
    return shown(raw, cell.get("s", ""), sheet.formats) if kind == "n" and raw else raw


def _column(reference: str) -> int:
    """`AB7` -> 28; 0 where there are no letters."""
    number = 0
    for character in reference[:4]:
        if not "A" <= character <= "Z":
            break
        number = number * 26 + ord(character) - 64
    return number
