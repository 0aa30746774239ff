"""Embedder: texts -> unit-length float32 vectors. The only module that uses sentence-transformers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer

from rag.errors import ModelError

Vectors = npt.NDArray[np.float32]


def choose_device(name: str) -> str:
    """`auto` -> cuda, else mps, else cpu; others as they are. Raises `ModelError` for a device that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available.get(name.split(":")[0], False):
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise ModelError(f"Device {name!r} is not available here; use auto or one of: {there}.")
    return name


class Embedder:
    """A loaded embedding model. Passages and questions use the model's own prompts where it has them."""

    def __init__(self, folder: Path, device: str) -> None:
        """Load from a local folder; never reaches a network. Raises `ModelError`."""
        self.device = device
        try:
            self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The embedder in {folder} cannot be loaded ({error}); choose another.") from error
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ModelError(f"The embedder in {folder} does not state its dimension; choose another.")
        self.dimension: int = dimension

    def embed_passages(
        self, texts: Sequence[str], batch_size: int = 32, on_progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Embed passages to shape (n, dimension), longest first so that a batch holds texts of like length.

        `on_progress` is called with the number of texts that are done.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self._encode([texts[i] for i in rows], "document")
            if on_progress:
                on_progress(start + len(rows))
        return vectors

    def embed_question(self, question: str) -> Vectors:
        """Embed one question to shape (dimension,)."""
        vector: Vectors = self._encode([question], "query")[0]
        return vector

    def _encode(self, texts: list[str], role: str) -> Vectors:
        encode = self._model.encode_query if role == "query" else self._model.encode_document
        with torch.inference_mode():
            return np.asarray(
                encode(texts, batch_size=len(texts), show_progress_bar=False, normalize_embeddings=True),
                dtype=np.float32,
            )
