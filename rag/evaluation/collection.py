"""A judged set's own passages as a collection for the time of an evaluation, each of them unsplit."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rag.index import LocalIndex, open_index
from rag.index.records import Source
from rag.schema import Document, Span

_BLOCK = 256  # passages that are embedded and stored between two signs of progress
Progress = Callable[[int, int, str], None]


class Embeds(Protocol):
    """What an embedder does here."""

    dimension: int

    def embed_passages(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, dimension)."""
        ...

    def embed_question(self, question: str) -> npt.NDArray[np.float32]:
        """(dimension,)."""
        ...


def make_collection(
    folder: Path,
    passages: Mapping[str, str],
    embedder: Embeds | None,
    advance: Progress | None = None,
    identity: dict[str, str | int] | None = None,
) -> LocalIndex:
    """A collection of texts by name, in a folder of the caller's; a passage's `source` is its name.

    Without an embedder it can be searched by words only. `identity` is what is recorded of the embedder.
    """
    unnamed: dict[str, str | int] = {"name": "evaluation", "dimension": embedder.dimension if embedder else 1}
    index = open_index(folder, identity or unnamed, create=True)
    rows = list(passages.items())
    with index.writing():
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            texts = [text for _, text in block]
            vectors = embedder.embed_passages(texts) if embedder else np.zeros((len(texts), 1), dtype=np.float32)
            for (name, text), vector in zip(block, vectors, strict=True):
                document_id = hashlib.sha256(name.encode()).hexdigest()
                document = Document(document_id, (name,), name, "text/plain", text)
                source = Source(name, len(text), 0, document_id)
                index.put_document(document, [Span(0, len(text))], vector[None, :], source)
            if advance:
                advance(start + len(block), len(rows), "passages")
    return index
