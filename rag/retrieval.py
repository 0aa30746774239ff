"""Question -> passages, best first: nearest vectors and best-matching words, fused.

Knows an open index and a question's vector; how either came to be is for others.
"""

import numpy as np
import numpy.typing as npt

from rag.index import LocalIndex
from rag.schema import RetrievedPassage

CANDIDATES = 100  # of each kind
DENSE_WEIGHT = 0.5


def retrieve(index: LocalIndex, question: str, vector: npt.NDArray[np.float32], k: int) -> list[RetrievedPassage]:
    """The k passages that answer best to a question and its unit vector (dimension,).

    A convex combination of scores (Bruch et al. 2023, "An Analysis of Fusion Functions for Hybrid Retrieval"):
    0.5 max(cosine, 0) + 0.5 BM25 / highest BM25. Unlike reciprocal ranks it keeps how sure each side is, so an English
    embedder does not spoil what words find in Chinese.
    """
    lexical = dict(index.search_lexical(question, CANDIDATES))
    nearest = index.search_dense(vector, CANDIDATES)
    dense = dict(nearest) | index.similarities(vector, [i for i in lexical if i not in dict(nearest)])
    stored = index.passages(sorted(dense | lexical))
    highest = max(lexical.values(), default=0.0) or 1.0

    def fused(i: int) -> float:
        return DENSE_WEIGHT * max(dense.get(i, 0.0), 0.0) + (1 - DENSE_WEIGHT) * lexical.get(i, 0.0) / highest

    best = sorted(stored, key=lambda i: (-fused(i), i))[:k]
    return [
        RetrievedPassage(stored[i], rank, fused(i), dense.get(i), lexical.get(i)) for rank, i in enumerate(best, start=1)
    ]
