"""The page "Documents": collections, what is in them, how it gets there, and searching it without an answer."""

from contextlib import closing
from dataclasses import replace

import streamlit as st

from rag.errors import RagError
from rag.index import open_catalog
from rag.index.collections import Holding, holdings
from rag.schema import Filter
from rag.settings import Settings
from ui import (
    adding_panel,
    collections_panel,
    documents_panel,
    jobs_panel,
    notices,
    page,
    resources,
    search_panel,
    viewer,
)
from ui.words import Words


def main() -> None:
    """Draw the page."""
    t = page.words_here()
    st.title(t("documents-title"))
    try:
        settings = resources.settings()
        chosen = collections_panel.choose(settings, t)
        _draw(replace(settings, collection=chosen or settings.collection), chosen is not None, t)
    except (RagError, OSError) as error:
        notices.problem(notices.sentence(error))


def _draw(settings: Settings, exists: bool, t: Words) -> None:
    """What there is of a collection, or how to begin one."""
    if not exists:
        adding_panel.first_steps(settings, t)
        return
    rows = _rows(settings)
    documents_panel.summary(rows, t)
    jobs_panel.show(settings, t)
    if viewing := st.session_state.get("documents-viewing"):
        collection, document, start, end = viewing
        if collection == settings.collection:
            st.button(t("documents-back"), icon=":material/arrow_back:", on_click=_close)
            viewer.show(collection, document, start, end, t, "documents-viewer")
            return
    if not rows:
        adding_panel.first_steps(settings, t)
        adding_panel.synced_folders(settings, t)
        return
    _tabs(settings, rows, t)


def _tabs(settings: Settings, rows: list[Holding], t: Words) -> None:
    """Only what is on the open tab is made; the viewer returns to the same one."""
    labels = [t("documents-tab-list"), t("documents-tab-add"), t("documents-tab-search")]
    kept = st.session_state.get("documents-tab-kept", 0)
    tabs = st.tabs(labels, default=labels[kept], key="documents-tab", on_change="rerun")
    draw = (
        lambda: documents_panel.show(settings, rows, t),
        lambda: adding_panel.show(settings, t),
        lambda: search_panel.show(settings, rows, t),
    )
    for n, tab in enumerate(tabs):
        if tab.open:
            st.session_state["documents-tab-kept"] = n
            with tab:
                draw[n]()


def _rows(settings: Settings) -> list[Holding]:
    with closing(open_catalog(settings.collection_dir)) as catalog:
        return list(holdings(catalog, Filter()))


def _close() -> None:
    st.session_state.pop("documents-viewing", None)


main()
