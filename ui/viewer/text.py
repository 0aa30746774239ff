"""The text of a document, scrolled to a place that is marked. A small component: text reaches the page as text only."""

from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from ui import notices
from ui.words import Words

_AROUND = 20_000  # characters before and after the place that are sent to the browser
_HTML = '<div class="text" tabindex="0" role="region"><span></span><mark></mark><span></span></div>'


def show_text(text: str, start: int, end: int, t: Words, key: str) -> None:
    """Draw `text` at the characters from `start` to `end`; of a long one a part, which grows when asked to."""
    first, last = window(len(text), start, end, *(_parts(key, side) for side in ("before", "after")))
    if (first, last) != (0, len(text)):
        notices.quiet(t("viewer-part", first=f"{first + 1:,}", last=f"{last:,}", all=f"{len(text):,}"))
    if first > 0:
        _more(t("viewer-text-before"), key, "before")
    data = {"before": text[first:start], "place": text[start:end], "after": text[end:last]}
    _component()(data=data | {"label": t("viewer-stored-text")}, key=f"{key}-text")
    if last < len(text):
        _more(t("viewer-text-after"), key, "after")


def window(length: int, start: int, end: int, before: int = 1, after: int = 1) -> tuple[int, int]:
    """The characters of a text that are shown around a place, with so many parts before and after it."""
    return max(start - before * _AROUND, 0), min(end + after * _AROUND, length)


def _parts(key: str, side: str) -> int:
    return int(st.session_state.get(f"{key}-text-{side}", 1))


def _more(label: str, key: str, side: str) -> None:
    def add() -> None:
        st.session_state[f"{key}-text-{side}"] = _parts(key, side) + 1

    st.button(label, key=f"{key}-text-{side}-button", on_click=add)


@cache
def _component() -> ComponentRenderer:
    here = Path(__file__).parent
    css, js = ((here / name).read_text(encoding="utf-8") for name in ("text.css", "text.js"))
    return st.components.v2.component("openbook-document-text", html=_HTML, css=css, js=js)
