"""How well the language model reads what it is given, and whether it declines where the answer is not there.

    python -m benchmarks.reading ROWS.jsonl SQUAD.json --out FOLDER [--adapter auto|none|ADAPTER]
        [--confidence auto|none|FILE] [--limit N]

ROWS are `{id, question, answers, answerable, context}`, a JSON object a line; SQUAD is a SQuAD-format file. Each set is
a run of its own under FOLDER: a second call goes on where the first one stopped, and `rag eval compare` pairs the runs
of two folders. `--limit` asks a sample of each set, always the same. Device, precision and the rest are those of the
settings, such as RAG_DEVICE.
"""

import argparse
import hashlib
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ingest.pipeline import ingest
from rag.assistant import (
    Assistant,
    language_model_folder,
    load_calibration,
    load_embedder,
    load_language_model,
    load_template,
    model_name,
    open_collection,
    reads_each,
)
from rag.evaluation.collection import make_collection
from rag.evaluation.datasets import Question, QuestionSet, read_questions
from rag.evaluation.metrics import contained
from rag.evaluation.run import run_answers, weights_of
from rag.index import LocalIndex
from rag.models import embedder_identity, resolve_embedder
from rag.retrieval import retrieve
from rag.schema import SamplingParams
from rag.settings import load_settings

EXAMPLES = Path(__file__).parents[1] / "examples"
SETS = {
    "given": "its own passage is given, answerable",
    "given-unanswerable": "a passage without the answer is given",
    "retrieved": "the SQuAD file's questions, passages retrieved from its paragraphs",
    "wrong": "the same questions, two wrong passages are given",
    "examples": "the examples' questions, from their collection",
}
METRICS = {
    "f1": "F1",
    "exact_match": "exact match",
    "contained": "contained",
    "passage_recall": "right passage",
    "refused_answerable": "declined, answerable",
    "refused_unanswerable": "declined, unanswerable",
}
WRONG, DEPTH = 2, 20  # wrong passages that are read, of so many retrieved ones


def question_set(name: str, questions: Sequence[Question], passages: Mapping[str, str] | None = None) -> QuestionSet:
    """Questions as a set whose fingerprint is of all that it holds."""
    digest = hashlib.sha256(repr((questions, passages)).encode()).hexdigest()
    return QuestionSet(name, digest, list(questions), None, passages)


def sample(questions: Sequence[Question], n: int | None) -> list[Question]:
    """n of the questions that can be asked, or all of them."""
    usable = [question for question in questions if question.error is None]
    return usable if n is None else random.Random(0).sample(usable, min(n, len(usable)))


def with_wrong_passages(questions: Sequence[Question], index: LocalIndex, embed) -> Iterator[Question]:
    """Each question with the best passages that are neither the right one nor hold an accepted answer."""
    for question in questions:
        right = {relevant.name for relevant in question.relevant or ()}
        found = [p.passage for p in retrieve(index, embed, question.question, DEPTH)]
        wrong = [p.text for p in found if p.source not in right and not contained(p.text, question.answers)]
        if len(wrong) >= WRONG:
            yield replace(question, answers=(), answerable=False, relevant=None, context=tuple(wrong[:WRONG]))


def show(name: str, result: dict) -> None:
    cells = [f"{SETS[name]} ({name})", f"{result['questions']}"]
    for metric in METRICS:
        value = result["metrics"][metric]
        low, high = result["intervals"].get(metric, (0, 0))
        cells.append("" if value is None else f"{value:.3f} ({low:.3f} to {high:.3f})")
    print(f"| {' | '.join([*cells, str(result['errors'])])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("squad", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", default="auto", help="auto, none or an adapter's folder")
    parser.add_argument("--confidence", default="auto", help="auto, none, or what `rag eval calibrate` made")
    parser.add_argument("--read-each", action=argparse.BooleanOptionalAction, help="each passage by itself too")
    parser.add_argument("--limit", type=int, help="so many questions of each set")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    options = parser.parse_args()

    settings = load_settings(
        {"adapter": options.adapter, "confidence": options.confidence, "read_each": options.read_each}
    )
    embedder, generator = load_embedder(settings), load_language_model(settings)
    template, name = load_template(settings, generator), model_name(settings)
    calibration = load_calibration(settings, template)
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    rows = [replace(question, relevant=None) for question in read_questions(options.rows).questions]
    squad = read_questions(options.squad)
    asked = sample(squad.questions, options.limit)
    answerable = [question for question in asked if question.answerable]
    identity = {
        "language_model_weights": weights_of(language_model_folder(settings)),
        "precision": settings.language_model_precision,
    }
    params = SamplingParams(max_new_tokens=settings.max_new_tokens, seed=0)

    with tempfile.TemporaryDirectory() as place:
        own = make_collection(
            Path(place) / "squad",
            squad.passages,
            embedder,
            identity=embedder_identity(settings.embedder, folder, settings.embedder_precision),
        )
        here = replace(settings, home=options.out.absolute(), collection="examples")
        ingest(here, [EXAMPLES / "documents"])
        sets = {
            "given": lambda: sample([q for q in rows if q.answerable], options.limit),
            "given-unanswerable": lambda: sample([q for q in rows if not q.answerable], options.limit),
            "retrieved": lambda: asked,
            "wrong": lambda: list(with_wrong_passages(answerable, own, embedder.embed_question)),
            "examples": lambda: sample(read_questions(EXAMPLES / "questions.jsonl").questions, options.limit),
        }
        declines = f"declining below {calibration.decline_below:.2f}" if calibration else "declining as the model does"
        print(f"{name} on {generator.model.device}, {settings.language_model_precision}, {template.name}, {declines}\n")
        print(f"| questions | n | {' | '.join(METRICS.values())} | errors |\n|{'---|' * (len(METRICS) + 3)}")
        for which in options.sets:
            index = open_collection(here) if which == "examples" else own
            each = reads_each(settings)
            assistant = Assistant(index, embedder, generator, name, template, calibration=calibration, read_each=each)
            if questions := sets[which]():
                data = question_set(which, questions, squad.passages if which == "retrieved" else None)
                run = options.out / which
                show(which, run_answers(assistant, data, run, params, settings.passages, options.batch, identity))


if __name__ == "__main__":
    main()
