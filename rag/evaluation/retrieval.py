"""Retrieval over a judged data set -> nDCG, recall and reciprocal rank with their intervals.

The data's passages become a collection of their own for the time of the evaluation, each unsplit, and every query goes
the way of a person's question: through `retrieve`.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, R, nDCG

from rag.evaluation.judged import Judged
from rag.index import LocalIndex, open_index
from rag.index.records import Source
from rag.retrieval import Mode, Reranker, retrieve
from rag.schema import Document, Span

DEPTH = 10
_MEASURES = {
    "ndcg@10": nDCG @ 10,
    "recall@1": R @ 1,
    "recall@5": R @ 5,
    "recall@10": R @ 10,
    "mrr": RR @ DEPTH,
}
_RESAMPLES = 2000
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


def evaluate_retrieval(
    data: Judged,
    embedder: Embeds | None,
    mode: Mode = "hybrid",
    reranker: Reranker | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Metrics over all queries, 95 % intervals, and milliseconds a query. `embedder` may be None in lexical mode."""
    advance = on_progress or (lambda done, total, what: None)
    run: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        index, names = _index(Path(folder) / "judged", data, embedder, advance)
        began = time.perf_counter()
        for n, (query, question) in enumerate(data.queries.items(), start=1):
            embed = embedder.embed_question if embedder else _nothing
            found = retrieve(index, embed, question, DEPTH, mode=mode, reranker=reranker)
            run[query] = {names[p.passage.source]: 1.0 / p.rank for p in found}
            advance(n, len(data.queries), "queries")
        took = time.perf_counter() - began
        index.close()
    metrics, intervals = measure(data.relevant, run)
    return {
        "metrics": metrics,
        "intervals": intervals,
        "queries": len(data.queries),
        "passages": len(data.passages),
        "mode": mode,
        "rerank": reranker.name if reranker else None,
        "milliseconds_per_query": 1000 * took / len(data.queries),
    }


def measure(
    relevant: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The mean of each measure over the queries, 0 to 1, and its 95 % percentile bootstrap interval.

    `relevant` and `run` give a grade and a score for each passage of each query; a query without results counts as 0.
    """
    # The library under ir-measures keeps ids as C strings: numbers are safe whatever the data's own ids are.
    queries = {query: str(n) for n, query in enumerate(relevant)}
    passages = {p: str(n) for n, p in enumerate(dict.fromkeys(chain(*relevant.values(), *run.values())))}
    judged, found = (
        {queries[query]: {passages[p]: grade for p, grade in of_query.items()} for query, of_query in side.items()}
        for side in (relevant, run)
    )
    values = {name: dict.fromkeys(judged, 0.0) for name in _MEASURES}
    names = {measure: name for name, measure in _MEASURES.items()}
    for metric in ir_measures.iter_calc(list(_MEASURES.values()), judged, found):
        values[names[metric.measure]][metric.query_id] = metric.value
    table = np.array([list(of_queries.values()) for of_queries in values.values()])  # (measures, queries)
    samples = np.random.default_rng(0).integers(0, table.shape[1], (_RESAMPLES, table.shape[1]))
    low, high = np.percentile([table[:, sample].mean(axis=1) for sample in samples], [2.5, 97.5], axis=0)
    means = dict(zip(values, table.mean(axis=1).tolist(), strict=True))
    return means, dict(zip(values, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _index(folder: Path, data: Judged, embedder: Embeds | None, advance: Progress) -> tuple[LocalIndex, dict[str, str]]:
    """A collection of the passages, and the name of each by its path in there."""
    dimension = embedder.dimension if embedder else 1
    index = open_index(folder, {"name": "evaluation", "dimension": dimension}, create=True)
    rows = list(data.passages.items())
    names = {}
    with index.writing():
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            texts = [text for _, text in block]
            vectors = embedder.embed_passages(texts) if embedder else np.zeros((len(texts), 1), dtype=np.float32)
            for (name, text), vector in zip(block, vectors, strict=True):
                document_id = hashlib.sha256(name.encode()).hexdigest()
                names[document_id] = name
                document = Document(document_id, (document_id,), name, "text/plain", text)
                source = Source(document_id, len(text), 0, document_id)
                index.put_document(document, [Span(0, len(text))], vector[None, :], source)
            advance(start + len(block), len(rows), "passages")
    return index, names


def _nothing(question: str) -> npt.NDArray[np.float32]:
    raise ValueError("only lexical retrieval does without an embedder")
