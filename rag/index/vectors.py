"""FAISS: exact nearest neighbours over the catalogue's vectors. A cache in memory, rebuilt when a collection is opened.

Vectors have length one, so that the inner product is the cosine similarity. Knows ids and vectors only.
"""

from collections.abc import Iterable

import faiss
import numpy as np
import numpy.typing as npt


class VectorIndex:
    """A flat inner-product index with the catalogue's passage ids."""

    def __init__(self, dimension: int) -> None:
        """Start empty."""
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Add vectors (n, dimension) under ids (n,) that are not in the index yet."""
        if len(ids):
            self._index.add_with_ids(vectors, ids)

    def remove(self, ids: npt.NDArray[np.int64]) -> None:
        """Drop the vectors of these ids."""
        if len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(ids))

    def ids(self) -> npt.NDArray[np.int64]:
        """The ids of all vectors, in no particular order."""
        return np.asarray(faiss.vector_to_array(self._index.id_map), dtype=np.int64)

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """(id, cosine similarity) of the k nearest to a vector (dimension,), best first; fewer in a smaller index."""
        if not self._index.ntotal:
            return []
        scores, ids = self._index.search(vector[None, :], min(k, self._index.ntotal))
        return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True)]

    def similarities(self, vector: npt.NDArray[np.float32], ids: Iterable[int]) -> dict[int, float]:
        """The cosine similarity of a vector (dimension,) with those of these ids that are in the index, by id."""
        known = np.intersect1d(np.fromiter(ids, dtype=np.int64), self.ids())
        return {int(i): float(vector @ self._index.reconstruct(int(i))) for i in known}
