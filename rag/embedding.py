"""Embedder: texts -> unit-length float32 vectors, fast. The only module that uses sentence-transformers.

Knows models, tokens and devices; whose texts they are and where the vectors go is for others.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer

from rag.errors import ModelError
from rag.linear import quantise

Vectors = npt.NDArray[np.float32]

# Tokens of a batch, padding included. On a CPU more would leave the cache and fewer the cores waiting.
_CPU_BATCH = 1024
_OTHER_BATCH = 16384
_SLICE = 512  # texts that are tokenised at once, so that many texts do not hold all their token ids in memory


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

    def __init__(self, folder: Path, device: str, precision: str = "float32") -> None:
        """Load from a local folder; never reaches a network. Raises `ModelError`.

        `precision` is `float32`, or `int8` to run the linear layers in 8-bit integers: on a CPU only.
        """
        if precision not in ("float32", "int8"):
            raise ModelError(f"Unknown precision {precision!r} of the embedder; use float32 or int8.")
        if precision == "int8" and device != "cpu":
            raise ModelError(f"An int8 embedder runs on cpu only, not on {device}; use float32 or the device cpu.")
        self.device = device
        try:
            self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The embedder in {folder} cannot be loaded ({error}); choose another.") from error
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ModelError(f"The embedder in {folder} does not state its dimension; choose another.")
        self.dimension: int = dimension
        if device.startswith("cpu"):
            self._model.float()  # where half precision is many times slower
        if precision == "int8":
            quantise(self._model)

    def embed_passages(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Vectors:
        """Embed passages to shape (n, dimension), in the order of the texts.

        They run longest first, in batches of like length. `on_progress` is called with the number that is done.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        done = 0
        for rows in _batches(self._token_counts(texts), _CPU_BATCH if self.device == "cpu" else _OTHER_BATCH):
            vectors[rows] = self._encode([texts[i] for i in rows], "document")
            done += len(rows)
            if on_progress:
                on_progress(done)
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

    def _token_counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text within the model's window. Only batches are cut by them, so an estimate serves too."""
        tokenizer = getattr(self._model, "tokenizer", None)
        if not callable(tokenizer):  # a model of word vectors
            return [1 + len(text) // 4 for text in texts]
        window = self._model.max_seq_length
        counts: list[int] = []
        for start in range(0, len(texts), _SLICE):
            encoded = tokenizer(list(texts[start : start + _SLICE]), truncation=window is not None, max_length=window)
            counts += [len(ids) for ids in encoded["input_ids"]]
        return counts


def _batches(counts: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of texts, longest first, in batches whose rows x longest row stay within the budget where they can."""
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, counts[order[start]]))
        yield order[start : start + rows]
        start += rows
