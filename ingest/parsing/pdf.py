"""PDF with PDFium: the text layer, page by page, without what nobody sees and what every page repeats."""

import re

import pypdfium2

from ingest.parsing.parsed import Draft, Parsed, iso_day
from ingest.parsing.pdf_furniture import running_lines
from ingest.parsing.pdf_hidden import take_hidden_text
from rag.errors import ParseError

_SOFT_HYPHEN = re.compile("[\x02\ufffe\u00ad]\n?")  # what PDFium gives for a word broken at a line's end
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\ue000-\uf8ff\ufffd]")  # what stands for a glyph without a character
_UNREADABLE_SHARE = 0.3
_FULL = 0.75  # of the longest line
_NO_TITLES = {"", "untitled", "anonymous"}  # what programs write where nobody gave one
_MAX_PAGES = 20_000


def parse_pdf(content: bytes) -> Parsed:
    """The text of all pages, an empty line between them. Raises `ParseError` for a damaged, locked or scanned file."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        # PDFium's last error may be that of an earlier file.
        locked = error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD and b"/Encrypt" in content
        raise ParseError("it is locked with a password" if locked else "it is damaged or not a PDF") from error
    draft = Draft("page")
    try:
        if not 0 < len(document) <= _MAX_PAGES:
            raise ParseError(f"it has more than {_MAX_PAGES} pages; split it" if len(document) else "it has no pages")
        pages = [_lines(document[n], draft) for n in range(len(document))]
        stated = document.get_metadata_dict()
    except pypdfium2.PdfiumError as error:
        raise ParseError(f"a page cannot be read: {error}") from error
    finally:
        document.close()
    _check_readable("".join(line for lines in pages for line in lines), draft)
    _write(pages, draft)
    title = stated.get("Title", "")
    day = iso_day(stated.get("ModDate")) or iso_day(stated.get("CreationDate"))
    return draft.parsed(None if title.lower() in _NO_TITLES else title, day)


def _lines(page: pypdfium2.PdfPage, draft: Draft) -> list[str]:
    try:
        draft.drop("hidden", take_hidden_text(page))
        text_page = page.get_textpage()
        try:
            text: str = text_page.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
        finally:
            text_page.close()
    finally:
        page.close()
    return text.strip().split("\n")


def _check_readable(text: str, draft: Draft) -> None:
    """Raise `ParseError` where the pages show text that cannot be read as characters."""
    visible = "".join(text.split())
    if not visible and not draft.parsed().dropped:
        raise ParseError("its pages hold no text; it needs OCR (text recognition) first")
    if len(_UNREADABLE.findall(visible)) > _UNREADABLE_SHARE * len(visible):
        raise ParseError("its fonts do not say which characters they show; it needs OCR (text recognition) first")


def _write(pages: list[list[str]], draft: Draft) -> None:
    running = running_lines(pages)
    for n, lines in enumerate(pages):
        for i in running[n]:
            draft.drop("boilerplate", lines[i])
        text = "\n".join(line for i, line in enumerate(lines) if i not in running[n])
        draft.write("\n\n" if n else "")
        draft.place(n + 1)
        draft.write(_unwrap(_SOFT_HYPHEN.sub("", text).strip()))


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
