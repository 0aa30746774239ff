"""PDF with PDFium: the text layer, page by page."""

import re

import pypdfium2

from ingest.parsing.parsed import Parsed
from rag.errors import ParseError

_SOFT_HYPHEN = re.compile("[\x02\ufffe\u00ad]\n?")  # what PDFium gives for a word broken at a line's end

_FULL = 0.75  # of the longest line
_NO_TITLES = {"", "untitled", "anonymous"}  # what programs write where nobody gave one


def parse_pdf(content: bytes) -> Parsed:
    """The text of all pages, an empty line between them. Raises `ParseError` for a damaged, locked or scanned file."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise ParseError("it is locked with a password" if locked else "it is damaged or not a PDF") from error
    try:
        pages = [_page_text(document[n]) for n in range(len(document))]
        title = document.get_metadata_dict().get("Title", "")
    except pypdfium2.PdfiumError as error:
        raise ParseError(f"a page cannot be read: {error}") from error
    finally:
        document.close()
    if not "".join(pages).strip():
        raise ParseError("its pages hold no text; it needs OCR (text recognition) first")
    starts = [0]
    for page in pages[:-1]:
        starts.append(starts[-1] + len(page) + 2)
    return Parsed("\n\n".join(pages), None if title.lower() in _NO_TITLES else title, tuple(starts))


def _page_text(page: pypdfium2.PdfPage) -> str:
    text_page = page.get_textpage()
    try:
        text = text_page.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
        return _unwrap(_SOFT_HYPHEN.sub("", text).strip())
    finally:
        text_page.close()
        page.close()


def _unwrap(text: str) -> str:
    """Text in which lines that fill the page's width run on: their breaks are the layout's, not the author's."""
    lines = text.split("\n")
    width = max(len(line) for line in lines)
    return "".join(line + _break_after(line, width) for line in lines[:-1]) + lines[-1]


def _break_after(line: str, width: int) -> str:
    """What stands for a line's break; text without blanks between words, such as Chinese, gets none."""
    if len(line) <= _FULL * width:
        return "\n"
    return "" if line[-1] >= "\u2e80" else " "
