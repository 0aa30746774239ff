"""A whole ingest of text against `SentenceTransformer.encode` alone, on the same passages, in turns.

    python -m benchmarks.ingest [--documents 40] [--repeats 5]

The ingest reads files, parses and chunks them in its child process, embeds, and commits each document durably; the
embedder is loaded and the child started before the clock runs. `encode` gets the passages in the order of the files,
with its default settings.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from ingest.parsing import SUFFIXES
from ingest.pipeline import LazyEmbedder, Sync
from ingest.planning import plan
from ingest.reading import Reader
from ingest.report import Report
from ingest.sources import find_files
from rag.index import open_index
from rag.models import bundled_file, embedder_identity
from rag.settings import load_settings

EXAMPLES = Path(__file__).parents[1] / "examples" / "documents"


def write_documents(folder, number, rng):
    """Documents of ten passages and more, with paragraphs of one to eight sentences of the examples."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.md") if "-zh" not in path.name)
    sentences = [s.strip() for s in text.replace("\n", " ").split(". ") if len(s) > 20]
    folder.mkdir()
    for n in range(number):
        paragraphs = []
        for _ in range(rng.randrange(10, 30)):
            some = rng.sample(sentences, rng.randrange(1, 9))
            paragraphs.append(f"Part {rng.random():.6f}. " + ". ".join(some) + ".")
        (folder / f"{n}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp())
    embedder = bundled_file("embedder")
    try:
        write_documents(base / "papers", options.documents, random.Random(0))
        files = find_files([base / "papers"], SUFFIXES)
        lazy = LazyEmbedder(embedder, load_settings({"device": "cpu"}, {}), Report())
        lazy(["warm up"], on_progress=lambda done: None)
        encode = lazy._embedder._model.encode
        with closing(Reader(embedder)) as reader:
            texts = []
            for file in files:
                document, spans = reader.read(file.path)
                texts += [document.text[span.start : span.end] for span in spans]
            ratios, ours, theirs = [], [], []
            for n in range(options.repeats):

                def ingest(n=n):
                    with closing(open_index(base / f"c{n}", embedder_identity("embedded", embedder), True)) as index:
                        with index.writing():
                            work = plan(index.catalog, files, [base / "papers"])
                            Sync(index, reader, lazy, Report()).run(work)
                        assert index.catalog.count() == len(texts)

                contestants = [(ingest, ours), (lambda: encode(texts, show_progress_bar=False), theirs)]
                for run, times in contestants if n % 2 else reversed(contestants):
                    began = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - began)
                ratios.append(ours[-1] / theirs[-1])
        print(f"{len(texts)} passages of {options.documents} documents, {options.repeats} times in turns")
        for name, times in (("whole ingest", ours), ("encode alone", theirs)):
            median = statistics.median(times)
            rate = len(texts) / median
            print(f"{name:14} {median:6.1f} s ({min(times):.1f} to {max(times):.1f}), {rate:.0f} passages/s")
        print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
