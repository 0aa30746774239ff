"""What all pages share: the language, and following a job of the worker with a sign of life."""

from collections.abc import Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import answer_html, resources
from ui.words import LANGUAGES, Words, closest, words
from ui.worker import Job, Waiting

STYLE = f"<style>{answer_html.STYLE}</style>"
LANGUAGE = "language"  # in the session's state


def words_here() -> Words:
    """The words in the language that the person chose, or that the browser asks for."""
    return words(st.session_state.get(LANGUAGE) or closest(st.context.locale))


def choose_language() -> None:
    """The switch between the languages."""
    t = words_here()
    names = list(LANGUAGES)
    st.session_state.setdefault(LANGUAGE, closest(st.context.locale))
    st.segmented_control(t("app-language"), names, format_func=LANGUAGES.__getitem__, key=LANGUAGE, required=True)


def followed(job: Job, status: DeltaGenerator, t: Words) -> Iterator[object]:
    """What a job of the worker tells; one's place is shown while it waits. Ends the job when the page is left.

    Raises `RagError`.
    """
    shown: str | None = None
    for event in resources.worker().submit(job).follow():
        if isinstance(event, Waiting):
            shown = t("app-waiting", ahead=event.ahead)
            status.caption(shown)
        elif event is None:  # touching the page is what notices that it was left or stopped
            status.caption(shown or t("app-working"))
        else:
            yield event
            shown = None


def plain(text: object) -> str:
    """A text that Streamlit, which takes most texts for Markdown, shows as it is."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~:$^&" else c for c in str(text))
