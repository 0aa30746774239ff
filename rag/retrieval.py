"""Question -> passages, best first: nearest vectors and best-matching words, fused.

Knows an open index and a function that embeds a question; how either came to be is for others.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rag.errors import InputError
from rag.index import LocalIndex
from rag.schema import Filter, RetrievedPassage

CANDIDATES = 100  # of each kind
DENSE_WEIGHT = 0.5
EVERYTHING = Filter()


EmbedQuestion = Callable[[str], npt.NDArray[np.float32]]  # -> a unit vector (dimension,)


def retrieve(
    index: LocalIndex, embed: EmbedQuestion, question: str, k: int, keep: Filter = EVERYTHING
) -> list[RetrievedPassage]:
    """The k passages that suit a question best, among those that a filter keeps.

    Raises `InputError` for an empty question.

    A convex combination of scores (Bruch et al. 2023, "An Analysis of Fusion Functions for Hybrid Retrieval"):
    0.5 max(cosine, 0) + 0.5 BM25 / highest BM25. Unlike reciprocal ranks it keeps how sure each side is, so an English
    embedder does not spoil what words find in Chinese.
    """
    if not question.strip():
        raise InputError("The question is empty; ask something.")
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise InputError("The question is not valid text; type it in the terminal's own encoding.")
    vector = embed(question)
    with index.reading():
        allowed = index.matching(keep)
        lexical = dict(index.search_lexical(question, CANDIDATES, allowed))
        dense = dict(index.search_dense(vector, CANDIDATES, allowed))
        dense |= index.similarities(vector, [i for i in lexical if i not in dense])
        stored = index.passages(sorted(dense | lexical))
    highest = max(lexical.values(), default=0.0) or 1.0

    def fused(i: int) -> float:
        return DENSE_WEIGHT * max(dense.get(i, 0.0), 0.0) + (1 - DENSE_WEIGHT) * lexical.get(i, 0.0) / highest

    best = sorted(stored, key=lambda i: (-fused(i), i))[:k]
    return [
        RetrievedPassage(stored[i], rank, fused(i), dense.get(i), lexical.get(i))
        for rank, i in enumerate(best, start=1)
    ]
