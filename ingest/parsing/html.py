"""HTML -> Markdown text: finds the encoding, builds the tree, chooses the part that is the page's own."""

import re

from lxml import etree

from ingest.parsing.html_walk import render, text_of
from ingest.parsing.parsed import MAX_TAGS, Draft, Parsed, iso_day
from ingest.parsing.text import decode
from rag.errors import ParseError

_DECLARED_ENCODING = re.compile(rb"<meta[^>]{1,500}?charset=[\"']?([\w-]+)", re.IGNORECASE)
_READ_AS_CP1252 = {"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"}
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}\?>")
_POINT_APART = re.compile(r"^-\n\n(?=[^\n-])", re.MULTILINE)  # of a list whose points are paragraphs
_MODIFIED = ("article:modified_time", "og:updated_time", "dcterms.modified", "dcterms:modified", "last-modified")


def parse_html(content: bytes) -> Parsed:
    """The readable text of a page as Markdown; the part in `<main>` or a single `<article>` where there is one."""
    draft = Draft()
    root = tree(_decode(content))
    write_page(root, draft)
    return draft.parsed(title_of(root), _modified(root))


def tree(text: str) -> etree._Element:
    """The root element. Raises `ParseError` where a page is nested or large beyond what the parser reads whole."""
    if text.count("<") > MAX_TAGS:
        raise ParseError(f"it has more than {MAX_TAGS // 1_000_000} million tags; split it")
    parser = etree.HTMLParser(no_network=True, huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(_XML_DECLARATION.sub("", text), parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise ParseError("its HTML cannot be parsed") from error
    # Where a limit is hit libxml2 stops and returns what it has; half a page would be read as a whole one.
    if fatal := [entry.message for entry in parser.error_log if entry.level == etree.ErrorLevels.FATAL]:
        deep = "depth" in fatal[0]
        raise ParseError("its elements are nested too deep" if deep else "its HTML has a part that is too large")
    if root is None:
        raise ParseError("it holds no text")
    return root


def write_page(root: etree._Element, draft: Draft, furniture: bool = True) -> None:
    """Write what a page says; where `furniture` is left out, what stands outside of its main part counts as that."""
    body = root
    if furniture:
        articles = root.xpath("//main") or root.xpath("//article")
        body = articles[0] if len(articles) == 1 else root
        _drop_outside(body, draft)
    text = render(body, draft, not root.xpath("//style | //link[@rel='stylesheet']"), furniture)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.split("\n")))
    draft.write(_POINT_APART.sub("- ", text).strip() + "\n")


def title_of(root: etree._Element) -> str | None:
    """The page's title, else its first heading."""
    heading = next(iter(root.xpath("//h1")), None)
    return root.findtext(".//title") or (text_of(heading) if heading is not None else None)


def _modified(root: etree._Element) -> str | None:
    """The day of the last change, where the page's head states one."""
    for meta in root.iter("meta"):
        name = meta.get("property") or meta.get("name") or meta.get("http-equiv") or meta.get("itemprop") or ""
        if name.lower() in (*_MODIFIED, "datemodified") and (day := iso_day(meta.get("content"))):
            return day
    return None


def _drop_outside(body: etree._Element, draft: Draft) -> None:
    for node in (body, *body.iterancestors()):
        parent = node.getparent()
        for sibling in parent if parent is not None else ():
            if sibling is not node and sibling.tag != "head":
                draft.drop("boilerplate", text_of(sibling))
            draft.drop("boilerplate", sibling.tail or "")


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
