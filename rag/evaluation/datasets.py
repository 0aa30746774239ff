"""Question sets: JSON lines with `id, question, answers?, answerable?, relevant?`. Reads and checks; asks nothing."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.errors import InputError


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known of its answer."""

    id: str
    question: str
    answers: tuple[str, ...] = ()
    answerable: bool = True


def read_questions(path: Path) -> list[Question]:
    """All questions of a JSONL file. Raises `InputError` naming the first bad line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The question file {path} cannot be read ({error}); check the path.") from error
    questions = list(_parse(path, lines))
    if not questions:
        raise InputError(f"The question file {path} holds no question; write one JSON object a line.")
    return questions


def fingerprint(path: Path) -> str:
    """The sha256 of a data file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse(path: Path, lines: list[str]) -> Iterator[Question]:
    seen = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answers = tuple(str(answer) for answer in row.get("answers", ()))
            question = Question(
                str(row["id"]), str(row["question"]), answers, bool(row.get("answerable", bool(answers)))
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: a JSON object with id and question is needed ({error!r})."
            ) from error
        if question.id in seen:
            raise InputError(f"{path}, line {number}: the id {question.id!r} occurs twice; ids must differ.")
        seen.add(question.id)
        yield question
