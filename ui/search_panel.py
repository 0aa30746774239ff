"""Search without an answer, on the page "Documents": passages with every score named for what it is."""

import threading
from collections.abc import Sequence
from typing import cast

import streamlit as st

from rag.errors import RagError
from rag.index.collections import Holding
from rag.retrieval import MODES, Mode, retrieve
from rag.schema import Filter, RetrievedPassage
from rag.settings import Settings
from ui import notices, page, resources
from ui.answer_html import place, scores
from ui.words import Words
from ui.worker import Tell

_FOUND = "documents-found"


def show(settings: Settings, rows: Sequence[Holding], t: Words) -> None:
    """Draw the form, and what was found the last time."""
    modes = dict(
        zip(MODES, (t("documents-mode-hybrid"), t("documents-mode-dense"), t("documents-mode-lexical")), strict=True)
    )
    with st.form("documents-search", border=False):
        question = st.text_input(t("documents-search-for"), placeholder=t("documents-search-example"))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            mode = st.selectbox(t("documents-mode"), MODES, format_func=lambda m: modes[m], width=260)
            k = st.number_input(t("documents-how-many"), 1, 50, 10, width=140)
            tags = sorted({tag for row in rows for tag in row.tags})
            keep = st.multiselect(t("documents-with-tag"), tags, placeholder=t("app-choose"), width=260) if tags else []
            asked = st.form_submit_button(t("documents-search"), type="primary", icon=":material/search:")
    if asked:
        _search(settings.collection, question, int(k), Filter(tags=tuple(keep)), mode or "hybrid", t)
    found = st.session_state.get(_FOUND)
    if found and found[0] == settings.collection:
        _results(settings, found[1], found[2], t)


def _search(collection: str, question: str, k: int, keep: Filter, mode: Mode, t: Words) -> None:
    """Let the worker search, and keep what it finds."""
    st.session_state.pop(_FOUND, None)

    def job(_cancelled: threading.Event, tell: Tell) -> None:
        embed = resources.embedder().embed_question
        tell(retrieve(resources.index(collection), embed, question, k, keep, mode, resources.reranker()))

    status = page.Status(st.empty(), t)
    try:
        for event in page.followed(resources.worker().submit(job), status, t):
            found = cast(list[RetrievedPassage], event)
            st.session_state[_FOUND] = (collection, question, found)
    except RagError as error:
        notices.problem(str(error))
    status.end()


def _results(settings: Settings, question: str, found: Sequence[RetrievedPassage], t: Words) -> None:
    if not found:
        notices.note(t("documents-nothing-found"))
        return
    notices.quiet(t("documents-results", n=len(found), question=question))
    for retrieved in found:
        with st.container(border=True, key=f"documents-result-{retrieved.passage.id}"):
            _result(settings, retrieved, t)


def _result(settings: Settings, retrieved: RetrievedPassage, t: Words) -> None:
    passage = retrieved.passage
    where = " · ".join(filter(None, (place(passage, t), " › ".join(passage.heading_path))))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(
            f"<b>{retrieved.rank}. {notices.escaped(passage.title)}</b>"
            f'<div style="opacity: .7; font-size: .875rem">{notices.escaped(where)}</div>',
            width="stretch",
        )
        st.button(t("documents-open"), key=f"documents-open-{passage.id}", on_click=lambda: _open(settings, retrieved))
    st.html(
        '<div style="white-space: pre-wrap; overflow-wrap: anywhere; max-height: 9rem; overflow: auto" tabindex="0">'
        f"{notices.escaped(passage.text)}</div>"
    )
    notices.quiet(scores(retrieved, t))
    if retrieved.copies:
        notices.quiet(t("documents-near-copies", names=", ".join(retrieved.copies)))


def _open(settings: Settings, retrieved: RetrievedPassage) -> None:
    passage = retrieved.passage
    st.session_state["documents-viewing"] = (settings.collection, passage.document_id, passage.start, passage.end)
