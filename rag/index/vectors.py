"""FAISS: nearest neighbours over the catalogue's vectors. A cache in memory, with a snapshot on disk where it is large.

Vectors have length one, so that the inner product is the cosine similarity. Up to 50,000 vectors are compared as they
are (Flat), up to 300,000 with eight bits a number (SQ8), more in lists of which only the nearest are looked through
(IVF-SQ8). The kinds only choose candidates; exact similarities are computed from the catalogue's own vectors.
Knows ids and vectors only.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rag.index.records import EMPTY, Ids, State, Vectors

_faiss: Any = faiss  # its type stubs know the C++ signatures only, not the Python ones
FLAT_UP_TO = 50_000
SQ8_UP_TO = 300_000
_PROBED_LISTS = 32
_TRAINING_PER_LIST = 64


def kind_for(count: int) -> str:
    """The kind of index for a number of vectors, in FAISS's own names."""
    if count <= FLAT_UP_TO:
        return "Flat"
    if count <= SQ8_UP_TO:
        return "SQ8"
    return f"IVF{2 ** round(np.log2(2 * np.sqrt(count)))},SQ8"


def training_size(kind: str) -> int:
    """How many vectors teach an index of this kind its ranges and lists."""
    lists = kind.split(",")[0].removeprefix("IVF")
    return int(lists) * _TRAINING_PER_LIST if lists.isdecimal() else {"Flat": 0}.get(kind, 20_000)


class VectorIndex:
    """An index with the catalogue's passage ids, and the catalogue's state that it shows."""

    def __init__(self, dimension: int, kind: str = "Flat", sample: Vectors | None = None) -> None:
        """Start empty; kinds other than Flat learn from a sample (n, dimension)."""
        self.kind = kind
        self.state = EMPTY
        self.dimension = dimension
        index: Any = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        if sample is not None and not index.is_trained:
            index.train(sample)
        # IDMap2 over IVF loses ids when vectors are removed; IVF keeps ids itself.
        self._index: Any = index if kind.startswith("IVF") else faiss.IndexIDMap2(index)

    @property
    def count(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, dimension) under ids (n,) that are not in the index yet."""
        self._index.add_with_ids(vectors, ids)

    def remove(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Drop the vectors with ids in these ranges, both ends included."""
        ids = [np.arange(first, last + 1, dtype=np.int64) for first, last in ranges]
        if ids:
            self._index.remove_ids(faiss.IDSelectorBatch(np.concatenate(ids)))

    def search(self, vector: npt.NDArray[np.float32], k: int, allowed: Ids | None = None) -> list[int]:
        """The ids of the k nearest to a vector (dimension,), best first; of these ids (ascending) only, if given."""
        k = min(k, self.count if allowed is None else len(allowed))
        if k == 0:
            return []
        found = self._search(vector, k, allowed, _PROBED_LISTS)
        if len(found) < k and self.kind.startswith("IVF"):
            return self._search(vector, k, allowed, self._index.nlist)  # what is allowed lies in lists far away
        return found

    def _search(self, vector: npt.NDArray[np.float32], k: int, allowed: Ids | None, lists: int) -> list[int]:
        _, ids = self._index.search(vector[None, :], k, params=self._parameters(allowed, lists))
        return [int(i) for i in ids[0] if i >= 0]

    def _parameters(self, allowed: Ids | None, lists: int) -> Any:
        """More lists are looked through the fewer ids are allowed, since each list holds fewer of them."""
        selector = None if allowed is None else _selector(allowed)
        if not self.kind.startswith("IVF"):
            return _faiss.SearchParameters(sel=selector)
        share = 1.0 if allowed is None else max(len(allowed), 1) / max(self.count, 1)
        return _faiss.SearchParametersIVF(sel=selector, nprobe=min(self._index.nlist, int(lists / share)))

    def save(self, file: Path) -> None:
        """Write a snapshot aside, make it durable, then put it in place."""
        body = faiss.serialize_index(self._index).data
        header = {"kind": self.kind, "dimension": self.dimension, "seq": self.state.seq, "token": self.state.token}
        text = json.dumps(header).encode() + b"\n"
        aside = file.with_suffix(".new")
        with aside.open("wb") as out:
            out.write(_checksum(text, body) + text)
            out.write(body)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(file)
        sync_folder(file.parent)

    @classmethod
    def load(cls, file: Path, dimension: int) -> "VectorIndex | None":
        """The index of a snapshot; None where there is none that is whole and has this dimension."""
        try:
            with file.open("rb") as content:
                checksum, text, body = content.readline(), content.readline(), content.read()
        except OSError:
            return None
        # FAISS trusts what it reads: only what this program wrote gets that far.
        if checksum != _checksum(text, body):
            return None
        header = json.loads(text)
        if header["dimension"] != dimension:
            return None
        loaded = cls(dimension)
        loaded._index = faiss.deserialize_index(np.frombuffer(body, dtype=np.uint8))
        loaded.kind, loaded.state = header["kind"], State(header["seq"], header["token"])
        return loaded


def _checksum(header: bytes, body: bytes | memoryview) -> bytes:
    """The first line of a snapshot."""
    digest = hashlib.sha256(header)
    digest.update(body)
    return b"openbook vectors 1 " + digest.hexdigest().encode() + b"\n"


def build(dimension: int, kind: str, sample: Vectors, blocks: Iterator[tuple[Ids, Vectors]]) -> VectorIndex:
    """An index of a kind that learnt from a sample and holds all blocks."""
    index = VectorIndex(dimension, kind, sample)
    for ids, vectors in blocks:
        index.add(ids, vectors)
    return index


def sync_folder(folder: Path) -> None:
    """Make the renaming of files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _selector(allowed: Ids) -> Any:
    """A bit for each id up to the highest allowed."""
    bits = np.zeros(int(allowed[-1]) + 1 if len(allowed) else 1, dtype=bool)
    bits[allowed] = True
    return _faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
