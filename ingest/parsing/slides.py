"""PPTX as Markdown text: a slide's title as a heading, its shapes, tables and diagrams, and the speaker's notes.

Shapes come in the order of the file, which is the order of drawing. Charts and the text of pictures are not read.
"""

from collections.abc import Iterator
from zipfile import ZipFile

from lxml import etree

from ingest.parsing.archive import open_archive
from ingest.parsing.office import attribute, main_part, read_xml, related, relation_id, relations, stated
from ingest.parsing.parsed import Draft, Parsed, plain, table_rows
from rag.errors import ParseError

_TITLES = {"title", "ctrTitle"}
_FURNITURE = {"sldNum", "dt", "ftr", "hdr"}
_OFF = ("0", "false")
_DEFAULT_TITLE = "PowerPoint Presentation"  # what the program writes where nobody gave one


def parse_pptx(content: bytes) -> Parsed:
    """All slides in their order, numbered as the program numbers them. Raises `ParseError`."""
    archive = open_archive(content)
    part = main_part(archive)
    listed = relations(archive, part)
    slides = [
        listed.get(relation_id(entry), ("", ""))[1] for entry in read_xml(archive, part).iterfind("sldIdLst/sldId")
    ]
    if not slides:
        raise ParseError("it has no slides")
    draft = Draft("slide")
    first_title = ""
    for number, name in enumerate(slides, start=1):
        title = _slide(archive, name, number, draft)
        first_title = first_title or title
    own_title, day = stated(archive)
    return draft.parsed(first_title if own_title in (None, "", _DEFAULT_TITLE) else own_title, day)


def _slide(archive: ZipFile, name: str, number: int, draft: Draft) -> str:
    """Write a slide; its title."""
    slide = read_xml(archive, name)
    notes = [_notes(read_xml(archive, part)) for part in related(archive, name, "notesSlide")]
    if attribute(slide, "show") in _OFF:
        draft.drop("hidden", "".join([*(t.text or "" for t in slide.iter("t")), *notes]))
        return ""
    shapes = list(_shapes(slide.find("cSld/spTree"), draft))
    titles = [text for kind, text in shapes if kind in _TITLES]
    title = " ".join(" ".join(titles).split())
    diagrams = [_diagram(read_xml(archive, part)) for part in related(archive, name, "diagramData")]
    said = [f"Notes: {text}" for text in notes if text]
    texts = [text for text in (*(t for kind, t in shapes if kind not in _TITLES), *diagrams, *said) if text]
    if not title and not texts:
        return ""
    draft.place(number)
    draft.write(f"# {title or f'Slide {number}'}\n\n")
    for text in texts:
        draft.write(plain(text) + "\n\n")
    return title


def _shapes(tree: etree._Element | None, draft: Draft) -> Iterator[tuple[str, str]]:
    """(kind of placeholder or nothing, text) of each shape, those in groups too."""
    for shape in tree if tree is not None else ():
        properties = shape.find("*/cNvPr")
        kind = attribute(shape.find("*/nvPr/ph"), "type") or ""
        if shape.tag in ("grpSp", "AlternateContent", "Choice"):
            yield from _shapes(shape, draft)
        elif shape.tag in ("sp", "graphicFrame", "cxnSp"):
            reason = "boilerplate" if kind in _FURNITURE else ""
            if attribute(properties, "hidden") in ("1", "true"):
                reason = "hidden"
            if reason:
                draft.drop(reason, "".join(t.text or "" for t in shape.iter("t")))
            else:
                table = shape.find("graphic/graphicData/tbl")
                yield kind, _text(shape.find("txBody")) if table is None else _table(table)


def _text(body: etree._Element | None) -> str:
    """The paragraphs of a text body, a line each; deeper ones as points of a list."""
    lines = []
    for paragraph in body.iterfind("p") if body is not None else ():
        text = _paragraph(paragraph)
        deeper = attribute(paragraph.find("pPr"), "lvl") not in (None, "0")
        lines += [("- " if deeper else "") + text] if text else []
    return "\n".join(lines)


def _paragraph(paragraph: etree._Element) -> str:
    pieces = ((t.text or "") if t.tag == "t" else " " for t in paragraph.iter("t", "br", "tab"))
    return " ".join("".join(pieces).split())


def _table(table: etree._Element) -> str:
    """Rows with their headers; without a header row as they are."""
    grid: list[list[str]] = []
    for row in table.iterfind("tr"):
        line: list[str] = []
        for cell in row.iterfind("tc"):
            down = attribute(cell, "vMerge") in ("1", "true") and grid and len(line) < len(grid[-1])
            line.append(grid[-1][len(line)] if down else " ".join(map(_paragraph, cell.iterfind("txBody/p"))))
        grid.append(line)
    headed = attribute(table.find("tblPr"), "firstRow") in ("1", "true") and len(grid) > 1
    return "\n".join(table_rows(grid[0], grid[1:]) if headed else table_rows([], grid))


def _notes(notes: etree._Element) -> str:
    """What the speaker wrote, without the picture of the slide and its number."""
    bodies = [s for s in notes.iter("sp") if attribute(s.find("*/nvPr/ph"), "type") == "body"]
    return "\n".join(filter(None, (_text(shape.find("txBody")) for shape in bodies)))


def _diagram(data: etree._Element) -> str:
    points = (" ".join(_paragraph(p) for p in point.iter("p")) for point in data.iter("pt"))
    return "\n".join(f"- {text}" for text in points if text.strip())
