"""LocalIndex: a collection in a folder. The catalogue is the truth; the vector and word indexes follow it.

    COLLECTION/
      catalog.sqlite    documents, passages, vectors: what must not be lost
      lexical/          words; rebuilt where it does not show the catalogue's state
      writer.lock       one writer at a time

A reader that stays open follows what another process commits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from rag.errors import LockedError, ModelError
from rag.index.catalog import Catalog, Source, open_catalog
from rag.index.lexical import LexicalIndex
from rag.index.vectors import VectorIndex
from rag.schema import Document, Passage, Span


class LocalIndex:
    """An open collection. One thread at a time; several processes may read while one writes."""

    def __init__(self, catalog: Catalog, dimension: int) -> None:
        """Follow an open catalogue whose vectors have this dimension."""
        folder = self.folder = catalog.path.parent
        self.catalog = catalog
        self._vectors = VectorIndex(dimension)
        self._lexical = LexicalIndex(folder / "lexical")
        self._vectors_state: tuple[int, int] = (0, 0)
        self._lock = FileLock(folder / "writer.lock", timeout=0)

    def close(self) -> None:
        """Close the catalogue."""
        self.catalog.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one writer; the word index catches up when the block ends. Raises `LockedError`."""
        try:
            self._lock.acquire()
        except Timeout:
            raise LockedError(
                f"Another process is writing to {self.folder}; wait until it ends and try again."
            ) from None
        try:
            yield
        finally:
            try:
                self._sync_lexical()
            finally:
                self._lock.release()

    def put_document(
        self, document: Document, spans: Sequence[Span], vectors: npt.NDArray[np.float32], source: Source
    ) -> None:
        """Store a document with its passages' vectors (n, dimension), durably; searchable at once by vector."""
        self.catalog.put_document(document, spans, vectors, source)

    def search_dense(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """(passage id, cosine similarity) of the k nearest to a unit vector (dimension,), best first."""
        self._sync_vectors()
        return self._vectors.search(vector, k)

    def search_lexical(self, text: str, k: int) -> list[tuple[int, float]]:
        """(passage id, BM25) of the k passages that match the words best, best first."""
        if self._lexical.state() != _name(self.catalog.state()):
            self._catch_up_lexical()
        return self._lexical.search(text, k)

    def similarities(self, vector: npt.NDArray[np.float32], ids: Sequence[int]) -> dict[int, float]:
        """The cosine similarity of a unit vector (dimension,) with those of these passages that are stored, by id."""
        self._sync_vectors()
        return self._vectors.similarities(vector, ids)

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """The passages of these ids that are still stored, by id."""
        return self.catalog.passages(ids)

    def _sync_vectors(self) -> None:
        """Add what is newer than the vector index and drop what is gone."""
        if self.catalog.state() == self._vectors_state:
            return
        with self.catalog.transaction(write=False):
            state = self.catalog.state()
            self._vectors.remove(np.setdiff1d(self._vectors.ids(), self.catalog.passage_ids()))
            self._vectors.add(*self.catalog.vectors_after(self._vectors_state[1]))
            self._vectors_state = state

    def _catch_up_lexical(self) -> None:
        """Bring the word index up to date unless a writer is at work, who will do so at the end."""
        try:
            with self._lock:
                self._sync_lexical()
        except Timeout:
            return

    def _sync_lexical(self) -> None:
        """Make the word index show the catalogue's state. Call with the lock held."""
        with self.catalog.transaction(write=False):
            state = _name(self.catalog.state())
            if self._lexical.state() == state:
                return
            stored, indexed = self.catalog.passage_ids(), self._lexical.ids()
            added = self.catalog.stream_passages(np.setdiff1d(stored, indexed).tolist())
            self._lexical.update(np.setdiff1d(indexed, stored).tolist(), added, state)


def _name(state: tuple[int, int]) -> str:
    return f"{state[0]} passages, highest id {state[1]}"


def open_index(folder: Path, identity: dict[str, str | int], create: bool = False) -> LocalIndex:
    """Open a collection made with the embedder of this identity; with `create`, make it where there is none.

    Raises `CollectionError` where there is none, `ModelError` where its embedder is another.
    """
    if create:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    catalog = Catalog(folder) if create else open_catalog(folder)
    _check_embedder(catalog, identity)
    return LocalIndex(catalog, int(identity["dimension"]))


def _check_embedder(catalog: Catalog, identity: dict[str, str | int]) -> None:
    """Record the embedder of a new collection; refuse one that is not the recorded."""
    if catalog.meta("embedder_name") is None:
        with catalog.transaction():
            if catalog.meta("embedder_name") is None:  # another process may have been first
                for key, value in identity.items():
                    catalog.set_meta(f"embedder_{key}", str(value))
    if any(catalog.meta(f"embedder_{key}") != str(value) for key, value in identity.items() if key != "name"):
        raise ModelError(
            f"Collection {catalog.path.parent.name!r} was made with another embedder "
            f"({catalog.meta('embedder_name')}); use that one (--embedder) or ingest into a new one (--collection)."
        )
