"""Our embedder against `SentenceTransformer.encode`, and int8 against float32: same texts, in turns in one run.

    python -m benchmarks.embedding [--one-thread] [--scifact FOLDER]

With --one-thread it counts the processor time of a single thread, which says the same on a machine that others use at
the same time; else the time on the clock. FOLDER is SciFact in BEIR's layout; with it, nDCG@10 of both precisions by
exact search (published for the bundled model in float32: 64.51), which takes minutes.
"""

import argparse
import csv
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from rag.embedding import Embedder
from rag.models import bundled_file

DOCUMENTS = Path(__file__).parents[1] / "examples" / "documents"
ROUNDS = 9


def run(one_thread: bool, scifact: Path | None) -> None:
    clock = time.thread_time if one_thread else time.perf_counter
    if one_thread:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        torch.set_num_threads(1)
    folder = bundled_file("embedder")
    peer = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    ours, int8 = Embedder(folder, "cpu"), Embedder(folder, "cpu", "int8")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {ROUNDS} rounds each")
    for name, texts in text_sets(peer).items():
        assert np.allclose(ours.embed_passages(texts), peer.encode(texts, show_progress_bar=False), atol=1e-5)
        seconds = in_turns(
            clock,
            {
                "encode": lambda t=texts: peer.encode(t, show_progress_bar=False),
                "float32": lambda t=texts: ours.embed_passages(t),
                "int8": lambda t=texts: int8.embed_passages(t),
            },
        )
        print(f"{name}: {', '.join(f'{k} {statistics.median(v):.2f} s' for k, v in seconds.items())}")
        print(f"    time of float32 / encode: {ratio(seconds['float32'], seconds['encode'])}")
        print(f"    speed of int8 / float32:  {ratio(seconds['float32'], seconds['int8'])}", flush=True)
    if scifact:
        for precision, embedder in (("float32", ours), ("int8", int8)):
            print(f"SciFact nDCG@10, {precision}: {100 * ndcg_at_10(embedder, scifact):.2f}", flush=True)


def text_sets(model: SentenceTransformer) -> dict[str, list[str]]:
    """Passages cut at random out of the English examples, by number of tokens.

    Chinese has far more tokens a character: among English, `encode`, which sorts by characters, takes twice our time.
    """
    files = sorted(p for p in DOCUMENTS.rglob("*") if p.suffix in (".md", ".txt") and "-zh" not in p.name)
    text = "\n".join(p.read_text(encoding="utf-8") for p in files)
    offsets = model.tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"][1:-1]
    chance = random.Random(0)

    def passage(tokens: int) -> str:
        first = chance.randrange(len(offsets) - tokens)
        return text[offsets[first][0] : offsets[first + tokens - 1][1]]

    mixed = [passage(max(5, min(250, int(chance.lognormvariate(4.3, 0.8))))) for _ in range(128)]
    about_128 = [passage(chance.randint(112, 140)) for _ in range(96)]
    return {"128 passages, 5 to 250 tokens": mixed, "96 of about 128": about_128, "12 of about 128": about_128[:12]}


def in_turns(clock: Callable[[], float], calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each call in each round; the order is drawn anew every round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    chance = random.Random(0)
    for _ in range(ROUNDS):
        for name in chance.sample(list(calls), len(calls)):
            began = clock()
            calls[name]()
            seconds[name].append(clock() - began)
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    """The median of the rounds' ratios, their range, and the ratio of the two fastest rounds."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return (
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)}), "
        f"of the fastest {min(above) / min(below):.2f}"
    )


def ndcg_at_10(embedder: Embedder, folder: Path) -> float:
    """The mean over the test queries, by exact search; title and abstract are one text, as BEIR joins them."""
    corpus = {d["_id"]: f"{d['title']} {d['text']}".strip() for d in rows(folder / "corpus.jsonl")}
    queries = {q["_id"]: q["text"] for q in rows(folder / "queries.jsonl")}
    wanted: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            wanted.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    ids = list(corpus)
    vectors = embedder.embed_passages(list(corpus.values()))
    discounts = 1 / np.log2(np.arange(2, 12))
    values = []
    for query, scores in wanted.items():
        best = np.argsort(-(vectors @ embedder.embed_question(queries[query])))[:10]
        gains = np.array([scores.get(ids[i], 0) for i in best])
        ideal = np.array(sorted(scores.values(), reverse=True)[:10])
        values.append((gains @ discounts) / (ideal @ discounts[: len(ideal)]))
    return float(np.mean(values))


def rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding")
    parser.add_argument("--scifact", type=Path)
    parser.add_argument("--one-thread", action="store_true")
    arguments = parser.parse_args()
    run(arguments.one_thread, arguments.scifact)
