"""Conversations in the sidebar: begin, search, open again, delete, export. Which is open stands in the address too."""

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from rag.errors import InputError
from ui import notices, store
from ui.conversation_export import as_json, as_markdown, feedback_rows, training_rows
from ui.page import plain
from ui.store import Conversation, Turn
from ui.words import Words

OPEN = "conversation"  # in the session's state and in the address
_ENTERED = "entered"  # the conversation whose collection was chosen with it
_DELETING = "deleting"  # the conversation of which it is asked whether to delete it
_SHOWN = 12
_DIGITS = 18  # of a number that SQLite can hold


def opened(home: Path, collections: Sequence[str]) -> Conversation | None:
    """The conversation that is open; None for a new one, or where it was deleted.

    When it is opened, its collection becomes the chosen one, where that is still there.
    """
    chosen = str(st.session_state.get(OPEN) or st.query_params.get(OPEN) or "")
    if not chosen.isdecimal() or len(chosen) > _DIGITS:
        return None
    try:
        found = store.conversation(home, int(chosen))
    except InputError:
        leave()
        return None
    if st.session_state.get(_ENTERED) != found.id and found.collection in collections:
        st.session_state["collection"] = found.collection
    stay(found.id)
    return found


def enter(number: int) -> None:
    """Let a conversation be the open one, and its collection the chosen one."""
    st.session_state[OPEN] = number
    st.query_params[OPEN] = str(number)


def stay(number: int) -> None:
    """Let a conversation be the open one; the collection stays as it was chosen."""
    enter(number)
    st.session_state[_ENTERED] = number


def leave() -> None:
    """Let none be open: the next question begins a new one."""
    st.session_state.pop(OPEN, None)
    st.session_state.pop(_ENTERED, None)
    st.query_params.pop(OPEN, None)


def draw(home: Path, current: Conversation | None, t: Words) -> None:
    """The list, latest first."""
    st.button(t("talk-new"), icon=":material/add:", width="stretch", on_click=leave)
    with st.expander(t("talk-list")):
        words = st.text_input(t("talk-search"), icon=":material/search:")
        found = store.conversations(home, words)
        if not found:
            st.caption(t("talk-none-found" if words.strip() else "talk-none"))
        for one in found[:_SHOWN]:
            is_open = current is not None and one.id == current.id
            st.button(
                plain(_short(one.title)),
                key=f"talk-{one.id}",
                type="secondary" if is_open else "tertiary",
                on_click=enter,
                args=(one.id,),
            )
        if len(found) > _SHOWN:
            st.caption(t("talk-older", n=len(found) - _SHOWN))


def _short(title: str) -> str:
    line = " ".join(title.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def draw_actions(home: Path, current: Conversation, turns: list[Turn], t: Words) -> None:
    """What can be done with the open conversation."""
    with st.popover(t("talk-more"), icon=":material/more_horiz:", type="tertiary"):
        name = f"conversation-{current.id}"
        files: tuple[tuple[str, str, Callable[[], str]], ...] = (
            (t("talk-markdown"), f"{name}.md", lambda: as_markdown(current, turns, t)),
            (t("talk-json"), f"{name}.json", lambda: as_json(current, turns)),
            (t("talk-feedback"), "feedback.jsonl", lambda: feedback_rows(store.all_feedback(home))),
            (t("talk-training"), "training.jsonl", lambda: training_rows(store.all_feedback(home))),
        )
        for label, file, make in files:
            st.download_button(label, make, file, "text/plain", on_click="ignore")
        st.button(t("talk-delete"), icon=":material/delete:", on_click=_sure, args=(current.id,))
        if st.session_state.get(_DELETING) == current.id:
            st.text(t("talk-delete-sure", title=_short(current.title)))
            st.button(t("talk-yes"), type="primary", on_click=_delete, args=(home, current.id))
            st.button(t("talk-no"), on_click=_sure, args=(None,))


def _sure(number: int | None) -> None:
    """Ask whether a conversation is to be deleted; None asks no more."""
    st.session_state[_DELETING] = number


def _delete(home: Path, number: int) -> None:
    _sure(None)
    notices.guarded(lambda: store.delete(home, number))
    leave()
