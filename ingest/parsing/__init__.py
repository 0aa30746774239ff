"""parse(path) -> Document: one module a family of formats, chosen by the file's contents and then by its suffix.

A parser and its library are loaded when the first file of its kind is read: to know the suffixes costs nothing.
"""

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path

from ingest.parsing.kinds import SUFFIXES, kind_of
from ingest.parsing.parsed import Parsed
from rag.errors import ParseError
from rag.schema import Document

__all__ = ["SUFFIXES", "parse"]

_OPEN_XML = "application/vnd.openxmlformats-officedocument"
# kind -> media type, module, function. Headings are looked for in all but plain text, PDF and CSV.
_PARSERS = {
    "text": ("text/plain", "text", "parse_text"),
    "markdown": ("text/markdown", "text", "parse_markdown"),
    "html": ("text/html", "html", "parse_html"),
    "pdf": ("application/pdf", "pdf", "parse_pdf"),
    "docx": (f"{_OPEN_XML}.wordprocessingml.document", "word", "parse_docx"),
    "pptx": (f"{_OPEN_XML}.presentationml.presentation", "slides", "parse_pptx"),
    "xlsx": (f"{_OPEN_XML}.spreadsheetml.sheet", "sheets", "parse_xlsx"),
    "csv": ("text/csv", "tables", "parse_csv"),
    "json": ("application/json", "json_text", "parse_json"),
    "jsonl": ("application/jsonl", "json_text", "parse_jsonl"),
    "epub": ("application/epub+zip", "epub", "parse_epub"),
    "eml": ("message/rfc822", "mail", "parse_eml"),
}


def parse(path: Path) -> Document:
    """Read a file as a document. Raises `ParseError` with the reason where it cannot be."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParseError(f"it cannot be read: {error.strerror}") from error
    media_type, module, function = _PARSERS[kind_of(content, path.suffix.lower())]
    parser: Callable[[bytes], Parsed] = getattr(importlib.import_module(f"ingest.parsing.{module}"), function)
    try:
        parsed = parser(content)
    except RecursionError:
        raise ParseError("it is nested too deep") from None
    if not parsed.text.strip():
        raise ParseError("it holds no text that can be seen" if parsed.dropped else "it holds no text")
    return Document(
        id=hashlib.sha256(content).hexdigest(),
        sources=(str(path),),
        title=parsed.title or " ".join(path.stem.split()) or "untitled",
        media_type=media_type,
        text=parsed.text,
        places=parsed.places,
        unit=parsed.unit,
        date=parsed.date,
        dropped=parsed.dropped,
    )
