"""The document viewer: a passage in its document, drawn where it is called. Knows no page and no question.

A PDF that is still the same is shown as pictures of its pages with the passage's words boxed; of all else, and where a
file has changed or is gone, the stored text is shown at the passage's place.
"""

import os
from bisect import bisect_right
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from ingest.drawing import Drawing, draw_page
from ingest.sources import fingerprint
from rag.errors import ParseError, RagError
from rag.index import open_catalog
from rag.schema import Document
from ui import notices, resources
from ui.viewer.text import show_text
from ui.words import Words, in_words

_PAGES = 4  # pictures that are shown at first
_WIDTH = 860  # pixels of a page's picture, where there is room
_draw = lru_cache(maxsize=32)(draw_page)  # of the same contents it is the same picture


class _Page(NamedTuple):
    """A page of a document's text: its number, and where it begins and ends."""

    number: int
    start: int
    end: int


def show(collection: str, document_id: str, start: int, end: int, t: Words, key: str) -> None:
    """Draw a document here, at the characters from `start` to `end`; `key` tells this viewer from others.

    What cannot be shown is said in a sentence.
    """
    try:
        folder = resources.settings().home / "collections" / collection
        with closing(open_catalog(folder)) as catalog:
            document = next(catalog.documents([document_id]), None)
    except RagError as error:
        notices.problem(str(error))
        return
    if document is None:
        notices.note(t("viewer-deleted"))
        return
    end = min(max(start, end), len(document.text))
    start = min(max(start, 0), end)
    st.html(f'<div style="font-size: 1.25rem; font-weight: 600">{notices.escaped(document.title)}</div>')
    for source in document.sources[:5]:
        notices.quiet(source)
    file = _unchanged(document)
    if document.sources and file is None:
        gone = not any(os.path.exists(source) for source in document.sources)  # noqa: PTH110 - it never raises
        notices.note(t("viewer-file-gone") if gone else t("viewer-file-changed"))
    if file and document.media_type == "application/pdf" and document.places:
        _show_pages(document, file, start, end, t, key)
    else:
        show_text(document.text, start, end, t, key)


def _unchanged(document: Document) -> Path | None:
    """A file that still holds what was read."""
    for source in map(Path, document.sources):
        try:
            status = source.stat()
            if _digest(source, status.st_size, status.st_mtime_ns) == document.id:
                return source
        except (OSError, ParseError):
            continue
    return None


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _mtime_ns: int) -> str:
    return fingerprint(path)[0]


def _show_pages(document: Document, file: Path, start: int, end: int, t: Words, key: str) -> None:
    """The pages of a place, and as many before and after them as are asked for."""
    pages = _pages(document)
    first, last = _page_at(pages, start), _page_at(pages, max(end - 1, start))
    last = min(last, first + _PAGES - 1)
    place = f"{key}-{document.id}-{start}-{end}"
    before, after = st.session_state.get(f"{place}-before", 0), st.session_state.get(f"{place}-after", 0)
    shown = pages[max(first - before, 0) : last + 1 + after]
    if shown[0] != pages[0]:
        _more(t("viewer-page-before"), f"{place}-before", 1)
    found = 0
    for page in shown:
        found += _show_page(document, file, page, start, end, t)
    if shown[-1] != pages[-1]:
        _more(t("viewer-page-after"), f"{place}-after", 1)
    if end > start and not found:
        notices.quiet(t("viewer-not-found-on-page"))
    with st.expander(t("viewer-stored-text"), expanded=end > start and not found):
        show_text(document.text, start, end, t, f"{key}-text")


def _show_page(document: Document, file: Path, page: _Page, start: int, end: int, t: Words) -> int:
    """One page as a picture; how many words are boxed on it."""
    text = document.text[page.start : page.end]
    begin, stop = max(start - page.start, 0), max(min(end, page.end) - page.start, 0)
    try:
        drawing: Drawing = _draw(file, document.id, page.number, text, min(begin, stop), stop)
    except ParseError as error:
        notices.problem(t("viewer-not-drawn", number=page.number, problem=in_words(str(error), t)))
        return 0
    label = t("viewer-page", number=page.number, pages=document.places[-1][1])
    with st.container(border=True, width=_WIDTH):
        st.image(drawing.png, caption=label, width="stretch")
    return drawing.boxes


def _pages(document: Document) -> list[_Page]:
    ends = [offset for offset, _ in document.places[1:]] + [len(document.text)]
    return [_Page(number, offset, end) for (offset, number), end in zip(document.places, ends, strict=True)]


def _page_at(pages: list[_Page], offset: int) -> int:
    """The position among the pages of the one that holds a character."""
    return max(bisect_right([page.start for page in pages], offset) - 1, 0)


def _more(label: str, counter: str, step: int) -> None:
    def add() -> None:
        st.session_state[counter] = st.session_state.get(counter, 0) + step

    st.button(label, key=f"{counter}-button", on_click=add)
