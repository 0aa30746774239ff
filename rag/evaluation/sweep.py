"""A sweep: the same questions at several temperatures, several answers a question; what that does to them.

RUN/
  manifest.json   as a run's, and the temperatures and the number of samples
  samples.jsonl   a line an answer, as a run's, with its `temperature` and `sample`

A question's answers stand together, so that its passages are looked up once and its prompt is read once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rag.assistant import Assistant
from rag.evaluation.asking import Task, seed_of
from rag.evaluation.bootstrap import interval
from rag.evaluation.datasets import QuestionSet
from rag.evaluation.metrics import exact_match, words
from rag.evaluation.run import finish, manifest
from rag.evaluation.saved import Row
from rag.schema import SamplingParams

SAMPLES = "samples.jsonl"


def run_sweep(
    assistant: Assistant,
    data: QuestionSet,
    run: Path,
    params: Sequence[SamplingParams],
    samples: int,
    k: int,
    batch: int = 8,
    identity: Mapping[str, object] | None = None,
    on_row: Callable[[int, int], None] | None = None,
) -> Row:
    """Ask every question `samples` times with each of `params`, which differ in temperature, and once where it is 0.

    The first sample is the answer that a run with the same seed gives. Raises `InputError` as `run_answers` does.
    """
    seed = params[0].seed or 0
    temperatures = [one.temperature for one in params]
    tasks = [
        Task(question, replace(one, seed=seed_of(seed, question.id, n)), n)
        for question in (replace(question, choices=None) for question in data.questions)
        for one in params
        for n in range(samples if one.temperature > 0 else 1)
    ]
    sweep = {"sweep": {"temperatures": temperatures, "samples": samples}}
    made_with = manifest(assistant, data, replace(params[0], seed=seed), k) | dict(identity or {}) | sweep
    rows = finish(assistant, tasks, run / SAMPLES, made_with, k, batch, on_row, _name)
    return {
        "temperatures": [by_temperature(rows, temperature) for temperature in temperatures],
        "samples": samples,
        "questions": len(data.questions),
        "errors": sum(row["error"] is not None for row in rows),
        "first_error": next((row["error"] for row in rows if row["error"] is not None), None),
    }


def by_temperature(rows: Sequence[Row], temperature: float) -> Row:
    """Means over the questions at one temperature, with 95 % bootstrap intervals.

    exact_match, f1             of a question's answers on average
    majority_exact_match        of the answer that most of them agree on: self-consistency (Wang et al. 2023)
    distinct, agreement         how many answers there are, and the share of those that agree with the majority

    Answers agree where their normalised words do; of two that are as frequent the earlier one counts.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["error"] is None and row["temperature"] == temperature:
            groups[row["id"]].append(row)
    values: dict[str, list[float]] = {
        name: [] for name in ("exact_match", "f1", "majority_exact_match", "distinct", "agreement")
    }
    for _, group in sorted(groups.items()):
        group.sort(key=lambda row: int(row["sample"]))
        counts = Counter(" ".join(words(row["answer"])) for row in group)
        majority, votes = counts.most_common(1)[0]
        values["distinct"].append(len(counts))
        values["agreement"].append(votes / len(group))
        if group[0]["exact_match"] is not None:
            values["exact_match"].append(sum(row["exact_match"] for row in group) / len(group))
            values["f1"].append(sum(row["f1"] for row in group) / len(group))
            values["majority_exact_match"].append(exact_match(majority, group[0]["answers"]))
    return {
        "temperature": temperature,
        "metrics": {name: sum(found) / len(found) if found else None for name, found in values.items()},
        "intervals": {name: list(interval(found)) for name, found in values.items() if found},
        "questions": len(groups),
    }


def _name(task: Task) -> Row:
    return {"id": task.question.id, "temperature": task.params.temperature, "sample": task.sample}
