"""Hybrid search in large collections: time, recall against exact search, filters, and two peers in the same run.

    python -m benchmarks.retrieval [--passages 100000] [--data XQUAD.json] [--peers PYTHON]

Passages recombine sentences of the data (a SQuAD-format file; by default the examples and their questions). Their
vectors are those of the sentences with noise, so that neighbours are as near as real text's; the questions are real.
`--peers` names the Python of an environment with chromadb and bm25s.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.collection import EXAMPLES, documents, identity, real_passages
from rag.embedding import Embedder
from rag.evaluation.judged import read_judged
from rag.index import open_index
from rag.index.records import Source
from rag.models import bundled_file
from rag.retrieval import retrieve
from rag.schema import Filter

NAME = "passages"
PER_DOCUMENT = 100
FOLDERS = 100  # a filter on one of them keeps 1 %


def base(data, number):
    """Texts and vectors to recombine, and questions with their vectors."""
    embedder = Embedder(bundled_file("embedder"), "cpu")
    if data:
        judged = read_judged(data)
        texts = list(judged.passages.values())
        sentences = [s.strip() for text in texts for s in text.split(". ") if len(s) > 20]
        questions = list(judged.queries.values())
        vectors = embedder.embed_passages(sentences)
    else:
        sentences, vectors = real_passages()
        lines = (EXAMPLES.parent / "questions.jsonl").read_text(encoding="utf-8").split("\n")
        questions = [json.loads(line)["question"] for line in lines if line]
    step = max(1, len(questions) // number)
    questions = questions[::step][:number]
    return sentences, vectors, questions, np.stack([embedder.embed_question(q) for q in questions])


def build(folder, passages, texts, vectors):
    index = open_index(folder, identity(), create=True)
    with index.writing():
        for n, (document, spans, rows) in enumerate(documents(passages // PER_DOCUMENT, texts, vectors)):
            source = Source(f"/{n % FOLDERS}/{n}.txt", 1, 1, document.id)
            index.put_document(document, spans, rows, source)
    return index


def times(search, items):
    """Milliseconds of each call, after some that warm up."""
    for item in items[:20]:
        search(item)
    took = []
    for item in items:
        began = time.perf_counter()
        search(item)
        took.append(1000 * (time.perf_counter() - began))
    return np.array(took)


def show(name, took, note=""):
    print(f"{name:38} median {np.median(took):6.1f} ms, p95 {np.percentile(took, 95):6.1f} ms{note}", flush=True)


def exact(index, queries, k=10):
    """The ids of the k nearest by exact comparison, a row a query."""
    ids, scores = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for block_ids, block in index.catalog.vectors_between(0, 2**62):
        scores = np.hstack([scores, queries @ block.T])
        ids = np.hstack([ids, np.broadcast_to(block_ids, (len(queries), len(block_ids)))])
        best = np.argsort(-scores, axis=1)[:, :k]
        ids, scores = np.take_along_axis(ids, best, 1), np.take_along_axis(scores, best, 1)
    return ids


def ours(index, questions, queries):
    pairs = list(zip(questions, queries, strict=True))
    one = Filter(folders=("/7",))
    began = time.perf_counter()
    with index.reading():
        print(f"opening {time.perf_counter() - began:.1f} s, {index.kind}", flush=True)
    forget([index.folder])
    show("hybrid, 10 passages, from a cold disk", times(lambda p: retrieve(index, lambda q: p[1], p[0], 10), pairs))
    for file in (file for file in index.folder.rglob("*") if file.is_file()):
        with file.open("rb") as content:
            while content.read(1 << 24):  # into the disk's cache
                pass
    show("hybrid, 10 passages", times(lambda p: retrieve(index, lambda q: p[1], p[0], 10), pairs))
    kept = times(lambda p: retrieve(index, lambda q: p[1], p[0], 10, one), pairs)
    show("hybrid, a filter keeps 1 %", kept)
    with index.reading():
        allowed = index.matching(one)
        counts = [len(retrieve_ids(index, p, allowed)) for p in pairs[:20]]
        print(f"the filter keeps {len(allowed)} passages; {min(counts)} of 10 came back at least")
        show("  vectors", times(lambda p: index.search_dense(p[1], 100), pairs))
        show("  words", times(lambda p: index.search_lexical(p[0], 100), pairs))
        show("  vectors, filter", times(lambda p: index.search_dense(p[1], 100, allowed), pairs))
        show("  words, filter", times(lambda p: index.search_lexical(p[0], 100, allowed), pairs))
        show("  the filter itself", times(lambda p: index.matching(one), pairs))
        truth = exact(index, queries)
        found = [[i for i, _ in index.search_dense(q, 10)] for q in queries]
        hits = [len(set(f) & set(t.tolist())) / 10 for f, t in zip(found, truth, strict=True)]
    print(f"recall@10 of the vectors against exact search {np.mean(hits):.3f}", flush=True)
    return truth


def retrieve_ids(index, pair, allowed):
    return index.search_dense(pair[1], 10, allowed)


def forget(folders):
    """Drop files from the disk's cache, as far as nobody else holds them."""
    for file in (file for folder in folders for file in Path(folder).rglob("*") if file.is_file()):
        with file.open("rb") as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def whole_command(home, question):
    """Seconds of `rag search`, files out of the cache and in it, and of what it imports."""
    rag = [sys.executable, "-m", "ui.cli", "search", question, "--home", str(home), "--collection", NAME, "--quiet"]
    commands = {
        "rag search": rag,
        "rag search --mode lexical": [*rag, "--mode", "lexical"],
        "  loading torch and the embedder's library": [sys.executable, "-c", "import rag.assistant"],
    }
    packages = Path(np.__file__).parents[1]
    for name, command in commands.items():
        forget([home, packages])
        took = []
        for _ in range(4):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took.append(time.perf_counter() - began)
        print(f"{name:42} cold {took[0]:5.2f} s, warm {min(took[1:]):.2f} to {max(took[1:]):.2f} s (n=3)", flush=True)


def peers(python, folder, index, questions, queries, truth, data):
    """The same passages and queries through chromadb (its default settings) and bm25s."""
    ids, blocks = zip(*index.catalog.vectors_between(0, 2**62), strict=True)
    np.savez(
        folder / "vectors.npz", ids=np.concatenate(ids), vectors=np.concatenate(blocks), queries=queries, truth=truth
    )
    texts = [text for _, text in index.catalog.texts(0, 2**62)]
    (folder / "texts.json").write_text(json.dumps({"texts": texts, "questions": questions}), encoding="utf-8")
    command = [python, str(Path(__file__).with_name("retrieval_peers.py")), str(folder), *([str(data)] if data else [])]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folder", type=Path, help="where the collection is made; it is thrown away afterwards")
    parser.add_argument("--keep", type=Path, metavar="HOME", help="make the collection here, or use the one here")
    parser.add_argument("--peers", metavar="PYTHON")
    options = parser.parse_args()
    texts, vectors, questions, queries = base(options.data, options.queries)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        home = (options.keep or Path(folder)).absolute()
        place = home / "collections" / NAME
        began = time.perf_counter()
        made = not (place / "catalog.sqlite").exists()
        index = build(place, options.passages, texts, vectors) if made else open_index(place, identity())
        print(f"{options.passages:,} passages, made in {time.perf_counter() - began:.0f} s", flush=True)
        truth = ours(index, questions, queries)
        whole_command(home, questions[0])
        if options.peers:
            peers(options.peers, Path(folder), index, questions, queries, truth, options.data)
        index.close()


if __name__ == "__main__":
    main()
