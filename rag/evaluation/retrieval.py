"""Retrieval over a judged data set -> nDCG, recall and reciprocal rank with their intervals.

The data's passages become a collection of their own for the time of the evaluation, each unsplit, and every query goes
the way of a person's question: through `retrieve`.
"""

import tempfile
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, R, nDCG

from rag.evaluation.bootstrap import interval
from rag.evaluation.collection import Embeds, Progress, make_collection
from rag.evaluation.judged import Judged
from rag.retrieval import Mode, Reranker, retrieve

DEPTH = 10
_MEASURES = {
    "ndcg@10": nDCG @ 10,
    "recall@1": R @ 1,
    "recall@5": R @ 5,
    "recall@10": R @ 10,
    "mrr": RR @ DEPTH,
}


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
        index = make_collection(Path(folder) / "judged", data.passages, embedder, advance)
        began = time.perf_counter()
        for n, (query, question) in enumerate(data.queries.items(), start=1):
            embed = embedder.embed_question if embedder else _nothing
            found = retrieve(index, embed, question, DEPTH, mode=mode, reranker=reranker)
            run[query] = {p.passage.source: 1.0 / p.rank for p in found}
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
    table = {name: list(of_queries.values()) for name, of_queries in values.items()}
    means = {name: sum(row) / len(row) for name, row in table.items()}
    return means, {name: interval(row) for name, row in table.items()}


def _nothing(question: str) -> npt.NDArray[np.float32]:
    raise ValueError("only lexical retrieval does without an embedder")
