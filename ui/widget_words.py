"""Streamlit's own words, which it has in English only, in the language of the page: an upload's, a table's, a hint's.

A component that draws nothing: it looks at what Streamlit writes and says it in the words of `words.toml`, whose keys
name the part of the page (`streamlit-upload-...`). A test holds their English to what Streamlit's scripts hold.
"""

from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from ui.words import texts

PREFIX = "streamlit-"


def say(language: str) -> None:
    """Say them in this language from now on, on the whole page."""
    own = [(key.split("-")[1], text["en"], text[language]) for key, text in texts().items() if key.startswith(PREFIX)]
    _component()(data={"language": language, "words": own}, key="widget-words")


@cache
def _component() -> ComponentRenderer:
    """Registered once a process."""
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return st.components.v2.component("openbook_widget_words", js=script)
