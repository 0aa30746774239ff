"""Sentences in a box, as text: errors and notes may name a person's file, which must not be taken for Markdown."""

import html
from collections.abc import Callable, Iterable

import streamlit as st

from rag.errors import RagError
from ui import page
from ui.terminal import printable
from ui.words import in_words

_PROBLEM, _NOTE = "problem", "note"  # in the session's state
_BOX = "padding: .75rem 1rem; border-radius: .5rem; overflow-wrap: anywhere; white-space: pre-line; "
_RED = "background: rgba(224, 60, 60, .12); border-left: 4px solid rgb(214, 60, 60)"
_BLUE = "background: rgba(70, 130, 220, .12); border-left: 4px solid rgb(70, 130, 220)"


def problem(sentence: str) -> None:
    """What went wrong and what to do; read out at once by a screen reader."""
    said = in_words(sentence, page.words_here())
    st.html(f'<div role="alert" style="{_BOX}{_RED}">⚠ {escaped(said)}</div>')


def note(sentence: str, lines: Iterable[str] = ()) -> None:
    """Something to know, with further lines under it."""
    text = "\n".join([sentence, *lines])
    st.html(f'<div role="status" style="{_BOX}{_BLUE}">{escaped(text)}</div>')


def guarded(work: Callable[[], None]) -> None:
    """Do what a control asks for; what goes wrong is said by `tell`. For callbacks: nothing is drawn yet."""
    try:
        work()
    except (RagError, OSError) as error:
        st.session_state[_PROBLEM] = sentence(error)


def later(sentence: str) -> None:
    """Have `tell` say it when the page is drawn next."""
    st.session_state[_NOTE] = sentence


def tell() -> None:
    """Say once what went wrong in a callback, and what was to be said later."""
    if said := st.session_state.pop(_PROBLEM, None):
        problem(said)
    if said := st.session_state.pop(_NOTE, None):
        note(said)


def sentence(error: RagError | OSError) -> str:
    """What went wrong, for a person."""
    if isinstance(error, RagError):
        return str(error)
    return f"{error.filename or 'A file'} cannot be used ({error.strerror}); check the disk and its permissions."


def quiet(sentence: str) -> None:
    """A small line beside what matters more."""
    st.html(f'<div style="opacity: .7; font-size: .875rem; overflow-wrap: anywhere">{escaped(sentence)}</div>')


def escaped(text: str) -> str:
    """Text of others for a page: what it says is shown, nothing is obeyed."""
    return html.escape(printable(text))
