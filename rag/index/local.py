"""LocalIndex: a collection in a folder. The catalogue is the truth; the vector and word indexes follow it.

    COLLECTION/
      catalog.sqlite     documents, passages, vectors: what must not be lost
      lexical/           words; made anew where it does not show the catalogue's state
      vectors.snapshot   FAISS, where there are many vectors; made anew likewise
      writer.lock        one writer at a time

A reader that stays open follows what another process commits, and answers from one committed state.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from rag.errors import CollectionError, LockedError, ModelError, RagError
from rag.index import next_embedder
from rag.index.catalog import Catalog
from rag.index.database import FILE
from rag.index.lexical import LexicalIndex
from rag.index.records import Ids, Source, Vectors
from rag.index.vectors import VectorIndex, build, kind_for, training_size
from rag.schema import Document, Filter, Passage, Span

_COURTESY = 2.0  # seconds that a writer waits for a reader who brings the word index up to date
_PATIENCE = 60.0  # seconds that a reader waits for a writer in the middle of a commit
_TAIL = 0.02  # the share of vectors that may be newer than the snapshot


class LocalIndex:
    """An open collection. One thread at a time; several processes may read while one writes."""

    def __init__(self, catalog: Catalog) -> None:
        """Follow an open catalogue."""
        folder = self.folder = catalog.path.parent
        self.catalog = catalog
        self._identity = catalog.embedder()
        self._snapshot = folder / "vectors.snapshot"
        self._vectors: VectorIndex | None = None
        # tantivy needs a lock file even to read: where none can be written, a copy of the words is searched.
        self._copy = None if os.access(folder, os.W_OK) else tempfile.TemporaryDirectory()
        caches = Path(self._copy.name) if self._copy else folder
        if self._copy and (folder / "lexical").is_dir():
            shutil.copytree(folder / "lexical", caches / "lexical")
        self._lexical = LexicalIndex(caches / "lexical")
        self._lock = FileLock(caches / "writer.lock", timeout=0)

    def close(self) -> None:
        """Close the catalogue."""
        self.catalog.close()
        if self._copy:
            self._copy.cleanup()

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return int(self._identity["dimension"])

    @property
    def kind(self) -> str:
        """The kind of FAISS index that suits the number of passages."""
        return kind_for(self.catalog.count())

    # writing

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other writers out. Raises `LockedError`."""
        self._check_place()
        try:
            self._lock.acquire(timeout=_COURTESY)
        except Timeout:
            raise LockedError(
                f"Another process is writing to {self.folder}; wait until it ends and try again."
            ) from None
        try:
            self._check_place()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one writer; the caches catch up when the block ends. Raises `LockedError`."""
        with self.locked():
            self._check_embedder()
            try:
                yield
                self._settle()
            except BaseException:
                with contextlib.suppress(RagError, OSError):  # the first error is the one to tell
                    self.publish()
                raise

    def put_document(
        self, document: Document, spans: Sequence[Span], vectors: Vectors, source: Source, reader: str = ""
    ) -> None:
        """Store a document with its passages' vectors (n, dimension), durably; see `Catalog.put_document`."""
        self.catalog.put_document(document, spans, vectors, source, reader)

    def has_embedder(self, identity: dict[str, str | int]) -> bool:
        """Whether the vectors are those of this embedder, whatever it is called."""
        return is_same_embedder(self.catalog, identity)

    def is_current(self) -> bool:
        """Whether the vectors are still those of the embedder that it was opened with."""
        return self.catalog.embedder() == self._identity

    def finish_next(self, identity: dict[str, str | int]) -> None:
        """Let another embedder's passages answer from now on; see `next_embedder`. For the writer."""
        next_embedder.swap_in(self.catalog, identity)
        self._identity = self.catalog.embedder()
        self._vectors = None
        self._snapshot.unlink(missing_ok=True)
        self.publish()

    def publish(self) -> None:
        """Let the word index show what was committed; until then readers wait. For the writer."""
        with self.catalog.transaction(write=False):
            state = self.catalog.state()
            shown = self._lexical.state()
            if shown == state:
                return
            changes = self.catalog.changes_since(shown) if shown else None
            if changes is None:
                self._lexical.reset()
                changes = self.catalog.everything()
            removed = (i for first, last in changes.removed for i in range(first, last + 1))
            added = (row for first, last in changes.added for row in self.catalog.texts(first, last))
            self._lexical.update(removed, added, state, self.catalog.count())

    def _settle(self) -> None:
        """Bring the caches up to date and rid them of what was deleted."""
        self.publish()
        with self.catalog.transaction(write=False):
            self._lexical.purge(self._texts)
            self._save_vectors()

    def _texts(self, ids: Sequence[int]) -> Iterable[tuple[int, str]]:
        return ((passage.id, passage.text) for passage in self.catalog.stream_passages(ids))

    def _save_vectors(self) -> None:
        """Write a snapshot where there are many vectors and the present one is too old or holds deleted ones."""
        count = self.catalog.count()
        if kind_for(count) == "Flat":
            self._snapshot.unlink(missing_ok=True)
            return
        self._follow_vectors()
        saved = VectorIndex.load(self._snapshot, self.dimension)
        changes = self.catalog.changes_since(saved.state) if saved else None
        newer = sum(last - first + 1 for first, last in changes.added) if changes else count
        if self._vectors and (changes is None or changes.removed or newer > _TAIL * count):
            self._vectors.save(self._snapshot)

    # repair, for the writer

    def indexed_ids(self) -> Ids:
        """The ids of the passages that the word index holds, ascending; none where it shows another state."""
        return self._lexical.ids() if self._lexical.state() == self.catalog.state() else np.empty(0, dtype=np.int64)

    def rebuild_words(self) -> None:
        """Make the word index anew."""
        self._lexical.reset()
        self.publish()

    def has_true_snapshot(self) -> bool:
        """Whether the snapshot can catch up with the catalogue; that there is none is no harm."""
        if not self._snapshot.exists():
            return True
        saved = VectorIndex.load(self._snapshot, self.dimension)
        return saved is not None and self.catalog.changes_since(saved.state) is not None

    def drop_snapshot(self) -> None:
        """Forget the snapshot and what was made of it; both are made anew when the writer is done."""
        self._snapshot.unlink(missing_ok=True)
        self._vectors = None

    # reading

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All searches in the block answer from one committed state. Raises `LockedError`, `ModelError`."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._check_place()
            with self.catalog.transaction(write=False):
                if self._lexical.state() == self.catalog.state():
                    self._check_embedder()
                    self._follow_vectors()
                    yield
                    return
            if time.monotonic() > deadline:
                raise LockedError(f"{self.folder} is being written to; try again when that is done.")
            self._catch_up()

    def _catch_up(self) -> None:
        """Bring the word index up to date, or wait for the writer who is about to."""
        try:
            with self._lock:
                self.publish()
        except Timeout:
            time.sleep(0.005)

    def _check_place(self) -> None:
        """An open file outlives its folder: what was deleted may not answer, nor be written beside its successor."""
        if not self.catalog.is_in_place():
            raise CollectionError(f"Collection {self.folder.name!r} was deleted or replaced; open it again.")

    def _check_embedder(self) -> None:
        if not self.is_current():
            raise ModelError(
                f"Collection {self.folder.name!r} was embedded again with {self.catalog.meta('embedder_name')}; "
                f"choose that embedder (--embedder) and open it again."
            )

    def _follow_vectors(self) -> None:
        """Add to the vector index what is newer and drop what is gone; make it anew where it grew out of its kind."""
        state = self.catalog.state()
        index = self._vectors or VectorIndex.load(self._snapshot, self.dimension)
        if index and index.state == state:
            self._vectors = index
            return
        changes = self.catalog.changes_since(index.state) if index else None
        if index and changes and not self._outgrown(index):
            index.remove(changes.removed)
            for first, last in changes.added:
                for ids, vectors in self.catalog.vectors_between(first, last):
                    index.add(ids, vectors)
        else:
            index = self._build_vectors()
        index.state = state
        self._vectors = index

    def _outgrown(self, index: VectorIndex) -> bool:
        """Whether another kind suits the number of vectors, with room so that a few more or less change nothing."""
        count = self.catalog.count()
        return index.kind not in {kind_for(count), kind_for(int(count / 1.5)), kind_for(int(count * 1.5))}

    def _build_vectors(self) -> VectorIndex:
        count = self.catalog.count()
        kind = kind_for(count)
        size = training_size(kind)
        sample = np.random.default_rng(0).permutation(self.catalog.passage_ids())[:size].tolist() if size else []
        blocks = self.catalog.vectors_between(0, np.iinfo(np.int64).max)
        return build(self.dimension, kind, self.catalog.vectors(sample)[1], blocks)

    def search_dense(
        self, vector: npt.NDArray[np.float32], k: int, allowed: Ids | None = None
    ) -> list[tuple[int, float]]:
        """(passage id, cosine similarity) of the k nearest to a unit vector (dimension,), best first.

        `allowed`, ids ascending, are the only ones to look at. Call it inside `reading`, as all that follow.
        """
        if self._vectors is None:
            return []
        scores = self.similarities(vector, self._vectors.search(vector, k, allowed))
        return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))

    def search_lexical(self, text: str, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """(passage id, BM25) of the k passages that match the words best, best first."""
        return self._lexical.search(text, k, allowed)

    def similarities(self, vector: npt.NDArray[np.float32], ids: Sequence[int]) -> dict[int, float]:
        """The cosine similarity of a unit vector (dimension,) with those of these passages that are stored, by id."""
        stored, vectors = self.catalog.vectors(ids)
        return {int(i): float(score) for i, score in zip(stored, vectors @ vector, strict=True)}

    def matching(self, keep: Filter) -> Ids | None:
        """The ids of the passages that a filter keeps, ascending; None for all."""
        return self.catalog.matching(keep) if keep else None

    def passages(self, ids: Sequence[int]) -> dict[int, Passage]:
        """The passages of these ids that are still stored, by id."""
        return self.catalog.passages(ids)

    def text_between(self, document_id: str, start: int, end: int) -> str:
        """The characters from `start` to `end` of a document that is stored."""
        return self.catalog.text_between(document_id, start, end)


def open_index(folder: Path, identity: dict[str, str | int], create: bool = False) -> LocalIndex:
    """Open a collection made with the embedder of this identity; with `create`, make it where there is none.

    Raises `CollectionError` where there is none, `ModelError` where its embedder is another.
    """
    if create:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    catalog = Catalog(folder) if create else open_catalog(folder)
    _check_identity(catalog, identity)
    return LocalIndex(catalog)


def open_catalog(folder: Path) -> Catalog:
    """The catalogue of a collection that is there. Raises `CollectionError`."""
    if not (folder / FILE).is_file():
        raise CollectionError(
            f"There is no collection {folder.name!r} in {folder.parent}; make it with: rag ingest PATH"
        )
    return Catalog(folder)


def _check_identity(catalog: Catalog, identity: dict[str, str | int]) -> None:
    """Record the embedder of a new collection; refuse one that is not the recorded."""
    if not catalog.embedder():
        with catalog.transaction():
            if not catalog.embedder():  # another process may have been first
                catalog.set_embedder(identity)
    if not is_same_embedder(catalog, identity):
        name = catalog.path.parent.name
        raise ModelError(
            f"Collection {name!r} was made with another embedder ({catalog.meta('embedder_name')}); use that one "
            f"(--embedder), or embed it again with the present one: rag collections reembed {name}"
        )


def is_same_embedder(catalog: Catalog, identity: dict[str, str | int]) -> bool:
    """Whether a catalogue's vectors are those of the embedder of this identity, whatever it is called."""
    wanted = {key: str(value) for key, value in identity.items()}
    return catalog.embedder() | {"name": ""} == wanted | {"name": ""}
