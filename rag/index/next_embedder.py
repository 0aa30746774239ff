"""Passages for another embedder, made beside the present ones, which answer until the others are whole."""

import json
from collections.abc import Sequence

from rag.errors import CollectionError
from rag.index.catalog import Catalog
from rag.index.records import Vectors
from rag.schema import Document, Span


def start(catalog: Catalog, identity: dict[str, str | int]) -> None:
    """Make room for the passages of another embedder; what an earlier call made for the same one stays."""
    with catalog.transaction():
        if catalog.db.has_next_tables() and catalog.meta("next_embedder") == json.dumps(identity):
            return
        catalog.db.drop_next_tables()
        catalog.db.add_next_tables()
        catalog.set_meta("next_embedder", json.dumps(identity))


def left(catalog: Catalog) -> list[str]:
    """The ids of the documents that have no passages for the other embedder yet."""
    rows = catalog.db.rows("SELECT id FROM documents WHERE id NOT IN (SELECT document_id FROM next_checksums)")
    return [row[0] for row in rows]


def put(catalog: Catalog, document: Document, spans: Sequence[Span], vectors: Vectors) -> None:
    """Store a document's passages for the other embedder."""
    with catalog.transaction():
        catalog.put_passages("next_", document, spans, vectors)


def swap_in(catalog: Catalog, identity: dict[str, str | int]) -> None:
    """Let the other embedder's passages answer from now on, in place of the present ones. Raises `CollectionError`."""
    with catalog.transaction():
        if number := len(left(catalog)):
            raise CollectionError(f"{number} documents have not been embedded again yet; run it again.")
        ends = "SELECT min(id), max(id) FROM passages"
        catalog.log(False, *catalog.db.row(ends))
        catalog.db.swap_in_next_tables()
        catalog.log(True, *catalog.db.row(ends))
        catalog.set_embedder(identity)
