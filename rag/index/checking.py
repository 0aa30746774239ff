"""check(): whether a collection is whole, and repair of what the catalogue can repair.

What is damaged in the catalogue itself is marked, so that the next sync reads its file again.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.errors import CollectionError
from rag.index.catalog import Catalog
from rag.index.local import LocalIndex
from rag.index.records import checksum
from rag.schema import Document

_TABLES = "meta|documents|sources|tags|changes|(next_)?(passages|vectors|checksums)|sqlite_sequence"
_KNOWN = re.compile(f"table ({_TABLES})|index (sources_by_document|(next_)?passages_by_document|sqlite_autoindex_.*)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    what: str
    remedy: str  # what was done, or has to be done
    repaired: bool


def check(index: LocalIndex, repair: bool) -> list[Finding]:
    """What is wrong with an open collection. Raises `CollectionError`, `LockedError`.

    With `repair`, what can be mended is; without, nothing is changed.
    """
    with index.writing() if repair else index.locked():
        findings = [*_access(index.folder, repair), *_tables(index.catalog), *_documents(index.catalog, repair)]
        findings += _orphans(index.catalog, repair)
        findings += _words(index, repair)
        findings += _snapshot(index, repair)
    return findings


def _access(folder: Path, repair: bool) -> Iterator[Finding]:
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        if repair:
            folder.chmod(0o700)
        yield _found(f"other users may look into {folder}", "closed to them", repair)
    for leftover in folder.glob("*.new"):
        if repair:
            leftover.unlink()
        yield _found(f"{leftover.name} was left by an interrupted run", "removed", repair)


def _tables(catalog: Catalog) -> Iterator[Finding]:
    for problem in problems(catalog):
        yield Finding(f"the catalogue is damaged ({problem})", "restore it from a copy or an export", repaired=False)


def _documents(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Documents whose text, passages or vectors are not what was stored."""
    for document_id in catalog.readers():
        name, reason = document_id, None
        try:
            for document in catalog.documents([document_id]):
                name, reason = next(iter(document.sources), document.id), damage(catalog, document)
        except CollectionError as error:
            reason = str(error)
        if reason:
            if repair:
                catalog.db.execute("UPDATE documents SET reader = '' WHERE id = ?", (document_id,))
            yield _found(f"{name}: {reason}", "marked; the next `rag ingest` of its file reads it again", repair)


def problems(catalog: Catalog) -> Iterator[str]:
    """What SQLite finds wrong with its file, and what should not be in it: an imported file is not trusted."""
    yield from (row[0] for row in catalog.db.rows("PRAGMA integrity_check") if row[0] != "ok")
    for table, row, parent, _ in catalog.db.rows("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} points to a missing row of {parent}"
    names = {f"{kind} {name}" for kind, name in catalog.db.rows("SELECT type, name FROM sqlite_master")}
    yield from (f"it holds the {name}" for name in sorted(names) if not _KNOWN.fullmatch(name))


def damage(catalog: Catalog, document: Document) -> str | None:
    """What is wrong with a stored document; None where it is as it was stored."""
    places, texts, blobs = catalog.stored_passages(document.id)
    stored = catalog.db.value("SELECT checksum FROM checksums WHERE document_id = ?", (document.id,))
    if len(blobs) != len(places):
        return f"{len(places)} passages have {len(blobs)} vectors"
    if checksum(document, places, blobs) != stored:
        return "it does not match its checksum"
    if any(document.text[place[0] : place[1]] != text for place, text in zip(places, texts, strict=True)):
        return "a passage's text is not the document's"
    return None


def _orphans(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    rows = catalog.db.rows("SELECT id FROM documents EXCEPT SELECT document_id FROM sources")
    orphans = [row[0] for row in rows]
    if orphans and repair:
        with catalog.transaction():
            for document_id in orphans:
                catalog.delete_document(document_id)
    if orphans:
        yield _found(f"{len(orphans)} documents belong to no file", "removed", repair)


def _words(index: LocalIndex, repair: bool) -> Iterator[Finding]:
    if not np.array_equal(index.indexed_ids(), index.catalog.passage_ids()):
        if repair:
            index.rebuild_words()
        yield _found("the word index does not hold the catalogue's passages", "made anew", repair)


def _snapshot(index: LocalIndex, repair: bool) -> Iterator[Finding]:
    if not index.has_true_snapshot():
        if repair:
            index.drop_snapshot()
        yield _found("the vector snapshot does not hold the catalogue's vectors", "made anew", repair)


def _found(what: str, done: str, repair: bool) -> Finding:
    return Finding(what, done if repair else "mend it with: rag doctor --repair", repair)
