"""The SQLite file under a catalogue: its connection, its tables, and how older formats become the present one.

Knows tables and transactions; what the rows mean is the catalogue's affair.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.errors import CollectionError, LockedError

FILE = "catalog.sqlite"
FORMAT = 2
_BUSY_SECONDS = 30

# `next_` tables hold passages for another embedder while the present ones still answer.
_PASSAGES = """
CREATE TABLE {0}passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document_id TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    text TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, first INTEGER, last INTEGER,
    heading_path TEXT NOT NULL
);
CREATE TABLE {0}vectors (
    passage_id INTEGER PRIMARY KEY REFERENCES {0}passages (id) ON DELETE CASCADE, vector BLOB NOT NULL  -- float32
);
CREATE TABLE {0}checksums (  -- over a document, its passages and their vectors
    document_id TEXT PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE, checksum TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX {0}passages_by_document ON {0}passages (document_id);
"""
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, media_type TEXT NOT NULL, text TEXT NOT NULL, places TEXT NOT NULL,
    unit TEXT NOT NULL, date TEXT, dropped TEXT NOT NULL,
    reader TEXT NOT NULL  -- the version of parsers and chunker that read it
);
CREATE TABLE sources (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    document_id TEXT REFERENCES documents (id) DEFERRABLE INITIALLY DEFERRED,
    reason TEXT,  -- why the file could not be read the last time; a document is then what was read before
    read_ns INTEGER NOT NULL  -- when it was read; a file that changed just before may change again unseen
);
CREATE INDEX sources_by_document ON sources (document_id);
CREATE TABLE tags (
    path TEXT NOT NULL REFERENCES sources (path) ON UPDATE CASCADE ON DELETE CASCADE, tag TEXT NOT NULL,
    PRIMARY KEY (path, tag)
) WITHOUT ROWID;
-- What came and went, in order: how the caches catch up. The token tells this history from that of another copy.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL, added INTEGER NOT NULL, first INTEGER, last INTEGER
);
"""
# Format 1 had pages only, no dates, no tags, and compared all ids where it now reads the changes.
_FROM_1 = """
INSERT INTO documents SELECT id, title, media_type, text,
    (SELECT json_group_array(json_array(value, key + 1)) FROM json_each(page_starts)), 'page', NULL, '{}', '1'
    FROM old_documents;
INSERT INTO sources SELECT path, size, mtime_ns, document_id, reason, 0 FROM old_sources;
INSERT INTO passages SELECT id, document_id, text, start, "end", page, page, heading_path FROM old_passages;
INSERT INTO vectors SELECT * FROM old_vectors;
INSERT INTO changes (token, added, first, last)
    SELECT 'from format 1', 1, min(id), max(id) FROM passages GROUP BY document_id ORDER BY min(id);
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'old_passages') WHERE name = 'passages';
DROP TABLE old_vectors;
DROP TABLE old_passages;
DROP TABLE old_sources;
DROP TABLE old_documents;
UPDATE meta SET value = '2' WHERE key = 'format'
"""


@contextmanager
def _as_sentences(path: Path) -> Iterator[None]:
    """SQLite's errors as errors that a person can act on."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise LockedError(f"{path} is in use by another process; try again when it is done.") from error
        raise CollectionError(f"{path} cannot be used ({error}); check the disk and its permissions.") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise CollectionError(f"{path} is not a readable catalogue ({error}); restore it from a copy.") from error


@contextmanager
def whole_rows(path: Path) -> Iterator[None]:
    """What cannot be made of damaged rows as an error that a person can act on."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise CollectionError(f"{path} holds damaged rows ({error}); find them with: rag doctor") from error


class Database:
    """One connection to a catalogue's file."""

    def __init__(self, path: Path) -> None:
        """Open it, make its tables where there are none, bring an older format up to date. Raises `CollectionError`."""
        self.path = path
        self.migrated = False  # whether this opening brought an older format up to date
        # The web page's sessions share this connection, one at a time.
        with _as_sentences(path):
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # An imported file may not run code of its own: what its schema says is not trusted.
        for pragma in ("foreign_keys=OFF", "secure_delete=ON", "synchronous=FULL", "trusted_schema=OFF"):
            self.execute(f"PRAGMA {pragma}")
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise
        self.execute("PRAGMA foreign_keys=ON")

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with _as_sentences(self.path):
            return self._db.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterator[Sequence[object]]) -> None:
        """Run one statement for each row of parameters."""
        with _as_sentences(self.path):
            self._db.executemany(sql, rows)

    def script(self, statements: str) -> None:
        """Run statements that end with a semicolon at the end of a line, inside the transaction at hand."""
        for statement in statements.split(";\n"):
            self.execute(statement)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time."""
        with _as_sentences(self.path):
            yield from self._db.execute(sql, parameters)

    def row(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """A query's first row, or None."""
        with _as_sentences(self.path):
            return self._db.execute(sql, parameters).fetchone()

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The first column of a query's first row; None where there is no row."""
        row = self.row(sql, parameters)
        return row[0] if row else None

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator[None]:
        """One state for all reads in the block; what it writes is all or nothing, and durable when the block ends."""
        self.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some errors have rolled back already
                self._db.rollback()
            raise

    def add_next_tables(self) -> None:
        """Make the tables for another embedder's passages. Their ids go on from the present ones."""
        self.script(_PASSAGES.format("next_"))
        self.execute(
            "INSERT INTO sqlite_sequence SELECT 'next_passages', seq FROM sqlite_sequence WHERE name = 'passages'"
        )

    def has_next_tables(self) -> bool:
        """Whether passages for another embedder are in the making."""
        return self._has_table("next_passages")

    def drop_next_tables(self) -> None:
        """Give up what was made for another embedder."""
        for table in ("checksums", "vectors", "passages"):
            self.execute(f"DROP TABLE IF EXISTS next_{table}")

    def swap_in_next_tables(self) -> None:
        """Put the other embedder's passages and vectors in the place of the present ones."""
        for table in ("checksums", "vectors", "passages"):
            self.execute(f"DROP TABLE {table}")
        self.execute("DROP INDEX next_passages_by_document")
        for table in ("passages", "vectors", "checksums"):
            self.execute(f"ALTER TABLE next_{table} RENAME TO {table}")
        self.execute("CREATE INDEX passages_by_document ON passages (document_id)")

    def _has_table(self, name: str) -> bool:
        return self.value("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)) is not None

    def format(self) -> int:
        """The format of the tables, 0 where there are none."""
        value = self.value("SELECT value FROM meta WHERE key = 'format'") if self._has_table("meta") else "0"
        return int(value) if value and value.isdecimal() else -1

    def _bring_up_to_date(self) -> None:
        if self.format() == FORMAT:
            return
        with self.transaction():
            found = self.format()  # another process may have been first
            if found == 0:
                self._create()
                self.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
            elif found == 1:
                self._from_1()
                self.migrated = True
            elif found != FORMAT:
                raise CollectionError(
                    f"{self.path} has format {found}, this program reads up to {FORMAT}; "
                    f"use the later version of Openbook that wrote it."
                )

    def _create(self) -> None:
        self.script(_SCHEMA)
        self.script(_PASSAGES.format(""))

    def _from_1(self) -> None:
        for table in ("documents", "sources", "passages", "vectors"):
            self.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        self.execute("DROP INDEX sources_by_document")
        self.execute("DROP INDEX passages_by_document")
        self.execute("ALTER TABLE meta RENAME TO old_meta")
        self._create()
        self.execute("INSERT INTO meta SELECT * FROM old_meta")
        self.execute("DROP TABLE old_meta")
        self.script(_FROM_1)
