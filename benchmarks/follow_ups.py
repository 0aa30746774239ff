"""How often the right passage is among the first three for a follow-up question, by what is searched for.

    python -m benchmarks.follow_ups [FOLLOW_UPS.jsonl]

The examples' documents are read into a collection of their own.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ingest.pipeline import ingest
from rag.assistant import load_embedder, open_collection
from rag.follow_ups import search_question
from rag.retrieval import retrieve
from rag.schema import RetrievedPassage, Turn
from rag.settings import load_settings

EXAMPLES = Path(__file__).parents[1] / "examples"
WAYS: dict[str, Callable[[str, list[Turn]], str]] = {
    "the bare question": lambda question, history: question,
    "all questions, always": lambda question, history: " ".join([*(t.question for t in history), question]),
    "questions and answers, always": lambda question, history: " ".join(
        [*(f"{t.question} {t.answer}" for t in history), question]
    ),
    "by the rule": search_question,
}


def run(rows_file: Path, k: int = 3) -> None:
    rows = [json.loads(line) for line in rows_file.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as work:
        settings = load_settings({"home": work, "collection": "examples"})
        ingest(settings, [EXAMPLES / "documents"])
        index, embedder = open_collection(settings), load_embedder(settings)
        for name, way in WAYS.items():
            hits: dict[bool, list[bool]] = {True: [], False: []}
            for row in rows:
                history = [Turn(**turn) for turn in row["history"]]
                found = retrieve(index, embedder.embed_question, way(row["question"], history), k)
                hits[row["leans"]].append(any(is_right(passage, row["relevant"]) for passage in found))
            print(f"{name:30} " + "  ".join(f"{sum(hits[i])} of {len(hits[i])} {WHAT[i]}" for i in (True, False)))


WHAT = {True: "that lean", False: "that stand alone"}


def is_right(found: RetrievedPassage, relevant: list[dict[str, str]]) -> bool:
    text = " ".join(found.passage.text.split())
    return any(found.passage.source.endswith(r["document"]) and r["quote"] in text for r in relevant)


if __name__ == "__main__":
    run(Path(sys.argv[1]) if sys.argv[1:] else EXAMPLES / "follow_ups.jsonl")
