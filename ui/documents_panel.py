"""The documents of a collection, on the page "Documents": a table to find, choose, open, tag, try again and delete."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import streamlit as st

from rag.errors import InputError
from rag.index import LocalIndex, open_catalog
from rag.index.collections import Holding
from rag.settings import Settings
from ui import jobs, notices, uploads
from ui.terminal import printable
from ui.words import Words, in_words

State = Literal["ready", "older", "unread"]
_HEIGHT = 500  # pixels of the table
_SHOWN = 8  # chosen documents that are named one by one
_KEEPS = ("all", "unread", "copies")


def state_of(row: Holding) -> State:
    """Whether a file answers, answers with what was read before, or does not."""
    if not row.not_read:
        return "ready"
    return "older" if row.document else "unread"


def summary(rows: Sequence[Holding], t: Words) -> None:
    """One line about all of them."""
    if not rows:
        return
    unread = sum(1 for row in rows if row.not_read)
    documents = {row.document: row.passages for row in rows if row.document}
    counts = [
        t("documents-count-files", n=f"{len(rows):,}"),
        t("documents-count-documents", n=f"{len(documents):,}"),
        t("documents-count-all-passages", n=f"{sum(documents.values()):,}"),
        t("documents-count-not-read", n=f"{unread:,}") if unread else "",
    ]
    notices.quiet(" · ".join(filter(None, counts)))


def show(settings: Settings, rows: Sequence[Holding], t: Words) -> None:
    """Draw the table and what can be done with the rows that are chosen."""
    kept = _kept(rows, t)
    if not kept:
        notices.note(t("documents-none-match"))
        return
    above = st.container()  # what is done with rows is in sight, however long the table is
    chosen = [kept[n] for n in _table(settings, kept, t)]
    with above:
        if not chosen:
            notices.quiet(t("documents-choose-rows"))
            return
        _actions(settings, chosen, t)
        if len(chosen) == 1:
            _details(chosen[0], t)


def _kept(rows: Sequence[Holding], t: Words) -> list[Holding]:
    """The rows that the person wants to see."""
    labels = (t("documents-keep-all"), t("documents-keep-unread"), t("documents-keep-copies"))
    names = dict(zip(_KEEPS, labels, strict=True))
    tags = sorted({tag for row in rows for tag in row.tags})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(t("documents-filter"), key="documents-filter", placeholder=t("documents-filter-example"))
        keep = st.selectbox(t("documents-keep"), _KEEPS, format_func=lambda k: names[k], width=220)
        wanted = (
            set(
                st.multiselect(
                    t("documents-with-tag"), tags, key="documents-tags", placeholder=t("app-choose"), width=240
                )
            )
            if tags
            else set()
        )
    words = name.casefold().split()
    return [
        row
        for row in rows
        if all(word in f"{row.path} {row.title or ''}".casefold() for word in words)
        and (keep == "all" or (row.not_read if keep == "unread" else row.copies))
        and wanted <= set(row.tags)
    ]


def _table(settings: Settings, rows: Sequence[Holding], t: Words) -> list[int]:
    """Draw the rows; the positions of those that are chosen. A list that changed is another table: none is chosen."""
    states = {"ready": t("documents-ready"), "older": t("documents-older"), "unread": t("documents-unread")}
    shown: dict[str, Sequence[object]] = {
        t("documents-column-name"): [printable(Path(row.path).name) for row in rows],
        t("documents-column-state"): [states[state_of(row)] for row in rows],
        t("documents-column-passages"): [row.passages for row in rows],
        t("documents-column-pages"): [row.places if row.unit == "page" and row.places else None for row in rows],
        t("documents-column-copies"): [row.copies or None for row in rows],
        t("documents-column-tags"): [list(row.tags) for row in rows],
        t("documents-column-date"): [row.date for row in rows],
        t("documents-column-size"): [round(row.size / 1000, 1) for row in rows],
        t("documents-column-reason"): [printable(in_words(row.not_read or "", t)) for row in rows],
        t("documents-column-folder"): [printable(_place(settings, row, t)) for row in rows],
    }
    shown = {name: cells for name, cells in shown.items() if any(cells)}  # what no file has needs no column
    digest = hashlib.sha256("\0".join(row.path for row in rows).encode()).hexdigest()
    event = st.dataframe(
        shown,
        hide_index=True,
        height=min(38 + 35 * len(rows), _HEIGHT),
        placeholder="",
        key=f"documents-table-{digest[:12]}",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            t("documents-column-name"): st.column_config.TextColumn(width="medium"),
            t("documents-column-state"): st.column_config.TextColumn(width=120),
            t("documents-column-size"): st.column_config.NumberColumn(format="%.1f kB"),
        },
    )
    return [n for n in event["selection"]["rows"] if n < len(rows)]


def _place(settings: Settings, row: Holding, t: Words) -> str:
    """The folder of a file, as a person knows it."""
    path = Path(row.path)
    if not uploads.is_upload(settings.collection_dir, path):
        return str(path.parent)
    inner = path.parent.relative_to(uploads.folder_of(settings.collection_dir))
    return t("documents-uploaded-folder") + ("" if inner == Path() else f" / {inner}")


def _actions(settings: Settings, chosen: Sequence[Holding], t: Words) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(t("documents-chosen", n=len(chosen)))
        if len(chosen) == 1 and chosen[0].document:
            st.button(
                t("documents-open"),
                icon=":material/open_in_full:",
                type="primary",
                on_click=lambda: _open(settings, chosen[0]),
            )
        with st.popover(t("documents-tags"), icon=":material/label:"):
            _tag_form(settings, chosen, t)
        if any(row.not_read for row in chosen):
            st.button(
                t("documents-retry"),
                icon=":material/refresh:",
                on_click=lambda: notices.guarded(lambda: _retry(settings, chosen)),
            )
        with st.popover(t("documents-delete"), icon=":material/delete:"):
            _delete_form(settings, chosen, t)


def _open(settings: Settings, row: Holding) -> None:
    st.session_state["documents-viewing"] = (settings.collection, row.document, 0, 0)


def _retry(settings: Settings, chosen: Sequence[Holding]) -> None:
    jobs.start(settings, "retry", {"paths": [row.path for row in chosen if row.not_read]})


def _tag_form(settings: Settings, chosen: Sequence[Holding], t: Words) -> None:
    present = sorted({tag for row in chosen for tag in row.tags})
    key = f"documents-tag-{hashlib.sha256(chosen[0].path.encode()).hexdigest()[:12]}"

    def change() -> None:
        add = [tag.strip() for tag in str(st.session_state[f"{key}-add"]).split(",") if tag.strip()]
        remove = st.session_state.get(f"{key}-remove", [])
        if not add and not remove:
            raise InputError("Type a tag, or choose one to remove.")
        with closing(LocalIndex(open_catalog(settings.collection_dir))) as index, index.writing():
            index.catalog.tag([row.path for row in chosen], add, remove)

    with st.form(key, border=False):
        st.text_input(t("documents-tags-add"), key=f"{key}-add", help=t("documents-tags-help"))
        if present:
            st.multiselect(t("documents-tags-remove"), present, key=f"{key}-remove", placeholder=t("app-choose"))
        st.form_submit_button(t("documents-tags-save"), on_click=lambda: notices.guarded(change))


def _delete_form(settings: Settings, chosen: Sequence[Holding], t: Words) -> None:
    """Says what goes and what comes back, and asks."""
    own = [row for row in chosen if uploads.is_upload(settings.collection_dir, Path(row.path))]
    if own:
        st.text(t("documents-delete-own", n=len(own)))
    if len(own) < len(chosen):
        st.text(t("documents-delete-synced", n=len(chosen) - len(own)))
    for row in chosen[:_SHOWN]:
        notices.quiet(Path(row.path).name)
    if len(chosen) > _SHOWN:
        notices.quiet(t("documents-upload-more", n=len(chosen) - _SHOWN))
    st.button(
        t("documents-delete-now"),
        type="primary",
        on_click=lambda: notices.guarded(lambda: _delete(settings, [row.path for row in chosen])),
    )


def _delete(settings: Settings, paths: Sequence[str]) -> None:
    """Originals that were uploaded go first: should this be cut short, the next sync forgets what is gone."""
    with closing(LocalIndex(open_catalog(settings.collection_dir))) as index, index.writing():
        uploads.remove(settings.collection_dir, map(Path, paths))
        index.catalog.remove_sources(paths)


def _details(row: Holding, t: Words) -> None:
    """All that is known of one file."""
    with st.container(border=True):
        if row.title:
            st.text(row.title)
        notices.quiet(row.path)
        if row.not_read:
            notices.problem(t("documents-reason", reason=in_words(row.not_read, t)))
        if row.not_read and row.document:
            notices.quiet(t("documents-older-help"))
        if row.copies:
            notices.quiet(t("documents-copies-help", n=row.copies))
        for reason, characters in row.dropped.items():
            notices.quiet(t("documents-left-out", n=f"{characters:,}", reason=_left_out(reason, t)))


def _left_out(reason: str, t: Words) -> str:
    known = {
        "hidden": t("documents-left-out-hidden"),
        "boilerplate": t("documents-left-out-boilerplate"),
        "invisible": t("documents-left-out-invisible"),
    }
    return known.get(reason, reason)
