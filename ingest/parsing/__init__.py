"""parse(path) -> Document: one module a family of formats, chosen by the file's suffix."""

import hashlib
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
    if not parsed.text.strip():
        raise ParseError("it holds no text")
    title = parsed.title or " ".join(path.stem.split()) or "untitled"
    return Document(
        id=hashlib.sha256(content).hexdigest(),
        sources=(str(path),),
        title=title,
        media_type=media_type,
        text=parsed.text,
        places=parsed.places,
        unit=parsed.unit,
        date=parsed.date,
        dropped=parsed.dropped,
    )
