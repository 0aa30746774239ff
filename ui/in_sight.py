"""A place that the page scrolls to: where something new begins."""

from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer


def here(number: float) -> None:
    """Scroll to this place, once for each number."""
    _component()(data={"number": number}, key="in-sight", height=1)


@cache
def _component() -> ComponentRenderer:
    """Registered once a process."""
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return st.components.v2.component("openbook_in_sight", html="<div></div>", js=script)
