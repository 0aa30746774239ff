"""A run's folder, read: its manifest, its rows and what each row says. Also of a run that was cut off.

Knows the folder that `rag.evaluation.run` writes, and no model: nothing is asked again and nothing is changed.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import InputError

Row = dict[str, Any]
Value = Callable[[Row], float | None]

ANSWERS = "answers.jsonl"

_ASKED = {"id": str, "question": str, "answers": list, "answerable": bool}
_ANSWERED = {"answer": str, "token_ids": list, "logprobs": list, "passages": list, "timings": dict}
_NUMBERS = ("exact_match", "f1", "contained", "rouge_l", "bleu", "choice_correct", "logprob", "relevant_rank")


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as its folder holds it; `rows`, errors among them, by their ids: the order of finishing says nothing."""

    folder: Path
    manifest: Row
    rows: list[Row]

    @property
    def finished(self) -> list[Row]:
        """The rows without an error."""
        return [row for row in self.rows if row["error"] is None]


def read_run(folder: Path) -> SavedRun:
    """The run in a folder. Raises `InputError` where there is none."""
    try:
        manifest = from_json((folder / "manifest.json").read_bytes())
        rows = sorted(read_rows(folder / ANSWERS), key=lambda row: str(row["id"]))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder} is no run ({error}); name a folder that `rag eval answers --out` made.") from error
    if not isinstance(manifest, dict) or not any(row["error"] is None for row in rows):
        raise InputError(f"The run {folder} holds no finished answer; run `rag eval answers` with it as --out again.")
    if len({row["id"] for row in rows}) < len(rows):
        raise InputError(f"The run {folder} answers some questions twice; name one of the runs that it is made of.")
    return SavedRun(folder, manifest, rows)


def read_rows(file: Path) -> list[Row]:
    """A file's rows in its order; a last line that was cut off is passed over. Raises `OSError` and `InputError`."""
    content = file.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].split(b"\n")
    return [_row(file, number, line) for number, line in enumerate(lines, start=1) if line]


def as_json(value: object) -> Any:
    """A value as it will be read again: lists for tuples, None for what is no finite number."""
    return from_json(json.dumps(value).encode())


def from_json(content: bytes) -> Any:
    """What JSON says; no number is None, and "?" stands in for halves of surrogate pairs, which nothing can write."""
    value = json.loads(content, parse_constant=lambda name: None)
    if b"\\ud" in content.lower():
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _row(file: Path, number: int, line: bytes) -> Row:
    try:
        row: Row = from_json(line)
        row.setdefault("error", None)
        fields = _ASKED if row["error"] is not None else _ASKED | _ANSWERED
        wrong = [name for name, kind in fields.items() if not isinstance(row.get(name), kind)]
        wrong += [name for name in _NUMBERS if not isinstance(row.get(name), int | float | None)]
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}, line {number} is no JSON object; is this a run?") from error
    if wrong:
        raise InputError(f"{file}, line {number} has no usable {', '.join(wrong)}; is this a run?")
    return row


def mean_token_probability(row: Row) -> float | None:
    """exp(logprob / n), the geometric mean of the model's own probabilities of an answer's n tokens."""
    logprob, n = row.get("logprob"), len(row["logprobs"])
    return math.exp(min(logprob, 0) / n) if n and logprob is not None else None


def score(row: Row) -> float | None:
    """How good an answer is, 0 to 1: F1, or whether the choice is right; where there is no answer, whether refused."""
    if not row["answerable"]:
        return float(row.get("abstained") is not None)
    return row.get("choice_correct") if row.get("f1") is None else row["f1"]


def settings(manifest: Row, prefix: str = "") -> Row:
    """A manifest with one dotted name a setting: {"params": {"seed": 0}} is {"params.seed": 0}."""
    flat: Row = {}
    for name, value in manifest.items():
        flat |= settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _correctness(name: str) -> Value:
    return lambda row: row.get(name) if row["answerable"] else None


def _refused(answerable: bool) -> Value:
    return lambda row: float(row.get("abstained") is not None) if row["answerable"] == answerable else None


def _recall(row: Row) -> float | None:
    return float(row["relevant_rank"] is not None) if "relevant_rank" in row else None


# What a finished row says, by the name of the metric that is its mean; None where the metric does not know the row.
METRICS: dict[str, Value] = {
    **{name: _correctness(name) for name in ("exact_match", "f1", "contained", "rouge_l", "bleu")},
    "choice_accuracy": lambda row: row.get("choice_correct"),
    "passage_recall": _recall,
    "refused_answerable": _refused(True),
    "refused_unanswerable": _refused(False),
    "tokens_per_question": lambda row: float(len(row["token_ids"])),
    "seconds_per_question": lambda row: row["timings"].get("total"),
}
