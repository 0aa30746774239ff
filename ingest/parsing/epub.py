"""EPUB: the chapters in the order of the spine, read as HTML. The archive's own files only; scripts are never run."""

import posixpath
from urllib.parse import unquote
from zipfile import ZipFile

from lxml import etree

from ingest.parsing.archive import open_archive, read_entry
from ingest.parsing.html import title_of, tree, write_page
from ingest.parsing.office import read_xml
from ingest.parsing.parsed import Draft, Parsed, iso_day
from ingest.parsing.text import decode
from rag.errors import ParseError

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}


def parse_epub(content: bytes) -> Parsed:
    """All chapters; one without a heading of its own gets its page's title. Raises `ParseError`."""
    archive = open_archive(content)
    package = _package_part(archive)
    root = read_xml(archive, package)
    present = set(archive.namelist())
    chapters = [name for name in _spine(root, posixpath.dirname(package)) if name in present]
    if not chapters:
        raise ParseError("it is damaged: none of its chapters is there")
    if _locked(archive) & set(chapters):
        raise ParseError("it is locked by copy protection")
    metadata = root.find("metadata")
    title = metadata.findtext("title") if metadata is not None else None
    draft = Draft()
    for name in chapters:
        _write_chapter(archive, name, title, draft)
    return draft.parsed(title, _day(root))


def _package_part(archive: ZipFile) -> str:
    if _CONTAINER in archive.namelist():
        for entry in read_xml(archive, _CONTAINER).iter("rootfile"):
            name: str = entry.get("full-path", "")
            if name in archive.namelist():
                return name
    raise ParseError("it is damaged: its list of contents is missing")


def _spine(root: etree._Element, folder: str) -> list[str]:
    """The parts to read, in order; a path that leaves the archive is the name of no entry in it."""
    pages = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "").partition("#")[0])))
        for item in root.iterfind("manifest/item")
        if item.get("media-type") in _PAGES
    }
    order = [item.get("idref") for item in root.iterfind("spine/itemref")]
    return [pages[key] for key in dict.fromkeys(order) if key in pages]


def _locked(archive: ZipFile) -> set[str]:
    """The entries that are encrypted; often only fonts are."""
    if _ENCRYPTION not in archive.namelist():
        return set()
    return {unquote(entry.get("URI", "")) for entry in read_xml(archive, _ENCRYPTION).iter("CipherReference")}


def _write_chapter(archive: ZipFile, name: str, book: str | None, draft: Draft) -> None:
    content = read_entry(archive, name)
    if not content.strip():
        return
    page = tree(decode(content))
    if page.find(".//body") is not None and not page.xpath("//h1 | //h2 | //h3 | //h4 | //h5 | //h6"):
        title = " ".join((title_of(page) or "").split())
        draft.write(f"# {title}\n\n" if title and title != book else "")
    write_page(page, draft, furniture=False)
    draft.write("\n")


def _day(root: etree._Element) -> str | None:
    """The day of the last change, else of publication."""
    metadata = root.find("metadata")
    stated = {m.get("property") or m.tag: m.text for m in (metadata if metadata is not None else ())}
    return iso_day(stated.get("dcterms:modified")) or iso_day(stated.get("date"))
