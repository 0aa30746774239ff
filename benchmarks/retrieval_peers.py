"""chromadb and bm25s over what `benchmarks.retrieval` wrote. Runs in an environment of its own, without Openbook."""

import json
import sys
import tempfile
import time
from pathlib import Path

import bm25s
import chromadb
import numpy as np


def times(search, items):
    for item in items[:20]:
        search(item)
    took = []
    for item in items:
        began = time.perf_counter()
        search(item)
        took.append(1000 * (time.perf_counter() - began))
    return took


def show(name, took, note):
    print(f"{name:38} median {np.median(took):6.1f} ms, p95 {np.percentile(took, 95):6.1f} ms, {note}", flush=True)


def vectors(data):
    with tempfile.TemporaryDirectory() as folder:
        settings = chromadb.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(folder, settings=settings)
        collection = client.create_collection(
            "passages", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        ids = [str(i) for i in data["ids"]]
        began = time.perf_counter()
        for start in range(0, len(ids), 5000):
            collection.add(ids=ids[start : start + 5000], embeddings=data["vectors"][start : start + 5000])
        took = time.perf_counter() - began

        def search(query):
            return collection.query(query_embeddings=[query], n_results=10, include=[])["ids"][0]

        queries = list(data["queries"])
        found = [search(query) for query in queries]
        hits = [len(set(map(int, f)) & set(t.tolist())) / 10 for f, t in zip(found, data["truth"], strict=True)]
        note = f"recall@10 {np.mean(hits):.3f}, made in {took:.0f} s"
        show(f"chromadb {chromadb.__version__}, vectors only", times(search, queries), note)


def words(texts, questions):
    index = bm25s.BM25(method="lucene")
    began = time.perf_counter()
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    took = time.perf_counter() - began

    def search(question):
        tokens = bm25s.tokenize([question], show_progress=False)
        return index.retrieve(tokens, k=10, show_progress=False)

    show(f"bm25s {bm25s.__version__}, words only", times(search, questions), f"made in {took:.0f} s")


def quality(file):
    """nDCG@10 of bm25s on a SQuAD-format file: one relevant paragraph a question."""
    paragraphs, questions = {}, []
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            number = paragraphs.setdefault(paragraph["context"], len(paragraphs))
            questions += [(question["question"], number) for question in paragraph["qas"]]
    index = bm25s.BM25(method="lucene")
    index.index(bm25s.tokenize(list(paragraphs), show_progress=False), show_progress=False)
    gains = []
    for question, number in questions:
        found = index.retrieve(bm25s.tokenize([question], show_progress=False), k=10, show_progress=False)[0][
            0
        ].tolist()
        gains.append(1 / np.log2(found.index(number) + 2) if number in found else 0.0)
    print(f"bm25s nDCG@10 on {file.name}: {100 * np.mean(gains):.2f} over {len(questions)} questions")


def main():
    folder = Path(sys.argv[1])
    stored = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    words(stored["texts"], stored["questions"])
    for name in sys.argv[2:]:
        quality(Path(name))
    vectors(np.load(folder / "vectors.npz"))


if __name__ == "__main__":
    main()
