"""How documents come into a collection, on the page "Documents": uploads and synced folders."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import streamlit as st

from ingest.parsing import SUFFIXES
from ingest.sources import MAX_BYTES
from rag.index import LocalIndex, open_catalog
from rag.settings import Settings
from ui import folders, jobs, notices, uploads
from ui.collections_panel import create
from ui.uploads import Upload
from ui.words import Words

_TYPES = sorted(suffix.lstrip(".") for suffix in SUFFIXES)
_SHOWN = 8  # uploads that are named one by one
_WORST_FIRST = ("failed", "size", "kind", "renamed", "same", "stored")


def first_steps(settings: Settings, t: Words) -> None:
    """What a person sees who has no document yet."""
    st.html(f'<div style="max-width: 46rem">{notices.escaped(t("documents-begin"))}</div>')
    _uploaders(settings, t)


def show(settings: Settings, t: Words) -> None:
    """Uploads, and synced folders below."""
    _uploaders(settings, t)
    synced_folders(settings, t)


# uploads


def _uploaders(settings: Settings, t: Words) -> None:
    turn = st.session_state.setdefault("documents-turn", 0)  # a new one empties the widgets
    files, folder = f"documents-files-{turn}", f"documents-folder-{turn}"
    size = min(MAX_BYTES // 1_000_000, int(st.get_option("server.maxUploadSize")))
    one, all_ = st.columns(2, gap="large")
    with one:
        st.file_uploader(
            t("documents-files"),  # of any kind: which are not taken is said by name
            accept_multiple_files=True,
            key=files,
            on_change=lambda: notices.guarded(partial(_take, settings, files)),
            max_upload_size=size,
        )
    with all_:
        st.file_uploader(
            t("documents-folder"),
            _TYPES,  # what else lies in a folder is not even sent
            accept_multiple_files="directory",
            key=folder,
            on_change=lambda: notices.guarded(partial(_take, settings, folder)),
            max_upload_size=size,
        )
    notices.quiet(t("documents-kinds", kinds=", ".join(_TYPES)))
    collection, taken = st.session_state.get("documents-uploads", ("", ()))
    if collection == settings.collection:
        _say(taken, t)


def _take(settings: Settings, key: str) -> None:
    """Keep what was uploaded and let a job read it."""
    st.session_state["documents-turn"] += 1
    given = st.session_state.get(key) or []
    if not given:
        return
    create(settings)
    taken = uploads.store(settings.collection_dir, ((file.name, cast(BinaryIO, file)) for file in given))
    st.session_state["documents-uploads"] = (settings.collection, taken)
    if any(upload.path for upload in taken):
        sync(settings, [uploads.folder_of(settings.collection_dir)])


def sync(settings: Settings, paths: Iterable[Path]) -> None:
    """Let a job bring the collection in step with folders."""
    jobs.start(settings, "sync", {"paths": [str(path) for path in paths]})


def _say(taken: Sequence[Upload], t: Words) -> None:
    """What became of uploads. They are forgotten with the next ones."""
    stored = sum(upload.outcome in ("stored", "renamed") for upload in taken)
    worst_first = sorted(taken, key=lambda upload: _WORST_FIRST.index(upload.outcome))
    lines = [line for upload in worst_first if (line := _line(upload, t))]
    more = [t("documents-upload-more", n=len(lines) - _SHOWN)] if len(lines) > _SHOWN else []
    notices.note(t("documents-uploaded", n=stored), lines[:_SHOWN] + more)


def _line(upload: Upload, t: Words) -> str:
    path = upload.path.name if upload.path else ""
    sentences = {
        "stored": "",
        "renamed": t("documents-upload-renamed", name=upload.name, kept=path),
        "same": t("documents-upload-same", name=upload.name, kept=path),
        "kind": t("documents-upload-kind", name=upload.name),
        "size": t("documents-upload-size", name=upload.name, size=MAX_BYTES // 1_000_000),
        "failed": t("documents-upload-failed", name=upload.name, problem=upload.problem),
    }
    return sentences[upload.outcome]


# synced folders


def synced_folders(settings: Settings, t: Words) -> None:
    """The folders that the collection is kept in step with."""
    st.subheader(t("documents-synced"))
    notices.quiet(t("documents-synced-help"))
    known = folders.listed(settings.home, settings.collection)
    for folder in known:
        _folder(settings, folder, t)
    if known:
        _watching(settings, known, t)
    with (
        st.form("documents-add-folder", border=False, clear_on_submit=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        example = t("documents-path-example")
        st.text_input(t("documents-folder-path"), key="documents-folder-path", placeholder=example)
        st.form_submit_button(
            t("documents-add-folder"), on_click=lambda: notices.guarded(partial(_add_folder, settings))
        )


def _folder(settings: Settings, folder: Path, t: Words) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.text(str(folder), width="stretch")
        st.button(
            t("documents-sync-now"),
            key=f"documents-sync-{folder}",
            icon=":material/sync:",
            on_click=lambda: notices.guarded(lambda: sync(settings, [folder])),
        )
        with st.popover(t("documents-remove-folder")):
            st.text(t("documents-remove-folder-what"))
            st.button(
                t("documents-keep-documents"),
                key=f"documents-keep-{folder}",
                on_click=lambda: notices.guarded(lambda: _remove_folder(settings, folder, forget=False)),
            )
            st.button(
                t("documents-forget-documents"),
                key=f"documents-forget-{folder}",
                on_click=lambda: notices.guarded(lambda: _remove_folder(settings, folder, forget=True)),
            )


def _watching(settings: Settings, watched: Sequence[Path], t: Words) -> None:
    """A button that begins or ends to keep the folders in step."""
    is_on = _watcher(settings) is not None
    st.button(
        t("documents-watch-end") if is_on else t("documents-watch"),
        key="documents-watch",
        icon=":material/sync_disabled:" if is_on else ":material/autorenew:",
        help=t("documents-watch-help"),
        on_click=lambda: notices.guarded(lambda: _watch(settings, watched, not is_on)),
    )


def _watcher(settings: Settings) -> jobs.Job | None:
    """The job that watches the collection's folders."""
    found = jobs.jobs(settings.home, settings.collection)
    return next((job for job in found if job.kind == "watch" and job.state in ("waiting", "running")), None)


def _watch(settings: Settings, watched: Sequence[Path], on: bool) -> None:
    if known := _watcher(settings):
        jobs.stop(settings.home, known.id)
    if on:
        jobs.start(settings, "watch", {"paths": [str(folder) for folder in watched]})


def _add_folder(settings: Settings) -> None:
    create(settings)
    folder = folders.add(settings.home, settings.collection, str(st.session_state["documents-folder-path"]))
    sync(settings, [folder])
    _watch_as_before(settings)


def _remove_folder(settings: Settings, folder: Path, forget: bool) -> None:
    if forget:  # first: where it fails, the folder is still there to try again
        others = [other for other in folders.listed(settings.home, settings.collection) if other != folder]
        with closing(LocalIndex(open_catalog(settings.collection_dir))) as index, index.writing():
            under = [path for path in map(Path, index.catalog.sources()) if path.is_relative_to(folder)]
            gone = [str(path) for path in under if not any(path.is_relative_to(other) for other in others)]
            index.catalog.remove_sources(gone)
    folders.remove(settings.home, settings.collection, folder)
    _watch_as_before(settings)


def _watch_as_before(settings: Settings) -> None:
    """Watch the folders that there are now, where folders were watched."""
    known = folders.listed(settings.home, settings.collection)
    if _watcher(settings):
        _watch(settings, known, on=bool(known))
