"""A finished task -> a row of a run, and rows -> metrics with their intervals. Asks nothing and opens no file."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

from rag.evaluation import metrics
from rag.evaluation.asking import Done
from rag.evaluation.bootstrap import interval
from rag.evaluation.datasets import Question, Relevant
from rag.evaluation.saved import METRICS, Row
from rag.schema import Answer, Choice, RetrievedPassage

_SCORES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": metrics.exact_match,
    "f1": metrics.f1,
    "contained": metrics.contained,
    "rouge_l": metrics.rouge_l,
    "bleu": metrics.bleu,
}


def row_of(done: Done) -> Row:
    """What a run keeps of a task; of one that failed only the question and the error."""
    question, answer = done.task.question, done.answer
    row: Row = {
        "id": question.id,
        "question": question.question,
        "answers": list(question.answers),
        "answerable": question.answerable,
        "relevant": None if question.relevant is None else [relevant.name for relevant in question.relevant],
        "choices": question.choices,
        "error": done.error,
    }
    if answer is None:
        return row
    known = question.answerable and bool(question.answers)
    row |= _describe(answer)
    if question.relevant is not None and answer.prompt.search_question is not None:
        row["relevant_rank"] = _relevant_rank(question.relevant, answer)
    said = answer.text if answer.abstained is None else ""  # a refusal's words are not right by chance
    row |= {name: score(said, question.answers) if known else None for name, score in _SCORES.items()}
    return row | _chosen(question, done.choices)


def summary(rows: Iterable[Row]) -> Row:
    """Means over the rows that they are known of, with 95 % bootstrap intervals; a metric without rows is None.

    The order in which rows were finished makes no difference.
    """
    rows = sorted(rows, key=lambda row: str(row["id"]))
    finished = [row for row in rows if row["error"] is None]
    values = {
        name: [float(value) for row in finished if (value := value_of(row)) is not None]
        for name, value_of in METRICS.items()
    }
    return {
        "metrics": {name: sum(found) / len(found) if found else None for name, found in values.items()},
        "intervals": {name: list(interval(found)) for name, found in values.items() if found},
        "questions": len(rows),
        "answerable": sum(row["answerable"] for row in finished),
        "errors": len(rows) - len(finished),
        "first_error": next((row["error"] for row in rows if row["error"] is not None), None),
    }


def _describe(answer: Answer) -> Row:
    searched = answer.prompt.search_question is not None
    return {
        "answer": answer.text,
        "abstained": answer.abstained,
        "confidence": answer.confidence,
        "reason": answer.reason,
        "finish_reason": answer.finish_reason,
        "logprob": answer.logprob,
        "token_ids": [step.token_id for step in answer.steps],
        "logprobs": [step.logprob for step in answer.steps],
        "tokens": [step.text for step in answer.steps],
        "sampled_logprobs": [step.sampled_logprob for step in answer.steps],
        "passages": [
            {
                "rank": p.rank,
                "source": p.passage.source,
                "place": p.passage.place,
                "id": p.passage.id,
                "fused": p.fused if searched else None,
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


def _relevant_rank(relevant: Sequence[Relevant], answer: Answer) -> int | None:
    """The rank of the first right passage among those that were retrieved, whether or not they fitted."""
    found = (*answer.prompt.passages, *answer.prompt.left_out)
    return min((p.rank for p in found if any(_is(p, one) for one in relevant)), default=None)


def _is(found: RetrievedPassage, relevant: Relevant) -> bool:
    passage, name = found.passage, relevant.name
    paths = (passage.source, *found.copies)
    if relevant.own:
        return name in paths
    if " ".join(relevant.quote.split()) not in " ".join(passage.text.split()):
        return False
    if name in (str(passage.id), passage.document_id):
        return True
    parts = PurePath(name).parts
    return any(path == name or PurePath(path).parts[-len(parts) :] == parts for path in paths)


def _chosen(question: Question, choices: Sequence[Choice] | None) -> Row:
    """The most probable choice by the sum of its tokens' log-probabilities, and how probable each is among them."""
    correct = None
    if question.choices is not None and question.answers:
        correct = 0
    if choices is None:
        return {"choice": None, "choice_probabilities": None, "choice_correct": correct}
    highest = max(choice.logprob for choice in choices)
    weights = [math.exp(choice.logprob - highest) for choice in choices]
    best = weights.index(max(weights))
    if correct is not None and question.choices is not None:
        correct = int(question.choices[best] in question.answers)
    return {
        "choice": best,
        "choice_probabilities": [weight / sum(weights) for weight in weights],
        "choice_correct": correct,
    }
