"""Large collections: storing, opening, adding one document, disk and memory.

    python -m benchmarks.collection [--passages 100000] [--step 100000]

Vectors are those of the examples' passages with noise, so that neighbours are as near as real text's; they are made
before the clock runs. Texts recombine the examples' sentences. Each figure that a person waits for is measured in a new
process.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rag.index import open_index
from rag.index.records import Source
from rag.models import bundled_file, embedder_identity
from rag.schema import Document, Span

EXAMPLES = Path(__file__).parents[1] / "examples" / "documents"
PER_DOCUMENT = 100


def identity():
    return embedder_identity("embedded", bundled_file("embedder"))


def real_passages():
    """Texts and vectors of the examples' passages."""
    from ingest.chunking import Chunker
    from ingest.parsing import SUFFIXES, parse
    from rag.embedding import Embedder

    chunker = Chunker(bundled_file("embedder"))
    texts = []
    for path in sorted(p for p in EXAMPLES.rglob("*") if p.suffix in SUFFIXES):
        document = parse(path)
        texts += [document.text[s.start : s.end] for s in chunker.chunk(document)]
    return texts, Embedder(bundled_file("embedder"), "cpu").embed_passages(texts)


def documents(number, texts, vectors, first=0):
    """(document, spans, vectors) with passages of mixed sentences, `PER_DOCUMENT` each."""
    sentences = [s.strip() for text in texts for s in text.replace("\n", " ").split(". ") if len(s) > 20]
    for n in range(first, first + number):
        rng, noise = random.Random(n), np.random.default_rng(n)
        parts = [f"{n}-{i} " + ". ".join(rng.choices(sentences, k=4)) for i in range(PER_DOCUMENT)]
        text = "\n\n".join(parts)
        spans, begin = [], 0
        for part in parts:
            spans.append(Span(begin, begin + len(part)))
            begin += len(part) + 2
        rows = vectors[noise.integers(0, len(vectors), PER_DOCUMENT)]
        rows = rows + noise.normal(size=rows.shape).astype(np.float32) * (0.6 / np.sqrt(rows.shape[1]))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        document_id = hashlib.sha256(text.encode()).hexdigest()
        yield Document(document_id, (f"/{n}.txt",), str(n), "text/plain", text), spans, rows.astype(np.float32)


def store(index, made):
    with index.writing():
        for n, (document, spans, rows) in enumerate(made):
            index.put_document(document, spans, rows, Source(document.sources[0], 1, 1, document.id))
            if n % 10 == 9:
                index.publish()


def in_new_process(what, folder):
    command = [sys.executable, "-m", "benchmarks.collection", "--child", what, "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def child(what, folder):
    query = np.ones(384, dtype=np.float32) / np.sqrt(384, dtype=np.float32)
    began = time.perf_counter()
    index = open_index(folder, identity())
    if what == "open":
        with index.reading():
            assert index.search_dense(query, 10)
            assert index.search_lexical("oak steam", 10)
        took = time.perf_counter() - began
        peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        print(f"opening to the first answer {took:.2f} s, {int(peak.split()[1]) / 1024:.0f} MB at most, {index.kind}")
        return
    with index.reading():
        pass
    rng = np.random.default_rng()
    rows = rng.normal(size=(PER_DOCUMENT, 384)).astype(np.float32)
    made = list(documents(1, ["One more sentence about quoins and oakum for the list. "] * 2, rows, rng.integers(1e9)))
    began = time.perf_counter()
    store(index, made)
    with index.reading():
        assert index.search_lexical("quoins", 10)
        found = index.search_dense(made[0][2][0], 1)
    assert found[0][1] > 0.999
    took = time.perf_counter() - began
    print(f"adding a document of {PER_DOCUMENT} passages, until searchable and durable, {took:.2f} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--step", type=int, default=50_000)
    parser.add_argument("--child", choices=["open", "add"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder)
        return
    base = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        texts, vectors = real_passages()
        for done in range(0, options.passages, options.step):
            made = list(documents(options.step // PER_DOCUMENT, texts, vectors, done // PER_DOCUMENT))
            began = time.perf_counter()
            index = open_index(base / "c", identity(), create=True)
            store(index, made)
            took = time.perf_counter() - began
            sizes = {
                p.name: sum(f.stat().st_size for f in [p, *p.rglob("*")] if f.is_file()) for p in index.folder.iterdir()
            }
            disk = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sorted(sizes.items()) if size > 1e6)
            print(f"{done + options.step:9,} passages: {options.step / took:6.0f} a second; {disk}", flush=True)
            index.close()
        for what in ("open", "open", "open", "add", "add", "add", "open"):
            print(in_new_process(what, base / "c"), flush=True)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
