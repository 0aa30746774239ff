"""What the catalogue's rows hold, and how vectors and places are written in them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rag.schema import Document, Span

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
_BLOCK = 20_000  # vectors at a time


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when it was last read: what tells whether it changed since."""

    path: str
    size: int
    mtime_ns: int
    document_id: str | None = None
    reason: str | None = None
    read_ns: int = 0  # when it was read


class State(NamedTuple):
    """How far a catalogue's history has come; equal states hold equal passages."""

    seq: int
    token: str  # drawn at random for each change, so that no other copy's history has it


EMPTY = State(0, "")


@dataclass(frozen=True, slots=True)
class Changes:
    """What came and went between two states, as ranges of passage ids, both ends included."""

    added: tuple[tuple[int, int], ...]
    removed: tuple[tuple[int, int], ...]


def place(span: Span) -> tuple[int, int, int | None, int | None, str]:
    """A span as the catalogue's columns."""
    return span.start, span.end, span.first, span.last, json.dumps(span.heading_path)


def checksum(document: Document, places: Sequence[Sequence[object]], blobs: Iterable[bytes]) -> str:
    """The sha256 over what is stored of a document, its passages' places and their vectors."""
    fields = [document.id, document.title, document.media_type, document.text, document.places, document.unit]
    digest = hashlib.sha256(json.dumps([*fields, document.date, dict(document.dropped), places]).encode())
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


def as_ids(rows: Iterator[tuple[Any, ...]]) -> Ids:
    """The first column of rows."""
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def as_blocks(rows: Iterator[tuple[Any, ...]], dimension: int) -> Iterator[tuple[Ids, Vectors]]:
    """Rows of (id, vector's bytes) as ids (n,) and vectors (n, dimension), some thousands at a time.

    Raises `ValueError` where a row holds something else.
    """
    ids: list[int] = []
    blobs = bytearray()
    for passage_id, blob in rows:
        if not isinstance(blob, bytes) or len(blob) != 4 * dimension:
            raise ValueError(f"passage {passage_id} has no vector of {dimension} numbers")
        ids.append(passage_id)
        blobs += blob
        if len(ids) == _BLOCK:
            yield _as_block(ids, blobs)
            ids, blobs = [], bytearray()
    if ids:
        yield _as_block(ids, blobs)


def _as_block(ids: list[int], blobs: bytearray) -> tuple[Ids, Vectors]:
    matrix = np.frombuffer(bytes(blobs), dtype="<f4").reshape(len(ids), -1)
    return np.array(ids, dtype=np.int64), matrix.astype(np.float32, copy=False)
