"""Judges of a question and a passage together, since what is similar is not yet what is relevant.

Slower than retrieval by orders, so they only order its best passages. The only module that uses cross-encoders.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sentence_transformers import CrossEncoder

from rag.errors import ModelError
from rag.retrieval import Reranker

_BATCH = 8
_LIKELIHOOD_WEIGHT = 0.2  # alone, a small model's likelihood orders no better than what was retrieved
_ASK = "\n\nQuestion:"
Encode = Callable[[str, bool], list[int]]  # (text, trusted) -> token ids
# rows of (prompt ids, n ids) -> the log-probabilities (n,) of each row
LogProbs = Callable[[Sequence[tuple[Sequence[int], Sequence[int]]]], Sequence[npt.NDArray[np.float32]]]


def cross_encoder(folder: Path, device: str) -> Reranker:
    """A model that reads question and passage as one text (Nogueira and Cho 2019). Raises `ModelError`."""
    try:
        model = CrossEncoder(str(folder), device=device, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The cross-encoder in {folder} cannot be loaded ({error}); choose another.") from error
    if model.num_labels != 1:
        raise ModelError(f"The model in {folder} gives {model.num_labels} scores a pair; a cross-encoder gives one.")
    if device.startswith("cpu"):
        model.float()  # where half precision is many times slower

    def score(question: str, texts: Sequence[str]) -> Sequence[float]:
        pairs = [(question, text) for text in texts]
        return [float(s) for s in model.predict(pairs, batch_size=_BATCH, show_progress_bar=False)]

    return Reranker(f"cross-encoder {folder.name}", score)


def question_likelihood(encode: Encode, score: LogProbs, window: int) -> Reranker:
    """The language model as the judge: how probable is the question after the passage?

    Mean log P(token of the question | passage, tokens before) in nats (Sachan et al. 2022, "Improving Passage Retrieval
    with Zero-Shot Question Generation"). A passage that is too long for the context window is read up to there.
    """

    ask = encode(_ASK, True)

    def score_all(question: str, texts: Sequence[str]) -> Sequence[float]:
        ids = encode(f" {question}", False)[: window // 2]
        room = max(0, window - len(ask) - len(ids))
        rows = [(encode(text, False)[:room] + ask, ids) for text in texts]
        return [float(logprobs.mean()) for logprobs in score(rows)]

    return Reranker("mean log P(question | passage)", score_all, _LIKELIHOOD_WEIGHT)
