"""Question sets: JSON lines, SQuAD-format files and BEIR folders -> questions and what is known of their answers.

A line is `{id, question, answers?, answerable?, relevant?, choices?, context?, title?}`. Reads and checks; asks
nothing. A row that cannot be used becomes a question with an error, so that it costs a run no more than itself.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rag.errors import InputError
from rag.evaluation.judged import clean, read_judged, squad_paragraphs


@dataclass(frozen=True, slots=True)
class Relevant:
    """What the right passage is known by."""

    name: str  # the passage's or the document's id, or a path of its document or the end of one
    quote: str = ""  # what the passage must hold
    own: bool = False  # the name of a passage of the set's own, and nothing else


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known of its answer."""

    id: str
    question: str
    answers: tuple[str, ...] = ()
    answerable: bool = True
    relevant: tuple[Relevant, ...] | None = None  # any of them is right; None where nobody judged
    choices: tuple[str, ...] | None = None
    context: tuple[str, ...] | None = None  # the passages to read, best first; None: they are retrieved
    topic: str | None = field(default=None, repr=False)  # the title of its article; no part of what is asked
    error: str | None = None  # why it cannot be asked


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a file or a folder, at least one of which can be asked."""

    name: str
    sha256: str
    questions: list[Question]
    limit: int | None = None
    passages: Mapping[str, str] | None = None  # its own texts by name, where it brings a collection along

    @property
    def needs_passages(self) -> bool:
        """Whether some question comes without its context, so that passages must be retrieved."""
        return any(q.context is None for q in self.questions if q.error is None)

    def elsewhere(self) -> "QuestionSet":
        """The same questions for another collection, of which nobody knows what is right in there."""
        if self.passages is None:
            return self
        return replace(self, passages=None, questions=[replace(question, relevant=None) for question in self.questions])


def read_questions(path: Path, limit: int | None = None) -> QuestionSet:
    """The questions of a set, or its first `limit`. Raises `InputError` where none of them can be asked."""
    if path.is_dir():
        judged = read_judged(path, limit)
        relevant = {
            query: tuple(Relevant(name, own=True) for name in names) for query, names in judged.relevant.items()
        }
        asked = [Question(query, text, relevant=relevant[query]) for query, text in judged.queries.items()]
        return QuestionSet(path.name, fingerprint(path), asked, limit, judged.passages)
    try:
        content = path.read_text(encoding="utf-8-sig")  # with the mark that Windows puts first, or without
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The question file {path} cannot be read ({error}); check the path.") from error
    passages: dict[str, str] | None = None
    squad = _as_squad(content)
    rows: Iterable[tuple[str, Callable[[], Question]]] = _lines(content)
    if squad is not None:
        passages, rows = _squad(path, squad)
    questions = _distinct(islice(rows, limit))
    if not questions:
        raise InputError(f"The question file {path} holds no question; write one JSON object a line.")
    if all(question.error for question in questions):
        raise InputError(f"{path} holds no question that can be asked; its first: {questions[0].error}")
    return QuestionSet(path.name, fingerprint(path), questions, limit, passages)


def fingerprint(path: Path) -> str:
    """The sha256 of a data file in hex, or over the names and contents of a BEIR folder's files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = [path / "corpus.jsonl", path / "queries.jsonl", *sorted((path / "qrels").glob("*.tsv"))]
    parts = [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _distinct(rows: Iterable[tuple[str, Callable[[], Question]]]) -> list[Question]:
    """Each row as a question; a bad one has its error, and its place for an id."""
    questions: list[Question] = []
    seen: set[str] = set()
    for place, make in rows:
        try:
            question = make()
            if question.id in seen:
                raise ValueError(f"the id {question.id!r} occurs twice; ids must differ")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            questions.append(Question(place, "", error=f"{place}: {said}."))
        else:
            seen.add(question.id)
            questions.append(question)
    return [replace(q, id=_free(q.id, seen)) if q.error else q for q in questions]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "*"
    return name


def _lines(content: str) -> Iterator[tuple[str, Callable[[], Question]]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", lambda line=line: _question(json.loads(line))  # type: ignore[misc]


def _question(row: object) -> Question:
    """A line as a question; a `TypeError` says what has the wrong type."""
    if not isinstance(row, dict):
        raise TypeError("a JSON object is needed")
    answers = _texts(row, "answers")
    answerable = row.get("answerable", answers != ())  # an empty list says that there are none; no list says nothing
    answers = answers or ()
    if not isinstance(answerable, bool):
        raise TypeError("answerable must be true or false")
    choices = _texts(row, "choices") or None
    if choices and answers and not set(answers) & set(choices):
        raise ValueError("none of the answers is among the choices")
    relevant = row.get("relevant") or ()
    if not isinstance(relevant, list | tuple):
        raise TypeError("relevant must be a list")
    return Question(
        _id(row),
        clean(row["question"]),
        answers,
        answerable,
        tuple(map(_relevant, relevant)) or None,
        choices,
        _texts(row, "context", single=True),
        clean(row["title"]) if isinstance(row.get("title"), str) else None,
    )


def _id(row: Mapping[str, Any]) -> str:
    if not isinstance(row["id"], str | int):
        raise TypeError("id must be a string or a whole number")
    return clean(str(row["id"]))


def _relevant(value: object) -> Relevant:
    """A name, a passage's number, or `{document, quote?}`."""
    if isinstance(value, dict):
        return Relevant(clean(value["document"]), clean(value.get("quote", "")))
    return Relevant(clean(str(value) if isinstance(value, int) else value))


def _texts(row: Mapping[str, Any], name: str, single: bool = False) -> tuple[str, ...] | None:
    value = row.get(name)
    if value is None:
        return None
    if single and isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{name} must be a list of strings")
    return tuple(text for text in map(clean, value) if text.strip())


def _as_squad(content: str) -> dict[str, Any] | None:
    """A SQuAD-format file is one JSON object that holds `data`; lines are not."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) and isinstance(whole.get("data"), list) else None


def _squad(path: Path, whole: dict[str, Any]) -> tuple[dict[str, str], list[tuple[str, Callable[[], Question]]]]:
    """The distinct paragraphs by name, and the questions, each of which has its paragraph for the right passage."""
    passages: dict[str, str] = {}
    rows: list[tuple[str, Callable[[], Question]]] = []
    try:
        for name, text, asked, topic in squad_paragraphs(whole):
            passages[name] = text
            for row in asked:
                made = partial(_squad_question, row, name, topic)
                rows.append((f"question {len(rows) + 1}", made))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no SQuAD-format file ({error!r}); check it.") from error
    return passages, rows


def _squad_question(row: dict[str, Any], passage: str, topic: str | None) -> Question:
    impossible = row.get("is_impossible", False)
    found = [] if impossible else row.get("answers", [])
    answers = tuple(dict.fromkeys(clean(answer["text"]) for answer in found))
    relevant = (Relevant(passage, own=True),)
    return Question(_id(row), clean(row["question"]), answers, not impossible, relevant, topic=topic)
