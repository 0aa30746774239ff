"""A tree of HTML as Markdown text: headings, paragraphs, lists, tables. What is not seen is counted, not written.

Knows inline styles and attributes. What a style sheet or a script hides is taken as visible.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lxml import etree

from ingest.parsing.html_style import background_of, is_hidden
from ingest.parsing.parsed import Draft, plain, table_rows
from rag.errors import ParseError

_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLOCKS = {"p", "div", "section", "article", "main", "ul", "ol", "dl", "dt", "dd", "table", "blockquote", "pre", "body"}
_BLOCKS |= {
    "figure",
    "figcaption",
    "address",
    "caption",
    "header",
    "footer",
    "tr",
    "details",
    "summary",
    "fieldset",
    "td",
}
_SILENT = {"script", "style", "noscript", "template", "iframe", "svg", "head", "title"}  # no text of the page
_FURNITURE = {"nav", "aside", "button", "select", "textarea"}
_PAGE_FURNITURE = {"header", "footer"}  # inside an article they hold its title
_LAYOUT = "|".join(f".//{tag}" for tag in ("table", "ul", "ol", "dl", "pre", "h1", "h2", "h3", "h4", "h5", "h6"))
_MAX_DEPTH = 200
_MAX_SPAN = 200  # columns or rows that a cell may cover


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the page the walk is."""

    draft: Draft
    background: str | None  # the colour behind the text, as far as the page itself tells
    furniture: bool  # whether menus and the like are left out
    depth: int = 0
    preformatted: bool = False
    article: bool = False


def render(root: etree._Element, draft: Draft, on_white: bool, furniture: bool) -> str:
    """The text of an element and all in it; `on_white` where nothing but inline styles can colour the background."""
    inside = any(parent.tag in ("main", "article") for parent in root.iterancestors())
    return "".join(_render(root, _Place(draft, "white" if on_white else None, furniture, article=inside)))


def text_of(element: etree._Element) -> str:
    """All text of an element but that of scripts and the like."""
    if element.tag in _SILENT:
        return ""
    pieces = [element.text or ""]
    for child in element:
        pieces += (text_of(child), child.tail or "")
    return "".join(pieces)


def _render(element: etree._Element, place: _Place) -> Iterator[str]:
    """An element's own text as Markdown, without its tail."""
    tag = element.tag
    if place.depth > _MAX_DEPTH:
        raise ParseError(f"its elements are nested more than {_MAX_DEPTH} deep")
    reason = _left_out(element, place)
    if reason or tag in _SILENT:
        place.draft.drop(reason or "", text_of(element))
        return
    place = replace(
        place,
        background=background_of(element) or place.background,
        depth=place.depth + 1,
        preformatted=place.preformatted or tag == "pre",
        article=place.article or tag in ("main", "article"),
    )
    if tag == "br":
        yield "\n"
    elif tag in _HEADINGS:
        heading = _one_line(element, place)
        yield f"\n\n{_HEADINGS[tag]} {heading}\n\n" if heading else ""
    elif tag == "li":
        yield "\n- "
        yield from _content(element, place)
    elif tag == "table":
        yield from _table(element, place)
    elif tag == "pre":
        yield _code("".join(_content(element, place)))
    else:
        around = "\n\n" if tag in _BLOCKS else ""
        yield around
        yield from _content(element, place)
        yield around


def _left_out(element: etree._Element, place: _Place) -> str | None:
    """Why an element is not written, if so."""
    if is_hidden(element, place.background):
        return "hidden"
    if place.furniture and (element.tag in _FURNITURE or (element.tag in _PAGE_FURNITURE and not place.article)):
        return "boilerplate"
    return None


def _content(element: etree._Element, place: _Place) -> Iterator[str]:
    """The text and children of an element; outside of `<pre>` line breaks in the source are only blanks."""
    yield _text(element.text, place)
    for child in element:
        yield from _render(child, place)
        yield _text(child.tail, place)


def _text(text: str | None, place: _Place) -> str:
    return (text or "") if place.preformatted else plain(re.sub(r"\s+", " ", text or ""))


def _code(text: str) -> str:
    """Preformatted text; in a fence where a line of it would be taken for a heading."""
    return (
        f"\n\n```\n{text.strip()}\n```\n\n" if plain(text) != text and "```" not in text else f"\n\n{plain(text)}\n\n"
    )


def _one_line(element: etree._Element, place: _Place) -> str:
    return " ".join("".join(_content(element, place)).split())


def _table(table: etree._Element, place: _Place) -> Iterator[str]:
    """Rows that carry their headers; a table that only arranges the page is read cell by cell."""
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
    cells = [[cell for cell in row if cell.tag in ("td", "th")] for row in rows]
    if not any(cell.tag == "th" for row in cells for cell in row) and any(
        cell.xpath(_LAYOUT) or len(cell.findall("p") + cell.findall("div")) > 2 for row in cells for cell in row
    ):
        for part in (*table.findall("caption"), *rows):
            yield from _render(part, place)
        return
    for caption in table.findall("caption"):
        yield f"\n\n{_one_line(caption, place)}"
    yield "\n\n" + "\n".join(_lines(rows, cells, place)) + "\n\n"


def _lines(rows: list[etree._Element], cells: list[list[etree._Element]], place: _Place) -> list[str]:
    grid = _grid(rows, cells, place)
    above = 0
    while above < len(cells) and cells[above] and (_in_head(rows[above]) or all(c.tag == "th" for c in cells[above])):
        above += 1
    width = max(map(len, grid), default=0)
    columns = [[row[i] for row in grid[:above] if i < len(row)] for i in range(width)]
    header = [" ".join(dict.fromkeys(filter(None, names))) for names in columns]
    if above:
        return table_rows(header, grid[above:]) or table_rows([], grid[:above])
    named = [bool(row) and row[0].tag == "th" and len(row) > 1 for row in cells]
    return [
        line
        for names, row in zip(named, grid, strict=True)
        for line in (table_rows(row[:1], [["; ".join(filter(None, row[1:]))]]) if names else table_rows([], [row]))
    ]


def _in_head(row: etree._Element) -> bool:
    return row.getparent() is not None and row.getparent().tag == "thead"


def _grid(rows: list[etree._Element], cells: list[list[etree._Element]], place: _Place) -> list[list[str]]:
    """The texts by row and column; a cell over several of them stands in each row, and in each column of a header."""
    grid: list[list[str]] = []
    down: dict[int, tuple[int, str]] = {}  # column -> rows still to fill, text
    for row, row_cells in zip(rows, cells, strict=True):
        line: list[str] = []
        hidden = _left_out(row, place)
        for cell in row_cells:
            _fill_from_above(line, down)
            text = "" if hidden else " ".join("".join(_render(cell, place)).split())
            wide = _span(cell, "colspan")
            for n in range(wide):
                below = _span(cell, "rowspan") - 1
                if below:
                    down[len(line)] = (below, text)
                line.append(text if n == 0 or cell.tag == "th" else "")
        if hidden:
            place.draft.drop(hidden, text_of(row))
        _fill_from_above(line, down)
        grid.append(line)
    return grid


def _fill_from_above(line: list[str], down: dict[int, tuple[int, str]]) -> None:
    while len(line) in down:
        left, text = down.pop(len(line))
        if left > 1:
            down[len(line)] = (left - 1, text)
        line.append(text)


def _span(cell: etree._Element, name: str) -> int:
    value = cell.get(name, "1").strip()
    return min(max(int(value), 1), _MAX_SPAN) if value.isascii() and value.isdigit() and len(value) < 6 else 1
