"""Which kind of file some bytes are: what they hold counts for more than what their name says. Parses nothing."""

import re

from ingest.parsing.archive import open_archive, read_entry
from rag.errors import ParseError

_KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".docm": "docx",
    ".pptx": "pptx",
    ".pptm": "pptx",
    ".ppsx": "pptx",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".epub": "epub",
    ".eml": "eml",
}
SUFFIXES = frozenset(_KINDS)
_BY_CONTENTS = {"pdf", "docx", "pptx", "xlsx", "epub"}  # kinds that show what they are
_OFFICE_PARTS = {
    "docx": re.compile(r"word/document\d*\.xml"),
    "pptx": re.compile(r"ppt/presentation\d*\.xml"),
    "xlsx": re.compile(r"xl/workbook\d*\.xml"),
}
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # old Office files, and new ones that are locked
_LOCKED = "EncryptedPackage".encode("utf-16-le")
_PDF_HEAD, _PDF_TAIL = 1024, 2048  # where a PDF's marks may stand


def kind_of(content: bytes, suffix: str) -> str:
    """The kind as `ingest.parsing` names it; the suffix is lower case. Raises `ParseError` where there is none."""
    named = _KINDS.get(suffix)
    if _is_pdf(content, named):
        return "pdf"
    if content.startswith(_OLE):
        if _LOCKED in content:
            raise ParseError("it is locked with a password; save it without one")
        raise ParseError("it is in an old Office format; save it as .docx, .xlsx or .pptx")
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_archive(content, named)
    if named is None:
        raise ParseError(f"its kind {suffix or 'without a suffix'!r} is not known")
    if named in _BY_CONTENTS:
        raise ParseError("it is damaged or not a PDF" if named == "pdf" else _misnamed(named))
    return named


def _is_pdf(content: bytes, named: str | None) -> bool:
    """A PDF may begin with other bytes, but a text about PDFs is none: outside of `.pdf` the end is looked at, too."""
    if b"%PDF-" not in content[:_PDF_HEAD]:
        return False
    return named == "pdf" or content.lstrip().startswith(b"%PDF-") or b"%%EOF" in content[-_PDF_TAIL:]


def _kind_of_archive(content: bytes, named: str | None) -> str:
    archive = open_archive(content)
    names = archive.namelist()
    for kind, part in _OFFICE_PARTS.items():
        if any(part.fullmatch(name) for name in names):
            return kind
    if "META-INF/container.xml" in names or (
        "mimetype" in names and read_entry(archive, "mimetype", 100).strip() == b"application/epub+zip"
    ):
        return "epub"
    if named in _BY_CONTENTS:
        raise ParseError(_misnamed(named))
    raise ParseError("it is a zip archive; unpack it first")


def _misnamed(kind: str) -> str:
    return f"it is not {'an' if kind in ('epub', 'xlsx') else 'a'} {kind.upper()} file, whatever its name says"
