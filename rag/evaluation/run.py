"""A run: many questions asked in batches, a JSON line each as it is finished, and the metrics of all lines.

RUN/
  manifest.json   settings, fingerprints of data and model, versions; a run goes on only where they are the same
  answers.jsonl   a line a question, in the order in which they were finished
  writer.lock     held by the one process that writes
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from rag.assistant import Assistant
from rag.errors import InputError, LockedError
from rag.evaluation.asking import Task, ask_all, seed_of
from rag.evaluation.datasets import QuestionSet
from rag.evaluation.rows import row_of, summary
from rag.evaluation.saved import ANSWERS, Row, as_json, from_json, read_rows, settings
from rag.models import MANIFEST, sha256_of
from rag.schema import SamplingParams

_PACKAGES = ("openbook-rag", "torch", "transformers", "sentence-transformers", "faiss-cpu", "tantivy")
_MODEL_FILES = {".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"}  # weights, configuration, tokenizer
Reading = Literal["collection", "own", "context", "closed-book"]  # how passages come to be read


def run_answers(
    assistant: Assistant,
    data: QuestionSet,
    run: Path,
    params: SamplingParams,
    k: int,
    batch: int = 8,
    identity: Mapping[str, Any] | None = None,
    on_row: Callable[[int, int], None] | None = None,
) -> Row:
    """Ask every question that the run has no line for yet, `batch` at a time; the metrics of all of them.

    An answer that fails is a line with its error. `identity` is what the manifest says besides (`identity_of`).
    Raises `InputError` where the run was begun with something else, `LockedError` where another process is at it.
    """
    seed = params.seed or 0
    tasks = [Task(question, replace(params, seed=seed_of(seed, question.id))) for question in data.questions]
    made_with = manifest(assistant, data, replace(params, seed=seed), k) | dict(identity or {})
    return summary(finish(assistant, tasks, run / ANSWERS, made_with, k, batch, on_row))


def finish(
    assistant: Assistant,
    tasks: Sequence[Task],
    file: Path,
    made_with: Row,
    k: int,
    batch: int,
    on_row: Callable[[int, int], None] | None = None,
    describe: Callable[[Task], Row] = lambda task: {"id": task.question.id},
) -> list[Row]:
    """Ask what a run's file has no line for yet; all of its rows. `describe` tells the rows of tasks apart."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(file.parent / "writer.lock", timeout=0):
            _begin(file.parent, made_with)
            rows = _rows_so_far(file)
            known = {tuple(row.get(name) for name in describe(tasks[0])) for row in rows}
            left = [task for task in tasks if tuple(describe(task).values()) not in known]
            if on_row:
                on_row(len(rows), len(tasks))
            with file.open("a", encoding="utf-8") as out:
                for done in ask_all(assistant, left, k, batch):
                    rows.append(as_json(row_of(done) | describe(done.task)))
                    out.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
                    out.flush()
                    os.fsync(out.fileno())
                    if on_row:
                        on_row(len(rows), len(tasks))
            return rows
    except Timeout:
        raise LockedError(
            f"Another process is writing to the run {file.parent}; wait, or choose another --out."
        ) from None


def weights_of(folder: Path) -> str:
    """The sha256 of a language model: over the checksums of its folder, or over all files that it is read from."""
    if (folder / MANIFEST).is_file():
        return sha256_of(folder / MANIFEST)
    files = sorted(file for file in folder.iterdir() if file.suffix in _MODEL_FILES)
    return hashlib.sha256("".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()).hexdigest()


def manifest(assistant: Assistant, data: QuestionSet, params: SamplingParams, k: int) -> Row:
    """What a run is made with: the same manifest gives the same answers."""
    reading = reading_of(assistant, data)
    collection = None
    if assistant.index and reading in ("collection", "own"):
        catalog = assistant.index.catalog
        contents = data.sha256 if reading == "own" else catalog.fingerprint()
        embedder = (catalog.meta(f"embedder_{name}") for name in ("weights_sha256", "precision"))
        collection = {"contents": contents, "embedder": " ".join(filter(None, embedder)) or None}
    return {
        "data": {"name": data.name, "sha256": data.sha256},
        "collection": collection,
        "reading": reading,
        "language_model": assistant.language_model,
        "device": assistant.generator.model.device,
        "template": asdict(assistant.template),
        "passages": k,
        "rerank": assistant.reranker.name if assistant.reranker else None,
        "join": assistant.join,
        "confidence": assistant.calibration and asdict(assistant.calibration),
        "params": {name: getattr(params, name) for name in params.__slots__},
        "limit": data.limit,
        "versions": {package: version(package) for package in _PACKAGES},
    }


def reading_of(assistant: Assistant, data: QuestionSet) -> Reading:
    """How the questions of a set come by what is read."""
    if not assistant.template.reads_passages:
        return "closed-book"
    if not data.needs_passages:
        return "context"
    return "collection" if data.passages is None else "own"


def _begin(run: Path, made_with: Row) -> None:
    """Begin a run, or make sure that this one was begun with the same. Raises `InputError`."""
    file = run / "manifest.json"
    made_with = as_json(made_with)
    if not file.is_file():
        aside = run / "manifest.json.partial"  # renamed when whole, so that a kill leaves none or all of it
        aside.write_text(json.dumps(made_with, indent=1), encoding="utf-8")
        aside.rename(file)
        return
    try:
        before, now = settings(from_json(file.read_bytes())), settings(made_with)
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error}); choose another --out.") from error
    if different := sorted(name for name in before | now if before.get(name) != now.get(name)):
        raise InputError(f"The run {run} was begun with another {', '.join(different)}; choose another --out.")


def _rows_so_far(file: Path) -> list[Row]:
    """The rows of a run that was cut off; a last line without its end is dropped from the file."""
    if not file.is_file():
        return []
    rows = read_rows(file)
    os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    return rows
