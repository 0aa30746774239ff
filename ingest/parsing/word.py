"""DOCX as Markdown text: headings, paragraphs, lists, tables, notes and text boxes in the order of the document.

Reads the XML itself: what tracked changes, fields and content controls hold is a matter of which elements are walked.
Comments, charts and the numbers of numbered paragraphs are not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from ingest.parsing.archive import open_archive
from ingest.parsing.office import attribute, main_part, read_xml, related, stated
from ingest.parsing.parsed import Draft, Parsed, plain, table_rows
from ingest.parsing.word_styles import Style, is_on, read_styles, shades, style_of
from rag.errors import ParseError

_PARAGRAPHS_IN = {"sdt", "sdtContent", "ins", "moveTo", "customXml", "AlternateContent", "Choice", "smartTag"}
_NO_TEXT = {"pPr", "rPr", "sdtPr", "del", "moveFrom", "delText", "instrText", "Fallback", "tblPr", "trPr", "tcPr"}
_INSTEAD = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_HEADER_LENGTH = 80  # characters of a cell that may head a column
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}


@dataclass(slots=True)
class _Reading:
    draft: Draft
    styles: dict[str, Style]
    notes: dict[tuple[str, str | None], etree._Element]
    dark: bool  # whether the whole document stands on a colour
    boxes: list[etree._Element] = field(default_factory=list)  # text boxes of the paragraph at hand


def parse_docx(content: bytes) -> Parsed:
    """The text as it is after all tracked changes. Raises `ParseError`."""
    archive = open_archive(content)
    part = main_part(archive)
    root = read_xml(archive, part)
    body = root.find("body")
    if body is None:
        raise ParseError("it is damaged: a part is missing")
    styles = {key: style for name in related(archive, part, "styles") for key, style in read_styles(archive, name)}
    notes = {
        (kind, attribute(note, "id")): note
        for kind in _NOTES.values()
        for name in related(archive, part, kind)
        for note in read_xml(archive, name)
        if attribute(note, "type") is None
    }
    reading = _Reading(Draft(), styles, notes, shades(root.find("background"), "color"))
    _blocks(body, reading, reading.dark)
    for kind in ("header", "footer"):
        for name in related(archive, part, kind):
            reading.draft.drop("boilerplate", "".join(t.text or "" for t in read_xml(archive, name).iter("t")))
    title, day = stated(archive)
    return reading.draft.parsed(title or _first_heading(body, reading), day)


def _first_heading(body: etree._Element, reading: _Reading) -> str | None:
    for paragraph in body.iter("p"):
        if style_of(paragraph, reading.styles).level:
            return "".join(t.text or "" for t in paragraph.iter("t"))
    return None


def _blocks(element: etree._Element, reading: _Reading, backed: bool) -> None:
    """Write the paragraphs and tables in an element; `backed` where a colour may stand behind them."""
    for child in element:
        if child.tag == "p":
            _paragraph(child, reading, backed)
        elif child.tag == "tbl":
            _table(child, reading, backed)
        elif child.tag in _PARAGRAPHS_IN:
            _blocks(child, reading, backed)


def _paragraph(paragraph: etree._Element, reading: _Reading, backed: bool) -> None:
    text = _text(paragraph, reading, backed)
    style = style_of(paragraph, reading.styles)
    if text and style.level:
        reading.draft.write(f"{'#' * min(style.level, 6)} {' '.join(text.split())}\n\n")
    elif text:
        reading.draft.write(("- " if style.listed else "") + plain(text) + "\n\n")
    boxes, reading.boxes = reading.boxes, []
    for box in boxes:
        _blocks(box, reading, True)


def _text(paragraph: etree._Element, reading: _Reading, backed: bool) -> str:
    style = style_of(paragraph, reading.styles)
    return "".join(_runs(paragraph, reading, style, backed or style.shaded)).strip()


def _runs(element: etree._Element, reading: _Reading, style: Style, backed: bool) -> Iterator[str]:
    """The text in an element, without what is hidden, deleted or a field's instruction."""
    for child in element:
        if child.tag == "t":
            yield child.text or ""
        elif child.tag == "r" and _is_hidden(child, reading, style, backed):
            reading.draft.drop("hidden", "".join(t.text or "" for t in child.iter("t")))
        elif child.tag in _NOTES:
            yield from _note(child, reading)
        elif child.tag == "txbxContent":
            reading.boxes.append(child)
        elif child.tag in _INSTEAD:
            yield _INSTEAD[child.tag]
        elif child.tag not in _NO_TEXT:
            yield from _runs(child, reading, style, backed)


def _is_hidden(run: etree._Element, reading: _Reading, paragraph: Style, backed: bool) -> bool:
    """Whether a run is marked as hidden, or white or a point small where nothing is behind it."""
    properties = run.find("rPr")
    if properties is None:
        return paragraph.hidden or (paragraph.white and not backed)
    style = reading.styles.get(attribute(properties.find("rStyle"), "val") or "", paragraph)
    vanish = properties.find("vanish")
    if style.hidden if vanish is None else is_on(vanish):
        return True
    size = attribute(properties.find("sz"), "val") or ""
    if size.isdigit() and int(size) <= 2:
        return True
    colour = attribute(properties.find("color"), "val")
    white = style.white if colour is None else colour.upper() == "FFFFFF"
    return white and not (backed or shades(properties.find("shd"), "fill") or properties.find("highlight") is not None)


def _note(reference: etree._Element, reading: _Reading) -> Iterator[str]:
    note = reading.notes.get((_NOTES[reference.tag], attribute(reference, "id")))
    text = " ".join("".join(t.text or "" for t in note.iter("t")).split()) if note is not None else ""
    yield f" [{text}]" if text else ""


def _table(table: etree._Element, reading: _Reading, backed: bool) -> None:
    """Rows with their headers: those marked as such, else the first row if all of it is filled and short."""
    rows = [row for row in _inside(table, "tr") if row.find("trPr/del") is None]
    cells = [list(_inside(row, "tc")) for row in rows]
    table_style = attribute(table.find("tblPr/tblStyle"), "val") or ""
    backed = backed or reading.styles.get(table_style, Style()).shaded
    if max(map(len, cells), default=0) < 2:  # a frame around text
        for cell in (cell for row in cells for cell in row):
            _blocks(cell, reading, backed or shades(cell.find("tcPr/shd"), "fill"))
        return
    grid = _grid(cells, reading, backed)
    above = 0
    while above < len(rows) and is_on(rows[above].find("trPr/tblHeader")):
        above += 1
    if not above and len(grid) > 1 and all(0 < len(text) <= _HEADER_LENGTH for text in grid[0]):
        above = 1
    width = max(map(len, grid))
    header = [" ".join(dict.fromkeys(row[i] for row in grid[:above] if i < len(row))) for i in range(width)]
    lines = table_rows(header, grid[above:]) or table_rows([], grid)
    reading.draft.write("".join(plain(line) + "\n" for line in lines) + "\n")


def _inside(element: etree._Element, tag: str) -> Iterator[etree._Element]:
    """Rows of a table or cells of a row, also those in content controls."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag in _PARAGRAPHS_IN:
            yield from _inside(child, tag)


def _grid(cells: list[list[etree._Element]], reading: _Reading, backed: bool) -> list[list[str]]:
    """The texts by row and column; a cell merged downwards stands in each of its rows."""
    grid: list[list[str]] = []
    for row in cells:
        line: list[str] = []
        for cell in row:
            properties = cell.find("tcPr")
            merge = properties.find("vMerge") if properties is not None else None
            shaded = backed or shades(cell.find("tcPr/shd"), "fill")
            text = _cell(cell, reading, shaded)
            if merge is not None and attribute(merge, "val") != "restart" and grid and len(line) < len(grid[-1]):
                text = grid[-1][len(line)]
            span = attribute(cell.find("tcPr/gridSpan"), "val") or "1"
            line += [text] + [""] * (min(int(span), 100) - 1 if span.isdecimal() else 0)
        grid.append(line)
    return grid


def _cell(cell: etree._Element, reading: _Reading, backed: bool) -> str:
    texts = [_text(paragraph, reading, backed) for paragraph in cell.xpath(".//p[not(ancestor::Fallback)]")]
    reading.boxes.clear()  # their paragraphs are among those of the cell
    return " ".join(filter(None, texts))
