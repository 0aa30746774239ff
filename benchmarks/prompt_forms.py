"""Which form of prompt the bundled model reads best: templates on the same questions and retrieved passages.

    python -m benchmarks.prompt_forms ROWS.jsonl [QUESTIONS] [PASSAGES] [TEMPLATE...]

ROWS are `{question, answers, answerable, title, context}`, a JSON object a line; every distinct context is a passage of
the collection that is searched.
"""

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path

from rag.assistant import Assistant, load_language_model
from rag.embedding import Embedder
from rag.evaluation.datasets import read_questions
from rag.evaluation.run import run_answers
from rag.index import open_index
from rag.index.catalog import Source
from rag.models import bundled_file, embedder_identity
from rag.schema import Document, SamplingParams, Span
from rag.settings import load_settings


def run(rows_file: Path, n: int, k: int, templates: list[str]) -> None:
    rows = [json.loads(line) for line in rows_file.read_text(encoding="utf-8").splitlines()]
    settings = load_settings({"passages": k, "adapter": "none"})
    generator = load_language_model(settings)
    embedder = Embedder(folder := bundled_file("embedder"), "cpu")
    with tempfile.TemporaryDirectory() as work:
        index = open_index(Path(work) / "collection", embedder_identity("embedded", folder), create=True)
        contexts = {row["context"]: row["title"] for row in rows}
        vectors = embedder.embed_passages(list(contexts))
        with index.writing():
            for (text, title), vector in zip(contexts.items(), vectors, strict=True):
                key = hashlib.sha256(text.encode()).hexdigest()
                document = Document(key, (key,), title, "text/plain", text)
                index.put_document(document, [Span(0, len(text))], vector[None], Source(key, 0, 0, key))
        data = Path(work) / "questions.jsonl"
        data.write_text(
            "".join(json.dumps(row | {"id": str(row["id"]), "context": None}) + "\n" for row in sample(rows, n))
        )
        for name in templates:
            assistant = Assistant(index, embedder, generator, "embedded", name)
            params = SamplingParams(max_new_tokens=32, seed=0)
            result = run_answers(assistant, read_questions(data), Path(work) / name, params, k, batch=1)
            figures = "  ".join(f"{key} {value:.3f}" for key, value in result["metrics"].items() if value is not None)
            print(
                f"{name:10} k={k}  {figures}  ({result['answerable']} answerable, {result['questions']} in all)",
                flush=True,
            )


def sample(rows: list[dict[str, object]], n: int) -> list[dict[str, object]]:
    """n answerable questions and a third as many others, always the same."""
    shuffled = random.Random(0).sample(rows, len(rows))
    return [r for r in shuffled if r["answerable"]][:n] + [r for r in shuffled if not r["answerable"]][: n // 3]


if __name__ == "__main__":
    given = sys.argv[2:]
    questions, passages = (int(argument) for argument in given[:2] + ["60", "3"][len(given[:2]) :])
    run(Path(sys.argv[1]), questions, passages, given[2:] or ["examples", "plain", "chat", "cited"])
