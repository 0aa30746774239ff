"""Collections on the page "Documents": choose, create, export, embed again, delete."""

from contextlib import closing

import streamlit as st

from rag.errors import InputError
from rag.index import open_catalog, open_index
from rag.index.collections import delete
from rag.index.database import FILE
from rag.models import embedder_identity, resolve_embedder
from rag.settings import Settings, load_settings
from ui import folders, jobs, notices, resources
from ui.words import Words

_CHOSEN = "documents-collection"


def choose(settings: Settings, t: Words) -> str | None:
    """Draw the choice of a collection and what can be done with it; its name, None where there is none yet."""
    names = resources.collections()
    wanted = st.session_state.get("collection") or st.query_params.get("collection")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = None
        if names:
            index = names.index(wanted) if wanted in names else 0
            chosen = st.selectbox(t("documents-collection"), names, index, key=_CHOSEN, width=320)
        with st.popover(t("documents-new-collection"), icon=":material/add:"):
            _create_form(t)
        if chosen:
            with st.popover(t("documents-manage"), icon=":material/tune:"):
                _manage(_of(settings, chosen), t)
    notices.tell()
    if chosen:
        st.session_state["collection"] = chosen
        st.query_params["collection"] = chosen  # a reload shows the same one
    return chosen


def create(settings: Settings) -> None:
    """Make the collection that the settings name, for their embedder, where there is none. Raises `RagError`."""
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    identity = embedder_identity(settings.embedder, folder, settings.embedder_precision)
    open_index(settings.collection_dir, identity, create=True).close()


def switch_to(name: str | None) -> None:
    """Choose another collection. For callbacks: the choice is not drawn yet."""
    for key in ("collection", _CHOSEN, "documents-viewing", "documents-found"):
        st.session_state.pop(key, None)
    st.query_params.pop("collection", None)
    if name:
        st.session_state["collection"] = name


def _of(settings: Settings, name: str) -> Settings:
    """The settings for a collection. Raises `SettingsError` for a name that cannot be one."""
    return load_settings(
        {n: getattr(settings, n) for n in ("home", "embedder", "embedder_precision")} | {"collection": name}
    )


def _create_form(t: Words) -> None:
    def make() -> None:
        name = str(st.session_state["documents-new-name"]).strip()
        settings = _of(resources.settings(), name)
        if (settings.collection_dir / FILE).exists():
            raise InputError(f"There is a collection {name!r} already; choose another name.")
        create(settings)
        switch_to(name)

    with st.form("documents-create", border=False, clear_on_submit=False):
        st.text_input(t("documents-new-name"), key="documents-new-name", help=t("documents-new-name-help"))
        st.form_submit_button(t("documents-create"), on_click=lambda: notices.guarded(make))


def _manage(settings: Settings, t: Words) -> None:
    """Export, embed again, delete."""
    st.button(
        t("documents-export"),
        icon=":material/archive:",
        help=t("documents-export-help"),
        on_click=lambda: notices.guarded(lambda: _start(settings, "export")),
    )
    with closing(open_catalog(settings.collection_dir)) as catalog:
        notices.quiet(t("documents-embedder", name=catalog.meta("embedder_name") or "-", wanted=settings.embedder))
    st.button(
        t("documents-reembed"),
        icon=":material/refresh:",
        help=t("documents-reembed-help"),
        on_click=lambda: notices.guarded(lambda: _start(settings, "reembed")),
    )
    st.divider()
    st.text(t("documents-delete-collection-what"))
    sure = st.checkbox(t("documents-delete-collection-sure"), key=f"documents-sure-{settings.collection}")
    st.button(
        t("documents-delete-collection"),
        icon=":material/delete:",
        disabled=not sure,
        on_click=lambda: notices.guarded(lambda: _delete(settings)),
    )


def _start(settings: Settings, kind: jobs.Kind) -> None:
    jobs.start(settings, kind)


def _delete(settings: Settings) -> None:
    """Delete a collection; what is at work on it is stopped first."""
    jobs.stop_all(settings.home, settings.collection)
    delete(settings.collection_dir)
    jobs.forget_collection(settings.home, settings.collection)
    folders.forget(settings.home, settings.collection)
    switch_to(None)
