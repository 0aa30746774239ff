"""The page "Ask": a conversation over a collection, each answer beside its sources and with what lies behind it."""

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from rag.errors import RagError
from rag.schema import Prompt, TokenStep
from rag.settings import Settings
from ui import answer_view, ask_settings, asking, conversation_list, in_sight, notices, page, resources, store
from ui.asking import Asked, Wanted
from ui.store import Conversation, Feedback, Turn
from ui.token_view import tokens_html
from ui.words import Words

_OFTEN = 0.1  # seconds between two pictures of what is written
_ASKED = "asked"  # what is being answered, in the session's state


def main() -> None:
    """Draw the page."""
    t = page.words_here()
    try:
        settings, names = resources.settings(), resources.collections()
        resources.worker()  # which loads the models meanwhile
        if names:
            _converse(settings, names, t)
        else:
            st.title(t("ask-title"))
            st.info(t("ask-no-collection"))
            st.code("rag ingest FOLDER")
    except (RagError, OSError) as error:
        notices.problem(notices.sentence(error))


def _converse(settings: Settings, names: list[str], t: Words) -> None:
    home = settings.home
    current = conversation_list.opened(home, names)
    turns = store.turns(home, current.id) if current else []
    if asked := _asked(current):
        turns = turns[: asked.before]  # it may be stored already, and not be done yet
    with st.sidebar:
        conversation_list.draw(home, current, t)
        wanted = _settings(settings, names, t)
    notices.tell()
    _head(home, current, turns, t)
    said = store.feedback_of(home, [turn.id for turn in turns])
    busy = bool(asked or st.session_state.get("question"))
    for turn in turns:
        answer_view.draw(turn, said.get(turn.id, Feedback()), home, t, busy)
    coming = st.container(key="ask-coming")
    # Within the page: at its bottom, Streamlit would scroll past the answer to its sources' end.
    with st.container(key="ask-box"):
        placeholder = t("ask-placeholder", collection=wanted.collection)
        question = st.chat_input(placeholder, key="question", submit_mode="disable")
    with coming:
        if question:
            asked = _ask(home, current, turns, question, wanted)
        if asked:
            _follow(home, asked, t)


def _settings(settings: Settings, names: list[str], t: Words) -> Wanted:
    if st.session_state.get("collection") not in names:
        st.session_state["collection"] = names[0]
    collection = st.selectbox(t("ask-collection"), names, key="collection", persist_state="session")
    template = ask_settings.choose_style(t)
    k = ask_settings.choose_passages(settings, t)
    keep = ask_settings.choose_filter(collection, t)
    params = ask_settings.choose_writing(settings, t)
    return Wanted(collection, template, params, k, keep)


def _head(home: Path, current: Conversation | None, turns: list[Turn], t: Words) -> None:
    if current and turns:
        conversation_list.draw_actions(home, current, turns, t)
        return
    st.title(t("ask-title"))
    st.text(t("ask-intro"))
    st.caption(t("ask-try"))


def _asked(current: Conversation | None) -> Asked | None:
    """What is being answered in this conversation; who opens another one has left it."""
    asked: Asked | None = st.session_state.get(_ASKED)
    if asked is None or (current and current.id == asked.conversation):
        return asked
    _end(asked)
    return None


def _end(asked: Asked) -> None:
    asked.ticket.cancel()
    st.session_state.pop(_ASKED, None)


def _ask(home: Path, current: Conversation | None, turns: list[Turn], question: str, wanted: Wanted) -> Asked:
    """Queue a question, in place of one that is being answered. Raises `RagError`."""
    if asked := st.session_state.get(_ASKED):
        _end(asked)
    conversation = current.id if current else store.begin(home, question, wanted.collection)
    job = asking.ask(home, conversation, question, wanted, asking.history_of(turns))
    try:
        ticket = resources.worker().submit(job)
    except RagError:
        _forget_empty(home, conversation)
        raise
    conversation_list.stay(conversation)
    asked = st.session_state[_ASKED] = Asked(question, conversation, len(turns), ticket)
    return asked


def _forget_empty(home: Path, conversation: int) -> None:
    """Delete a conversation in which nothing was answered; what was answered stays, whatever failed after it."""
    if not store.turns(home, conversation):
        store.delete(home, conversation)
        conversation_list.leave()


def _follow(home: Path, asked: Asked, t: Words) -> None:
    """Draw the answer as it is written; the job stores it, so the page is drawn anew from there."""
    if asked.before:  # the first one is in sight, and its heading is gone when it is answered
        in_sight.here(asked.since)
    with st.chat_message("user"):
        st.text(asked.question)
    with st.chat_message("assistant", avatar=":material/menu_book:"):
        left, right = answer_view.beside()
        with left:
            status, written, stop = page.Status(st.empty(), t), st.empty(), st.empty()
        stop.button(t("ask-stop"), key="stop", icon=":material/stop_circle:", on_click=asked.ticket.cancel)
    problem = None
    try:
        _write(asked, page.followed(asked.ticket, status, t, page.GRACE), status, written, right.empty(), t)
    except RagError as error:
        problem = str(error)
    st.session_state.pop(_ASKED, None)
    _forget_empty(home, asked.conversation)
    if problem is None:
        st.rerun()
    status.end()
    stop.empty()
    notices.problem(problem)


def _write(
    asked: Asked,
    events: Iterator[object],
    status: page.Status,
    written: DeltaGenerator,
    sources: DeltaGenerator,
    t: Words,
) -> None:
    """Draw what is read, done and written, ten times a second at most."""
    steps: list[TokenStep] = []
    drawn, seen = 0.0, tuple(asked.told)
    for n, event in enumerate(chain(seen, events)):
        if n >= len(seen):
            asked.told.append(event)
        if isinstance(event, Prompt):
            status.say(t("ask-reading", n=len(event.passages), tokens=len(event.token_ids)))
            if event.passages:
                with sources.container():
                    answer_view.coming_sources(event.passages, t)
        elif isinstance(event, TokenStep):
            steps.append(event)
            if len(steps) == 1:
                status.say(t("ask-writing-now"))
            if event.finish_reason or (n + 1 >= len(seen) and time.monotonic() - drawn > _OFTEN):
                drawn = time.monotonic()
                written.html(tokens_html(steps, legend=False))
        elif isinstance(event, str):
            status.say(t(event))


main()
