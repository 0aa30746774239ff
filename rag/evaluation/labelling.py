"""Questions -> answers with their features, each labelled right or wrong: what a confidence is fitted on.

Where the model declines, the best other answer is labelled: whether to give it is what the confidence is for.

Passages are retrieved, so that they come with distractors and scores as in real use: from all contexts of the set, or
from a collection. These kinds of question are asked:

    answerable   it has accepted answers; whether the retrieved passages hold one is left to the retrieval
    near         the data says that the passages of its topic do not answer it, as in SQuAD 2.0
    withheld     where the data has no near ones: an answerable one, two in three of them once more, where no passage
                 can be read that holds an accepted answer
    elsewhere    an answerable one, a quarter of them once more, where only articles on other topics can be read

How many of each there are decides how sure the confidence is. To fit one, some of those without an answer are left out,
so that the mix is chosen, and not what a set happens to have.

A file of rows goes on where it stopped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from rag.assistant import SAID_SO, Assistant
from rag.confidence import FEATURES, features
from rag.contrast import refusal_logprob
from rag.errors import InputError, RagError
from rag.evaluation.asking import seed_of
from rag.evaluation.datasets import Question, QuestionSet
from rag.evaluation.metrics import contained, f1
from rag.evaluation.saved import Row, as_json, from_json
from rag.judging import judge
from rag.reasons import why
from rag.retrieval import EVERYTHING
from rag.schema import Answer, Filter, SamplingParams

KINDS = ("answerable", "near", "withheld", "elsewhere")
_ELSEWHERE, _KEPT = 4, 3  # one answerable question in so many is asked elsewhere; is not withheld its passages


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is asked."""

    question: Question
    kind: str
    keep: Filter = EVERYTHING

    @property
    def id(self) -> str:
        """Its name among all that are asked."""
        return self.question.id if self.kind in ("answerable", "near") else f"{self.question.id} {self.kind}"


def own_passages(data: QuestionSet) -> dict[str, str]:
    """The set's paragraphs, and the contexts of its questions, by name: what its questions are looked up in."""
    contexts = {_name(text): text for question in data.questions for text in question.context or ()}
    return {**(data.passages or {}), **contexts}


def to_ask(data: QuestionSet, limit: int | None, own: bool = True, answered: float = 0.0) -> list[Asked]:
    """What is asked: the judged questions or a sample of `limit`, always the same, and some of them once more.

    These only where the passages are the set's `own`, so that it is known which may be read. Of all without an answer
    as many are left out as it takes for the others to be the share `answered`, always the same.

    Raises `InputError` where nobody has judged any.
    """
    judged = [q for q in data.questions if q.error is None and (q.answers or not q.answerable)]
    if not judged:
        raise InputError(f"{data.name} says of no question what its answer is; give `answers` or `answerable: false`.")
    if limit is not None:
        judged = Random(0).sample(judged, min(limit, len(judged)))  # noqa: S311 - no secret
    asked = [Asked(question, "answerable" if question.answerable else "near") for question in judged]
    texts = own_passages(data) if own and all(one.kind == "answerable" for one in asked) else {}
    topics = _topics(data) if own else {}
    others = {
        topic: Filter(documents=tuple(name for name, other in topics.items() if other != topic))
        for topic in set(topics.values())
    }
    for question in [question for question in judged if question.answerable]:
        a, b, *_ = hashlib.sha256(question.id.encode()).digest()
        silent = tuple(name for name, text in texts.items() if not contained(text, question.answers))
        if silent and b % _KEPT:
            asked.append(Asked(question, "withheld", Filter(documents=silent)))
        if (keep := others.get(question.topic or "")) and a % _ELSEWHERE == 0:
            asked.append(Asked(question, "elsewhere", keep))
    return _mixed(asked, answered) if answered else asked


def _mixed(asked: Sequence[Asked], answered: float) -> list[Asked]:
    """All that have an answer, and so many others that the first are at least this share."""
    silent = sorted((one.id for one in asked if one.kind != "answerable"), key=_name)
    kept = set(silent[: round((len(asked) - len(silent)) * (1 - answered) / answered)])
    return [one for one in asked if one.kind == "answerable" or one.id in kept]


def label_all(
    assistant: Assistant,
    asked: Sequence[Asked],
    k: int,
    params: SamplingParams,
    made_with: Mapping[str, object],
    file: Path | None = None,
    on_row: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Ask all that a file has no row for yet; all rows. Raises `InputError` where it was made with something else."""
    rows = _begin(file, made_with) if file else []
    known = {row["id"] for row in rows}
    for row in _rows(assistant, [one for one in asked if one.id not in known], k, params):
        rows.append(as_json(row))
        if file:
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
                out.flush()
                os.fsync(out.fileno())
        if on_row:
            on_row(len(rows), len(asked))
    return rows


def is_right(text: str, answers: Sequence[str]) -> bool:
    """Whether an answer counts as right: an F1 of 0.5 or more, or an accepted answer in it."""
    return f1(text, answers) >= 0.5 or contained(text, answers) == 1


def _rows(assistant: Assistant, asked: Sequence[Asked], k: int, params: SamplingParams) -> Iterator[Row]:
    for one in asked:
        try:
            seeded = replace(params, seed=seed_of(params.seed or 0, one.id))
            answer = assistant.ask(one.question.question, seeded, k, one.keep)
            yield {
                "id": one.id,
                "kind": one.kind,
                "topic": one.question.topic,
                "error": None,
                **_row(assistant, answer, one),
            }
        except RagError as error:
            yield {"id": one.id, "kind": one.kind, "topic": one.question.topic, "error": str(error)}


def _row(assistant: Assistant, answer: Answer, one: Asked) -> Row:
    refused, reason = answer.abstained is not None, answer.reason
    if answer.abstained == SAID_SO:
        answer = judge(assistant.best(answer), assistant.template, assistant.generator, None)
    found = None
    if not answer.abstained and answer.written:
        refusal = refusal_logprob(answer.prompt.token_ids, assistant.template, assistant.generator)
        found, reason = features(answer, refusal), reason if refused else why(answer, refusal)
    held = [p.rank for p in answer.prompt.passages if contained(p.passage.text[: p.read], one.question.answers)]
    return {
        "answer": answer.text,
        "refused": refused,  # by the model itself; then this is what it answers where it may not
        "right": bool(found) and one.kind == "answerable" and is_right(answer.text, one.question.answers),
        "held": bool(held) and one.kind != "near",  # whether an accepted answer could be read
        "features": found,
        "reason": reason,
    }


def _topics(data: QuestionSet) -> dict[str, str]:
    """The topic of each own passage that is known."""
    topics: dict[str, str] = {}
    for question in data.questions:
        own = [_name(text) for text in question.context or ()] + [r.name for r in question.relevant or () if r.own]
        topics |= {name: question.topic for name in own if question.topic is not None}
    return topics


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(file: Path, made_with: Mapping[str, object]) -> list[Row]:
    """The rows that a file holds, its first line apart; a last line that was cut off is dropped."""
    first = as_json({**made_with, "features": list(FEATURES)})
    if not file.is_file() or not file.read_bytes().strip():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(first, ensure_ascii=False) + "\n", encoding="utf-8")
        return []
    content = file.read_bytes()
    try:
        before, *rows = [from_json(line) for line in content[: content.rfind(b"\n") + 1].split(b"\n") if line]
        if not all({"id", "kind", "error"} <= set(row) for row in rows):
            raise ValueError("a line is no row")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file} holds no rows of `rag eval calibrate` ({error}); choose another --rows.") from error
    if before != first:
        raise InputError(f"{file} was begun with another model, data or setting; choose another --rows.")
    os.truncate(file, content.rfind(b"\n") + 1)  # only now is it known to be ours
    return list(rows)
