"""A run: many questions asked one after the other, a JSON line each as it is finished, and the metrics of all lines.

RUN/
  manifest.json   settings, data fingerprint and versions; a run goes on only where they are the same
  answers.jsonl   a line a question
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rag.assistant import Assistant
from rag.errors import InputError, RagError
from rag.evaluation import metrics
from rag.evaluation.datasets import Question, fingerprint, read_questions
from rag.schema import Answer, SamplingParams

_PACKAGES = ("openbook-rag", "torch", "transformers", "sentence-transformers", "faiss-cpu", "tantivy")
Row = dict[str, Any]


def run_answers(
    assistant: Assistant,
    data: Path,
    run: Path,
    params: SamplingParams,
    k: int,
    on_row: Callable[[int, int], None] | None = None,
) -> Row:
    """Ask every question of a JSONL file that the run has no line for yet; the metrics of all of them.

    An answer that fails is a line with its error. Raises `InputError` where the run was begun with something else.
    """
    questions = read_questions(data)
    _check_manifest(run, _manifest(assistant, data, params, k))
    file = run / "answers.jsonl"
    done = {row["id"] for row in _complete_lines(file)}
    with file.open("a", encoding="utf-8") as out:
        for number, question in enumerate(questions):
            if question.id not in done:
                out.write(json.dumps(_ask(assistant, question, params, k), ensure_ascii=False) + "\n")
                out.flush()
                os.fsync(out.fileno())
            if on_row:
                on_row(number + 1, len(questions))
    return summary(read_rows(file))


def summary(rows: Iterable[Row]) -> Row:
    """Means over the rows: correctness over answerable questions, refusals over both kinds, seconds over all."""
    rows = list(rows)
    finished = [row for row in rows if row["error"] is None]
    answerable = [row for row in finished if row["answerable"]]
    unanswerable = [row for row in finished if not row["answerable"]]
    return {
        "metrics": {
            "exact_match": _mean(row["exact_match"] for row in answerable),
            "f1": _mean(row["f1"] for row in answerable),
            "contained": _mean(row["contained"] for row in answerable),
            "refused_answerable": _mean(float(row["abstained"] is not None) for row in answerable),
            "refused_unanswerable": _mean(float(row["abstained"] is not None) for row in unanswerable),
            "seconds_per_question": _mean(row["timings"]["total"] for row in finished),
        },
        "questions": len(rows),
        "answerable": len(answerable),
        "errors": len(rows) - len(finished),
    }


def read_rows(file: Path) -> list[Row]:
    """All lines of a run, by the order in which they were asked."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def _ask(assistant: Assistant, question: Question, params: SamplingParams, k: int) -> Row:
    row: Row = {
        "id": question.id,
        "question": question.question,
        "answers": question.answers,
        "answerable": question.answerable,
        "error": None,
    }
    try:
        answer = assistant.ask(question.question, params, k)
    except RagError as error:
        return row | {"error": str(error)}
    return (
        row
        | _describe(answer)
        | {
            "exact_match": metrics.exact_match(answer.text, question.answers),
            "f1": metrics.f1(answer.text, question.answers),
            "contained": metrics.contained(answer.text, question.answers),
        }
    )


def _describe(answer: Answer) -> Row:
    return {
        "answer": answer.text,
        "abstained": answer.abstained,
        "finish_reason": answer.finish_reason,
        "logprob": answer.logprob,
        "token_ids": [step.token_id for step in answer.steps],
        "logprobs": [step.logprob for step in answer.steps],
        "sampled_logprobs": [step.sampled_logprob for step in answer.steps],
        "passages": [
            {
                "rank": p.rank,
                "source": p.passage.source,
                "place": p.passage.place,
                "id": p.passage.id,
                "fused": p.fused,
                "dense": p.dense,
                "lexical": p.lexical,
                "rerank": p.rerank,
            }
            for p in answer.prompt.passages
        ],
        "timings": {
            "retrieval": answer.timings.retrieval,
            "first_token": answer.timings.first_token,
            "total": answer.timings.total,
        },
    }


def _manifest(assistant: Assistant, data: Path, params: SamplingParams, k: int) -> Row:
    catalog = assistant.index.catalog
    return {
        "data": {"name": data.name, "sha256": fingerprint(data)},
        "collection": {"contents": catalog.fingerprint(), "embedder": catalog.meta("embedder_weights_sha256")},
        "language_model": assistant.language_model,
        "template": asdict(assistant.template),
        "passages": k,
        "rerank": assistant.reranker.name if assistant.reranker else None,
        "join": assistant.join,
        "params": {name: getattr(params, name) for name in params.__slots__},
        "versions": {package: version(package) for package in _PACKAGES},
    }


def _check_manifest(run: Path, manifest: Row) -> None:
    """Begin a run, or make sure that this one was begun with the same."""
    file = run / "manifest.json"
    run.mkdir(parents=True, exist_ok=True)
    manifest = json.loads(json.dumps(manifest))
    if not file.is_file():
        aside = run / "manifest.json.partial"  # renamed when whole, so that a kill leaves none or all of it
        aside.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        aside.rename(file)
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} cannot be read ({error}); choose another --out.") from error
    different = sorted(key for key in manifest if manifest[key] != before.get(key))
    if different:
        raise InputError(f"The run {run} was begun with another {', '.join(different)}; choose another --out.")


def _complete_lines(file: Path) -> Iterator[Row]:
    """The lines of a run that was cut off; a last line without its end is dropped from the file."""
    if not file.is_file():
        return
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        file.write_bytes(whole)
    for line in whole.decode("utf-8").split("\n"):
        if line:
            yield json.loads(line)


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None
