"""HTML -> Markdown text: headings, paragraphs, lists and tables stay; scripts, menus and page furniture go."""

import re
from collections.abc import Iterator

from lxml import etree
from lxml import html as lxml_html

from ingest.parsing.parsed import Parsed
from ingest.parsing.text import decode
from rag.errors import ParseError

_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLOCKS = {"p", "div", "section", "article", "main", "ul", "ol", "dl", "dt", "dd", "table", "blockquote", "pre", "body"}
_BLOCKS |= {"figure", "figcaption", "address"}
_DROPPED = {"script", "style", "noscript", "template", "nav", "aside", "iframe", "svg", "head"}
_DROPPED |= {"button", "select", "textarea"}
_FURNITURE = {"header", "footer"}  # of the page; inside an article they hold its title
_DECLARED_ENCODING = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_READ_AS_CP1252 = {"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"}
_MAX_DEPTH = 200


def parse_html(content: bytes) -> Parsed:
    """The readable text of a page as Markdown; the part in `<main>` or a single `<article>` where there is one."""
    text = _decode(content)
    try:
        root = lxml_html.document_fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise ParseError(f"its HTML cannot be parsed: {error}") from error
    articles = root.xpath("//main") or root.xpath("//article")
    body = articles[0] if len(articles) == 1 else root
    lines = "".join(_render(body, 0, False)).split("\n")
    blocks = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip()
    title = root.findtext(".//title") or next(iter(root.xpath("//h1//text()")), None)
    return Parsed(blocks + "\n", title=title)


def _decode(content: bytes) -> str:
    """UTF-8 where that fits, else what the page declares (read as browsers do), else the most likely encoding."""
    declared = _DECLARED_ENCODING.search(content[:4096])
    name = declared[1].decode("ascii", "replace").lower() if declared else "utf-8"
    for encoding in ("utf-8-sig", "cp1252" if name in _READ_AS_CP1252 else name):
        try:
            if not encoding.startswith("utf-16"):  # a page whose declaration can be read is not in UTF-16
                return content.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return decode(content)


def _render(element: etree._Element, depth: int, preformatted: bool) -> Iterator[str]:
    """An element's own text as Markdown, without its tail."""
    tag = element.tag if isinstance(element.tag, str) else ""  # comments have a function here
    if not tag or tag in _DROPPED or (tag in _FURNITURE and not _inside_article(element)):
        return
    if depth > _MAX_DEPTH:
        raise ParseError(f"its elements are nested more than {_MAX_DEPTH} deep")
    if tag == "br":
        yield "\n"
    elif tag == "tr":
        yield from _row(element, depth)
    elif tag in _HEADINGS:
        yield f"\n\n{_HEADINGS[tag]} {_one_line(element, depth)}\n\n"
    elif tag == "li":
        yield "\n- "
        yield from _content(element, depth, preformatted)
    else:
        around = "\n\n" if tag in _BLOCKS else ""
        yield around
        yield from _content(element, depth, preformatted or tag == "pre")
        yield around


def _content(element: etree._Element, depth: int, preformatted: bool) -> Iterator[str]:
    """The text and children of an element; outside of `<pre>` line breaks in the source are only blanks."""
    for text, child in [(element.text, None), *((child.tail, child) for child in element)]:
        if child is not None:
            yield from _render(child, depth + 1, preformatted)
        yield (text or "") if preformatted else re.sub(r"\s+", " ", text or "")


def _row(row: etree._Element, depth: int) -> Iterator[str]:
    """A table's row as `| a | b |`; a row of header cells is underlined as Markdown does."""
    cells = [cell for cell in row if cell.tag in ("td", "th")]
    yield "\n| " + " | ".join(_one_line(cell, depth) for cell in cells) + " |"
    if cells and all(cell.tag == "th" for cell in cells):
        yield "\n|" + "---|" * len(cells)


def _one_line(element: etree._Element, depth: int) -> str:
    return " ".join("".join(_content(element, depth, False)).split())


def _inside_article(element: etree._Element) -> bool:
    return any(parent.tag in ("main", "article") for parent in element.iterancestors())
