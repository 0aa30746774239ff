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
            question = _question(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: a JSON object with id and question is needed ({error!r})."
            ) from error
        if question.id in seen:
            raise InputError(f"{path}, line {number}: the id {question.id!r} occurs twice; ids must differ.")
        seen.add(question.id)
        yield question


def _question(row: dict[str, object]) -> Question:
    """A row as a question; a `TypeError` says which field has the wrong type."""
    answers = row.get("answers", [])
    answerable = row.get("answerable", bool(answers))
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise TypeError("answers must be a list of strings")
    if not isinstance(answerable, bool):
        raise TypeError("answerable must be true or false")
    return Question(str(row["id"]), str(row["question"]), tuple(answers), answerable)
