"""Collections as a whole: list, delete, and carry from machine to machine in one file."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import CollectionError
from rag.index.catalog import Catalog
from rag.index.checking import damage, problems
from rag.index.database import FILE
from rag.index.filters import DAY, conditions
from rag.index.local import LocalIndex, open_catalog
from rag.index.vectors import kind_for, sync_folder
from rag.schema import Filter


@dataclass(frozen=True, slots=True)
class Summary:
    """What a collection holds."""

    name: str
    documents: int
    passages: int
    quarantined: int
    embedder: str
    index: str  # the kind of FAISS index
    size: int  # bytes on disk
    problem: str | None = None  # why it cannot be opened; all else is nought then


def summaries(collections: Path) -> Iterator[Summary]:
    """All collections in a folder, by name."""
    for folder in sorted(collections.glob("[!.]*")):
        if (folder / FILE).is_file():
            try:
                with contextlib.closing(open_catalog(folder)) as catalog:
                    yield _summary(folder, catalog)
            except CollectionError as error:
                yield Summary(folder.name, 0, 0, 0, "", "", _size(folder), str(error))


def _summary(folder: Path, catalog: Catalog) -> Summary:
    sources = catalog.sources().values()
    count = catalog.count()
    return Summary(
        name=folder.name,
        documents=len({source.document_id for source in sources if source.document_id}),
        passages=count,
        quarantined=sum(1 for source in sources if source.reason),
        embedder=catalog.meta("embedder_name") or "",
        index=kind_for(count),
        size=_size(folder),
    )


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a writer may be at work
            total += file.stat().st_size if file.is_file() else 0
    return total


@dataclass(frozen=True, slots=True)
class Holding:
    """A file of a collection."""

    path: str
    document: str | None  # id
    title: str | None
    media_type: str | None
    date: str | None  # of the contents, or of the file
    size: int  # bytes
    places: int  # how many pages, slides or rows it has, 0 where it has none
    unit: str | None  # what these are
    passages: int
    copies: int  # how many other files have the same contents
    tags: tuple[str, ...]
    dropped: Mapping[str, int]  # characters left out, by reason
    not_read: str | None  # why the file could not be read the last time


def holdings(catalog: Catalog, keep: Filter) -> Iterator[Holding]:
    """The files that a filter keeps, by path."""
    condition, values = conditions(keep)
    rows = catalog.db.rows(
        f"SELECT s.path, s.document_id, d.title, d.media_type, {DAY}, s.size,"
        " coalesce(json_array_length(d.places), 0), d.unit,"
        " (SELECT count(*) FROM passages WHERE document_id = d.id),"
        " (SELECT count(*) FROM sources o WHERE o.document_id = s.document_id AND o.path != s.path),"
        " (SELECT json_group_array(tag) FROM tags WHERE path = s.path), coalesce(d.dropped, '{}'), s.reason"
        f" FROM sources s LEFT JOIN documents d ON d.id = s.document_id WHERE {condition} ORDER BY s.path",
        values,
    )
    for *facts, tags, dropped, reason in rows:
        known: list[Any] = [*facts, tuple(json.loads(tags)), json.loads(dropped), reason]
        yield Holding(*known)


def delete(folder: Path) -> None:
    """Delete a collection. Raises `CollectionError` where there is none, `LockedError` where it is being written to."""
    index = LocalIndex(open_catalog(folder))
    with contextlib.closing(index), index.locked():
        folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}.deleted"))  # half of one is never seen
    for doomed in folder.parent.glob(".*.deleted"):  # those of interrupted runs too
        shutil.rmtree(doomed, ignore_errors=True)


def export(folder: Path, file: Path) -> None:
    """Write a collection into one new file: its catalogue, of which all else can be made. Raises `CollectionError`."""
    if file.exists():
        raise CollectionError(f"{file} is there already; name another file.")
    aside = file.with_name(f"{file.name}.new")
    aside.unlink(missing_ok=True)
    with contextlib.closing(open_catalog(folder)) as catalog:
        catalog.db.execute("VACUUM INTO ?", (str(aside),))  # one committed state, without traces of what was deleted
    aside.chmod(0o600)
    with aside.open("rb") as written:
        os.fsync(written.fileno())
    aside.rename(file)
    sync_folder(file.absolute().parent)


def import_(file: Path, folder: Path) -> None:
    """Make a new collection of an exported file, which is checked first. Raises `CollectionError`."""
    if (folder / FILE).exists():
        raise CollectionError(f"There is a collection {folder.name!r} already; choose another name (--collection).")
    if not file.is_file():
        raise CollectionError(f"There is no file {file}; check the path.")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = folder.with_name(f".{folder.name}.importing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    try:
        shutil.copyfile(file, aside / FILE)
        try:
            _check(aside)
        except CollectionError as error:
            reason = str(error).replace(str(aside / FILE), "it")
            raise CollectionError(f"{file} is not a whole export of a collection: {reason}") from error
        with contextlib.closing(LocalIndex(Catalog(aside))) as index, index.writing():
            pass  # which makes the word index
        aside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check(folder: Path) -> None:
    with contextlib.closing(Catalog(folder)) as catalog:
        damaged = (damage(catalog, document) for document in catalog.documents())
        reason = next((why for why in (*problems(catalog), *damaged) if why), None)
        if reason or not catalog.embedder():
            raise CollectionError(reason or "it names no embedder")
