"""The catalogue: documents, passages and vectors in SQLite. This is the truth; everything else is a cache of it.

A document's row, its passages and their vectors appear in one transaction or not at all. Ids of passages are never
reused. Deleted text is overwritten (`secure_delete`). Knows nothing of similarity or of words.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rag.index.database import FILE, Database, whole_rows
from rag.index.filters import DAY, conditions
from rag.index.records import (
    EMPTY,
    Changes,
    Ids,
    Source,
    State,
    Vectors,
    as_blocks,
    as_ids,
    checksum,
    place,
)
from rag.schema import Document, Filter, Passage, Span


class Catalog:
    """An open catalogue."""

    def __init__(self, folder: Path) -> None:
        """Open the catalogue in `folder`, creating it where there is none. Raises `CollectionError`."""
        self.path = folder / FILE
        self.db = Database(self.path)
        self._file = self.path.stat()
        if self.db.migrated:
            self._add_checksums()

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one in the folder."""
        try:
            return os.path.samestat(self._file, self.path.stat())
        except FileNotFoundError:
            return False

    def transaction(self, write: bool = True) -> AbstractContextManager[None]:
        """One state for all reads in the block; what it writes is all or nothing, and durable when the block ends."""
        return self.db.transaction(write)

    # what it is and how far it has come

    def meta(self, key: str) -> str | None:
        """A value about the collection, or None."""
        value: str | None = self.db.value("SELECT value FROM meta WHERE key = ?", (key,))
        return value

    def set_meta(self, key: str, value: str) -> None:
        """Record a value about the collection."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def embedder(self) -> dict[str, str]:
        """The recorded identity of the embedder; empty in a collection that nobody has written to."""
        rows = self.db.rows("SELECT substr(key, 10), value FROM meta WHERE key GLOB 'embedder_*'")
        return dict(rows)

    def set_embedder(self, identity: dict[str, str | int]) -> None:
        """Record the embedder whose vectors are stored."""
        self.db.execute("DELETE FROM meta WHERE key GLOB 'embedder_*'")
        for key, value in identity.items():
            self.set_meta(f"embedder_{key}", str(value))

    def state(self) -> State:
        """The present state."""
        row = self.db.row("SELECT seq, token FROM changes ORDER BY seq DESC LIMIT 1")
        return State(*row) if row else EMPTY

    def changes_since(self, state: State) -> Changes | None:
        """What came and went since a state; None where this catalogue never was in it."""
        if state != EMPTY and self.db.value("SELECT token FROM changes WHERE seq = ?", (state.seq,)) != state.token:
            return None
        ranges: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
        for added, first, last in self.db.rows(
            "SELECT added, first, last FROM changes WHERE seq > ? AND first IS NOT NULL ORDER BY seq", (state.seq,)
        ):
            ranges[added].append((first, last))
        return Changes(added=tuple(ranges[1]), removed=tuple(ranges[0]))

    def everything(self) -> Changes:
        """All that is stored, as if it had just come."""
        return Changes(added=((1, 2**62),), removed=())

    def count(self) -> int:
        """How many passages are stored."""
        number: int = self.db.value("SELECT count(*) FROM passages")
        return number

    def fingerprint(self) -> str:
        """The sha256 over all documents and the state of the passages: equal where a question reads the same."""
        ids = [row[0] for row in self.db.rows("SELECT id FROM documents ORDER BY id")]
        return hashlib.sha256(json.dumps([ids, self.state()]).encode()).hexdigest()

    def log(self, added: bool, first: int | None, last: int | None) -> None:
        """Note that passages with ids in a range came or went: the catalogue is in another state from here on."""
        row = (secrets.token_hex(8), added, first, last)
        self.db.execute("INSERT INTO changes (token, added, first, last) VALUES (?, ?, ?, ?)", row)

    # writing

    def put_document(
        self, document: Document, spans: Sequence[Span], vectors: Vectors, source: Source, reader: str = ""
    ) -> None:
        """Store a document, its passages with their vectors (n, dimension), and the file that it was read from.

        `reader` is the version of parsers and chunker. A document of this id that is stored already is replaced.
        """
        identity = (document.id, document.title, document.media_type)
        contents = (document.text, json.dumps(document.places), document.unit, document.date)
        row = (*identity, *contents, json.dumps(dict(document.dropped)), reader)
        with self.transaction():
            self.db.drop_next_tables()  # made for what was stored before
            self.delete_document(document.id)
            self.db.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self.put_passages("", document, spans, vectors)
            self.log(True, *self._range_of(document.id))
            self._put_source(source)

    def put_passages(self, prefix: str, document: Document, spans: Sequence[Span], vectors: Vectors) -> None:
        """Insert a document's passages into the tables of this prefix, inside a transaction."""
        highest = self.db.value("SELECT seq FROM sqlite_sequence WHERE name = ?", (f"{prefix}passages",)) or 0
        self.db.execute_many(
            f"INSERT INTO {prefix}passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (highest + n, document.id, document.text[span.start : span.end], *place(span))
                for n, span in enumerate(spans, start=1)
            ),
        )
        blobs = [np.ascontiguousarray(vector, dtype="<f4").tobytes() for vector in vectors]
        self.db.execute_many(
            f"INSERT INTO {prefix}vectors VALUES (?, ?)",
            ((highest + n, blob) for n, (_, blob) in enumerate(zip(spans, blobs, strict=True), start=1)),
        )
        row = (document.id, checksum(document, [place(span) for span in spans], blobs))
        self.db.execute(f"INSERT INTO {prefix}checksums VALUES (?, ?)", row)

    def _add_checksums(self) -> None:
        """For documents of a format that had none."""
        with self.transaction():
            for document in list(self.documents()):
                places, _, blobs = self.stored_passages(document.id)
                row = (document.id, checksum(document, places, blobs))
                self.db.execute("INSERT OR IGNORE INTO checksums VALUES (?, ?)", row)

    def put_source(self, source: Source) -> None:
        """Record a file whose document is stored already, or that is quarantined."""
        with self.transaction():
            self._put_source(source)

    def move_source(self, former: str, source: Source) -> None:
        """Record that a file lies elsewhere now; its tags go with it."""
        with self.transaction():
            self.db.execute("DELETE FROM sources WHERE path = ?", (source.path,))
            self.db.execute("UPDATE sources SET path = ? WHERE path = ?", (source.path, former))
            self._put_source(source)

    def remove_sources(self, paths: Iterable[str]) -> None:
        """Forget files, and each document that no other file holds the contents of."""
        with self.transaction():
            for path in paths:
                former = self.document_of(path)
                self.db.execute("DELETE FROM sources WHERE path = ?", (path,))
                self._drop_if_unused(former)

    def tag(self, paths: Iterable[str], add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Add and remove tags of those of these files that are stored."""
        added, removed = list(add), list(remove)
        with self.transaction():
            for path in paths:
                self.db.execute_many(
                    "INSERT OR IGNORE INTO tags SELECT path, ? FROM sources WHERE path = ?",
                    ((tag, path) for tag in added),
                )
                self.db.execute_many("DELETE FROM tags WHERE path = ? AND tag = ?", ((path, tag) for tag in removed))

    def _put_source(self, source: Source) -> None:
        former = self.document_of(source.path)
        row = (source.path, source.size, source.mtime_ns, source.document_id, source.reason, source.read_ns)
        self.db.execute(
            "INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET size = excluded.size,"
            " mtime_ns = excluded.mtime_ns, document_id = excluded.document_id, reason = excluded.reason,"
            " read_ns = excluded.read_ns",
            row,
        )
        self._drop_if_unused(former)

    def _drop_if_unused(self, document_id: str | None) -> None:
        if document_id and not self.db.value("SELECT 1 FROM sources WHERE document_id = ?", (document_id,)):
            self.delete_document(document_id)

    def delete_document(self, document_id: str) -> None:
        """Delete a document with its passages, inside a transaction."""
        if self.has_document(document_id):
            self.log(False, *self._range_of(document_id))
            self.db.execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def _range_of(self, document_id: str) -> tuple[int | None, int | None]:
        first, last = self.db.row("SELECT min(id), max(id) FROM passages WHERE document_id = ?", (document_id,))
        return first, last

    # reading

    def has_document(self, document_id: str) -> bool:
        """Whether these contents are stored."""
        return self.db.value("SELECT 1 FROM documents WHERE id = ?", (document_id,)) is not None

    def document_of(self, path: str) -> str | None:
        """The id of the document that was read from a file."""
        document_id: str | None = self.db.value("SELECT document_id FROM sources WHERE path = ?", (path,))
        return document_id

    def readers(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """The version of parsers and chunker that read each document, or each of these, by its id."""
        chosen = "" if ids is None else "WHERE id IN (SELECT value FROM json_each(?))"
        parameters = () if ids is None else (json.dumps(list(ids)),)
        return dict(self.db.rows(f"SELECT id, reader FROM documents {chosen}", parameters))

    def sources(self) -> dict[str, Source]:
        """All files, by path."""
        rows = self.db.rows("SELECT path, size, mtime_ns, document_id, reason, read_ns FROM sources ORDER BY path")
        return {row[0]: Source(*row) for row in rows}

    def documents(self, ids: Iterable[str] | None = None) -> Iterator[Document]:
        """All documents with their text, or those of these ids, by their first path."""
        chosen = "" if ids is None else "WHERE d.id IN (SELECT value FROM json_each(?))"
        rows = self.db.rows(
            "SELECT d.id, json_group_array(s.path), d.title, d.media_type, d.text, d.places, d.unit, d.date, d.dropped"
            f" FROM documents d LEFT JOIN sources s ON s.document_id = d.id {chosen}"
            " GROUP BY d.id ORDER BY min(s.path), d.id",
            () if ids is None else (json.dumps(list(ids)),),
        )
        with whole_rows(self.path):
            for document_id, paths, title, media_type, text, places, unit, date, dropped in rows:
                yield Document(
                    id=document_id,
                    sources=tuple(sorted(path for path in json.loads(paths) if path)),
                    title=title,
                    media_type=media_type,
                    text=text,
                    places=tuple((offset, number) for offset, number in json.loads(places)),
                    unit=unit,
                    date=date,
                    dropped=MappingProxyType(json.loads(dropped)),
                )

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """The passages of these ids that are stored, by id."""
        return {passage.id: passage for passage in self.stream_passages(ids)}

    def stream_passages(self, ids: Sequence[int]) -> Iterator[Passage]:
        """The passages of these ids that are stored, one at a time."""
        rows = self.db.rows(
            "SELECT p.id, p.document_id, (SELECT min(path) FROM sources WHERE document_id = p.document_id), d.title,"
            f' p.text, p.start, p."end", d.unit, p.first, p.last, p.heading_path, (SELECT max({DAY}) FROM sources s'
            " WHERE s.document_id = d.id)"
            " FROM json_each(?) wanted JOIN passages p ON p.id = wanted.value JOIN documents d ON d.id = p.document_id",
            (json.dumps(list(ids)),),
        )
        with whole_rows(self.path):
            for number, document_id, source, title, text, start, end, unit, first, last, headings, date in rows:
                path = tuple(json.loads(headings))
                yield Passage(number, document_id, source, title, text, start, end, unit, first, last, path, date)

    def text_between(self, document_id: str, start: int, end: int) -> str:
        """The characters from `start` to `end` of a document that is stored."""
        sql = "SELECT substr(text, ?, ?) FROM documents WHERE id = ?"
        text: str = self.db.value(sql, (start + 1, end - start, document_id))
        return text

    def stored_passages(self, document_id: str) -> tuple[list[tuple[Any, ...]], list[str], list[bytes]]:
        """A document's passages as they are stored: columns of their places, texts, and bytes of their vectors."""
        rows = list(
            self.db.rows(
                'SELECT start, "end", first, last, heading_path, text, vector FROM passages'
                " LEFT JOIN vectors ON passage_id = id WHERE document_id = ? ORDER BY id",
                (document_id,),
            )
        )
        blobs = [row[6] for row in rows if isinstance(row[6], bytes)]
        return [row[:5] for row in rows], [row[5] for row in rows], blobs

    def texts(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        """(id, text) of the passages with ids in a range, both ends included."""
        return self.db.rows("SELECT id, text FROM passages WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))

    def passage_ids(self) -> Ids:
        """The ids of all passages, ascending."""
        return as_ids(self.db.rows("SELECT passage_id FROM vectors ORDER BY passage_id"))

    def matching(self, keep: Filter) -> Ids:
        """The ids of the passages whose documents a filter keeps, ascending."""
        condition, values = conditions(keep)
        return as_ids(
            self.db.rows(
                "SELECT id FROM passages WHERE document_id IN (SELECT d.id FROM sources s"
                f" JOIN documents d ON d.id = s.document_id WHERE {condition}) ORDER BY id",
                values,
            )
        )

    def vectors(self, ids: Sequence[int]) -> tuple[Ids, Vectors]:
        """Ids (n,) and vectors (n, dimension) of those of these passages that are stored, ids ascending."""
        rows = self.db.rows(
            "SELECT passage_id, vector FROM vectors WHERE passage_id IN (SELECT value FROM json_each(?))"
            " ORDER BY passage_id",
            (json.dumps(list(ids)),),
        )
        blocks = [*self._blocks(rows), (np.empty(0, np.int64), np.empty((0, self._dimension), np.float32))]
        return np.concatenate([ids for ids, _ in blocks]), np.concatenate([vectors for _, vectors in blocks])

    def vectors_between(self, first: int, last: int) -> Iterator[tuple[Ids, Vectors]]:
        """Blocks of ids (n,) and vectors (n, dimension) of the passages with ids in a range, both ends included."""
        return self._blocks(
            self.db.rows(
                "SELECT passage_id, vector FROM vectors WHERE passage_id BETWEEN ? AND ? ORDER BY passage_id",
                (first, last),
            )
        )

    @property
    def _dimension(self) -> int:
        return int(self.embedder()["dimension"])

    def _blocks(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Ids, Vectors]]:
        with whole_rows(self.path):
            yield from as_blocks(rows, self._dimension)
