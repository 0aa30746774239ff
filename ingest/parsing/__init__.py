"""parse(path) -> Document: one module a family of formats, chosen by the file's suffix."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from ingest.parsing import html, pdf, text
from ingest.parsing.parsed import Parsed
from rag.errors import ParseError
from rag.schema import Document

_PARSERS: dict[str, tuple[str, Callable[[bytes], Parsed]]] = {
    ".md": ("text/markdown", text.parse_markdown),
    ".markdown": ("text/markdown", text.parse_markdown),
    ".txt": ("text/plain", text.parse_text),
    ".html": ("text/html", html.parse_html),
    ".htm": ("text/html", html.parse_html),
    ".pdf": ("application/pdf", pdf.parse_pdf),
}
SUFFIXES = frozenset(_PARSERS)
# What neither SQLite's text nor a page can show: NUL and other control characters, lone surrogates.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def parse(path: Path) -> Document:
    """Read a file as a document. Raises `ParseError` with the reason where it cannot be."""
    kind = _PARSERS.get(path.suffix.lower())
    if kind is None:
        raise ParseError(f"its kind {path.suffix or 'without a suffix'!r} is not known")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParseError(f"it cannot be read: {error.strerror}") from error
    media_type, parser = kind
    parsed = parser(content)
    # One character for one, so that page starts stay true.
    clean = _UNSTORABLE.sub(" ", parsed.text)
    if not clean.strip():
        raise ParseError("it holds no text")
    title = " ".join(_UNSTORABLE.sub(" ", parsed.title or path.stem).split()) or "untitled"
    return Document(hashlib.sha256(content).hexdigest(), (str(path),), title, media_type, clean, parsed.page_starts)
