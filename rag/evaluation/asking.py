"""Questions -> answers, several at once: a row that fails takes no other with it.

Every prompt and every answer is made by the Assistant; what becomes of them is for `run`.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rag.assistant import Assistant
from rag.errors import InputError, RagError
from rag.evaluation.datasets import Question
from rag.schema import Answer, Choice, Passage, Prompt, RetrievedPassage, SamplingParams, Timings, TokenStep
from rag.templates import as_answer


@dataclass(frozen=True, slots=True)
class Task:
    """One answer that is wanted."""

    question: Question
    params: SamplingParams
    sample: int = 0  # the number of this answer among several to the question at one temperature


@dataclass(frozen=True, slots=True)
class Done:
    """A task with its answer, or with the error that it met."""

    task: Task
    answer: Answer | None = None
    choices: tuple[Choice, ...] | None = None
    error: str | None = None


@dataclass(slots=True)
class _Asked:
    """A task on its way."""

    task: Task
    prompt: Prompt
    params: SamplingParams
    retrieval: float
    seconds: float = 0.0  # its share of the time that the batch took


def seed_of(seed: int, question_id: str, sample: int = 0) -> int:
    """The seed of one answer: whatever else is asked, and in what batches, a question has its own random numbers."""
    digest = hashlib.sha256(f"{seed}\n{sample}\n{question_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def ask_all(assistant: Assistant, tasks: Sequence[Task], k: int, batch: int) -> Iterator[Done]:
    """Each task with its answer as soon as it is finished, `batch` at a time. A task's own seed must be given."""
    last: _Asked | None = None
    for start in range(0, len(tasks), batch):
        asked = []
        for task in tasks[start : start + batch]:
            try:
                last = _prepare(assistant, task, k, last)
                asked.append(last)
            except RagError as error:
                yield Done(task, error=str(error))
        for one in [one for one in asked if not assistant.can_answer(one.prompt)]:
            yield _finish(assistant, one, [])
        yield from _write(assistant, [one for one in asked if assistant.can_answer(one.prompt)])


def given(texts: Sequence[str]) -> list[RetrievedPassage]:
    """Texts as passages that nothing was looked up for, in the order given."""
    found = []
    for rank, text in enumerate(texts, start=1):
        name = hashlib.sha256(text.encode()).hexdigest()
        passage = Passage(rank, name, "", "", text, 0, len(text), "page", None, None, ())
        found.append(RetrievedPassage(passage, rank, 1 / rank, None, None))
    return found


def _prepare(assistant: Assistant, task: Task, k: int, last: _Asked | None) -> _Asked:
    """Find the passages and build the prompt, unless the task before had the same question."""
    question = task.question
    if question.error:
        raise InputError(question.error)
    began = time.perf_counter()
    # A confidence looks at the best other token of each; without one none are kept.
    params = replace(assistant.complete(task.params), alternatives=2 if assistant.calibration else 0)
    if last and last.task.question is question:
        return _Asked(task, last.prompt, params, 0.0)
    passages = None if question.context is None else given(question.context)
    prompt = assistant.prompt(question.question, params, k, passages=passages)
    return _Asked(task, prompt, params, time.perf_counter() - began)


def _write(assistant: Assistant, asked: Sequence[_Asked]) -> Iterator[Done]:
    """One batch. The time of each step is divided among the answers that were still on their way."""
    steps: dict[int, list[TokenStep]] = {n: [] for n in range(len(asked))}
    before = time.perf_counter()
    try:
        for n, step in assistant.generator.batch([one.prompt.token_ids for one in asked], [o.params for o in asked]):
            now = time.perf_counter()
            for running in steps:
                asked[running].seconds += (now - before) / len(steps)
            before = now
            steps[n].append(step)
            if step.finish_reason is not None:
                yield _finish(assistant, asked[n], steps.pop(n))
                before = time.perf_counter()
    except RagError as error:
        if len(asked) == 1:
            yield Done(asked[0].task, error=str(error))
            return
        for n in steps:  # one of these failed; which one shows when each is asked by itself
            yield from _write(assistant, [asked[n]])


def _finish(assistant: Assistant, asked: _Asked, steps: Sequence[TokenStep]) -> Done:
    began = time.perf_counter()
    try:
        choices = _choose(assistant, asked)
        answer = assistant.answer(asked.prompt, steps, asked.params, Timings(asked.retrieval, None, 0.0))
        if assistant.calibration:
            answer = assistant.judged(answer)
    except RagError as error:
        return Done(asked.task, error=str(error))
    total = asked.retrieval + asked.seconds + time.perf_counter() - began
    return Done(asked.task, replace(answer, timings=replace(answer.timings, total=total)), choices)


def _choose(assistant: Assistant, asked: _Asked) -> tuple[Choice, ...] | None:
    """The likelihood of each choice as the answer."""
    options = asked.task.question.choices
    if options is None or not assistant.can_answer(asked.prompt):
        return None
    told = [as_answer(option, assistant.template) for option in options]
    return tuple(assistant.generator.choose(asked.prompt.token_ids, told))
