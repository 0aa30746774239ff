"""The catalogue: documents, passages and vectors in SQLite. This is the truth; everything else is a cache of it.

A document's row, its passages and their vectors appear in one transaction or not at all. Ids of passages are never
reused. Deleted text is overwritten (`secure_delete`). Knows nothing of similarity or of words.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag.errors import CollectionError, LockedError
from rag.schema import Document, Passage, Span

FILE = "catalog.sqlite"
FORMAT = "1"
_BUSY_SECONDS = 30

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, media_type TEXT NOT NULL, text TEXT NOT NULL, page_starts TEXT NOT NULL
);
CREATE TABLE sources (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    document_id TEXT REFERENCES documents (id),
    reason TEXT  -- why the file could not be read the last time; a document is then what was read before
);
CREATE INDEX sources_by_document ON sources (document_id);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    text TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER, heading_path TEXT NOT NULL
);
CREATE INDEX passages_by_document ON passages (document_id);
CREATE TABLE vectors (
    passage_id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE, vector BLOB NOT NULL  -- float32
);
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when it was last read: what tells whether it changed since."""

    path: str
    size: int
    mtime_ns: int
    document_id: str | None = None
    reason: str | None = None


@contextmanager
def _as_sentences(path: Path) -> Iterator[None]:
    """SQLite's errors as errors that a person can act on."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise LockedError(f"{path} is in use by another process; try again when it is done.") from error
        raise CollectionError(f"{path} cannot be used ({error}); check the disk and its permissions.") from error
    except sqlite3.DatabaseError as error:
        raise CollectionError(f"{path} is not a readable catalogue ({error}); restore it from a copy.") from error


class Catalog:
    """One SQLite connection to a collection's catalogue."""

    def __init__(self, folder: Path) -> None:
        """Open the catalogue in `folder`, creating it where there is none. Raises `CollectionError`."""
        self.path = folder / FILE
        # The web page's sessions share this connection, one at a time.
        with _as_sentences(self.path):
            self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        for pragma in ("foreign_keys=ON", "secure_delete=ON", "synchronous=FULL"):
            self._execute(f"PRAGMA {pragma}")
        if not self._has_tables():
            self._create()
        if (found := self.meta("format")) != FORMAT:
            raise CollectionError(
                f"{self.path} has format {found}, this program reads {FORMAT}; ingest into a new collection."
            )

    def _has_tables(self) -> bool:
        return self._execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is not None

    def _create(self) -> None:
        with self.transaction():
            if not self._has_tables():  # another process may have been first
                for statement in _SCHEMA.split(";\n"):
                    self._execute(statement)
                self.set_meta("format", FORMAT)

    def _execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        with _as_sentences(self.path):
            return self._db.execute(sql, parameters)

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time."""
        with _as_sentences(self.path):
            yield from self._db.execute(sql, parameters)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator[None]:
        """One state for all reads in the block; what it writes is all or nothing, and durable when the block ends."""
        self._execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some errors have rolled back already
                self._db.rollback()
            raise

    # meta

    def meta(self, key: str) -> str | None:
        """A value about the collection, or None."""
        row = self._execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        """Record a value about the collection."""
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def state(self) -> tuple[int, int]:
        """(number of passages, highest id ever given): equal where no passage came or went, since ids are not reused.

        One addition and one removal cannot cancel out: the addition raises the highest id.
        """
        count = self._execute("SELECT count(*) FROM passages").fetchone()[0]
        highest = self._execute("SELECT seq FROM sqlite_sequence WHERE name = 'passages'").fetchone()
        return count, highest[0] if highest else 0

    def fingerprint(self) -> str:
        """The sha256 over all documents and the state of the passages: equal where a question reads the same."""
        ids = [row[0] for row in self._rows("SELECT id FROM documents ORDER BY id")]
        return hashlib.sha256(json.dumps([ids, self.state()]).encode()).hexdigest()

    # writing

    def put_document(
        self, document: Document, spans: Sequence[Span], vectors: npt.NDArray[np.float32], source: Source
    ) -> None:
        """Store a document, its passages and their vectors (n, dimension), and the file that it was read from."""
        with self.transaction():
            self._execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
                (document.id, document.title, document.media_type, document.text, json.dumps(document.page_starts)),
            )
            for span, vector in zip(spans, vectors, strict=True):
                text = document.text[span.start : span.end]
                row = (document.id, text, span.start, span.end, span.page, json.dumps(span.heading_path))
                inserted = self._execute(
                    'INSERT INTO passages (document_id, text, start, "end", page, heading_path)'
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
                blob = np.ascontiguousarray(vector, dtype="<f4").tobytes()
                self._execute("INSERT INTO vectors VALUES (?, ?)", (inserted.lastrowid, blob))
            self._replace_source(source)

    def put_source(self, source: Source) -> None:
        """Record a file whose document is stored already, or that is quarantined."""
        with self.transaction():
            self._replace_source(source)

    def remove_source(self, path: str) -> None:
        """Forget a file, and its document where no other file holds the same contents."""
        with self.transaction():
            former = self._document_of(path)
            self._execute("DELETE FROM sources WHERE path = ?", (path,))
            self._drop_if_unused(former)

    def _replace_source(self, source: Source) -> None:
        former = self._document_of(source.path)
        self._execute(
            "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?)",
            (source.path, source.size, source.mtime_ns, source.document_id, source.reason),
        )
        self._drop_if_unused(former)

    def _document_of(self, path: str) -> str | None:
        row = self._execute("SELECT document_id FROM sources WHERE path = ?", (path,)).fetchone()
        return row[0] if row else None

    def _drop_if_unused(self, document_id: str | None) -> None:
        self._execute(
            "DELETE FROM documents WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM sources WHERE document_id = ?1)",
            (document_id,),
        )

    # reading

    def has_document(self, document_id: str) -> bool:
        """Whether these contents are stored."""
        return self._execute("SELECT 1 FROM documents WHERE id = ?", (document_id,)).fetchone() is not None

    def sources(self) -> dict[str, Source]:
        """All files, by path."""
        rows = self._rows("SELECT path, size, mtime_ns, document_id, reason FROM sources ORDER BY path")
        return {row[0]: Source(*row) for row in rows}

    def documents(self) -> Iterator[Document]:
        """All documents with their text, by their first path."""
        rows = self._rows(
            "SELECT d.id, json_group_array(s.path), d.title, d.media_type, d.text, d.page_starts"
            " FROM documents d JOIN sources s ON s.document_id = d.id GROUP BY d.id ORDER BY min(s.path)"
        )
        for row in rows:
            document_id, paths, title, media_type, text, page_starts = row
            sources = tuple(sorted(json.loads(paths)))
            yield Document(document_id, sources, title, media_type, text, tuple(json.loads(page_starts)))

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """The passages of these ids that are stored, by id."""
        return {passage.id: passage for passage in self.stream_passages(ids)}

    def stream_passages(self, ids: Sequence[int]) -> Iterator[Passage]:
        """The passages of these ids that are stored, one at a time."""
        rows = self._rows(
            "SELECT p.id, p.document_id, (SELECT min(path) FROM sources WHERE document_id = p.document_id), d.title,"
            ' p.text, p.start, p."end", p.page, p.heading_path'
            " FROM json_each(?) wanted JOIN passages p ON p.id = wanted.value JOIN documents d ON d.id = p.document_id",
            (json.dumps(list(ids)),),
        )
        for row in rows:
            passage_id, document_id, source, title, text, start, end, page, headings = row
            heading_path = tuple(json.loads(headings))
            yield Passage(passage_id, document_id, source, title, text, start, end, page, heading_path)

    def passage_ids(self) -> npt.NDArray[np.int64]:
        """The ids of all passages, ascending."""
        rows = self._rows("SELECT passage_id FROM vectors ORDER BY passage_id")
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def vectors_after(self, highest: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Ids (n,) and vectors (n, dimension) of all passages with an id above `highest`, ids ascending."""
        rows = self._rows("SELECT passage_id, vector FROM vectors WHERE passage_id > ? ORDER BY passage_id", (highest,))
        ids: list[int] = []
        blobs = bytearray()
        for passage_id, blob in rows:
            ids.append(passage_id)
            blobs += blob
        matrix = np.frombuffer(bytes(blobs), dtype="<f4").reshape(len(ids), -1 if ids else 0)
        return np.array(ids, dtype=np.int64), matrix.astype(np.float32, copy=False)


def open_catalog(folder: Path) -> Catalog:
    """The catalogue of a collection that is there. Raises `CollectionError`."""
    if not (folder / FILE).is_file():
        raise CollectionError(
            f"There is no collection {folder.name!r} in {folder.parent}; make it with: rag ingest PATH"
        )
    return Catalog(folder)
