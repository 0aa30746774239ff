"""What the benchmark of the generator is run on and how it is timed: prompts with passages, answers, calls in turns."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch

from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.prompting import build_prompt
from rag.schema import Passage, RetrievedPassage, SamplingParams
from rag.templates import TEMPLATES

EXAMPLES = Path(__file__).parents[1] / "examples"
BUDGET = 900  # tokens of a prompt
LEAST = 600
COPIED = 4  # tokens in a row that stand elsewhere make the last of them a copy


@dataclass(frozen=True)
class Item:
    """A question and the passages beside it, the one with the answer first."""

    question: str
    passages: list[str]


@dataclass(frozen=True)
class Case:
    """A prompt and how many tokens its answer has."""

    prompt: list[int]
    params: SamplingParams


@dataclass(frozen=True)
class Run:
    """One call or several: seconds to the first token, seconds after it, and the answers' token ids."""

    first: float
    rest: float
    answers: list[list[int]]

    @property
    def total(self) -> float:
        return self.first + self.rest

    @property
    def decoded(self) -> int:
        """Tokens that came after the first ones."""
        return sum(len(answer) - 1 for answer in self.answers)


def read_items(data: Path | None) -> list[Item]:
    """Questions with passages out of a JSONL file, by default those of the examples."""
    if data:
        rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
        found = [(row["question"], row["context"], str(row.get("title", ""))) for row in rows if row["answers"]]
    else:
        rows = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
        found = [
            (row["question"], passage, first["document"])
            for row in rows
            for first in row.get("relevant", [])[:1]
            for passage in passages_of(first["document"])
            if first["quote"] in passage
        ]
    beside: dict[str, dict[str, None]] = {}
    for _, passage, title in found:
        others = [] if data else passages_of(title)
        beside.setdefault(title, {}).update(dict.fromkeys([passage, *others]))
    everything = list(chain.from_iterable(beside.values()))
    return [
        Item(question, list(islice(dict.fromkeys([passage, *beside[title], *everything]), 12)))
        for question, passage, title in found
    ]


def passages_of(document: str) -> list[str]:
    """The paragraphs of one of the examples' text files, joined to passages of 500 characters and more."""
    path = EXAMPLES / "documents" / document
    if path.suffix not in (".md", ".txt"):
        return []
    passages = [""]
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        passages[-1] = f"{passages[-1]}\n\n{paragraph}".strip()
        if len(passages[-1]) > 500:
            passages.append("")
    return [p for p in passages if p]


def prompt_of(model: LanguageModel, question: str, passages: Sequence[str]) -> list[int]:
    """Token ids as the assistant builds them."""
    given = [
        RetrievedPassage(Passage(n, "", "", "", text, 0, len(text), "page", None, None, ()), n, 0.0, None, None)
        for n, text in enumerate(passages, start=1)
    ]
    return list(
        build_prompt(TEMPLATES["examples"], question, given, model.encode, BUDGET, model.chat_frame()).token_ids
    )


def question_prompts(model: LanguageModel, items: Sequence[Item], n: int) -> list[list[int]]:
    """Prompts of n questions, evenly spread over the data."""
    prompts = (prompt_of(model, item.question, item.passages) for item in spread_out(items))
    return list(islice((p for p in prompts if len(p) >= LEAST), n))


def spread_out(items: Sequence[Item]) -> list[Item]:
    """All items, neighbours apart."""
    return [item for start in range(7) for item in items[start::7]]


def copying_cases(model: LanguageModel, items: Sequence[Item], n: int) -> list[Case]:
    """Answers of 20 tokens and more that the model copies, to the end of a line, from a passage.

    The prompt ends with the first words of a passage's sentence, since so small a model seldom quotes on request.
    """
    generator = LocalGenerator(model)
    found: dict[str, Case] = {}
    for item in spread_out(items):
        question = prompt_of(model, item.question, item.passages)
        for opening in openings(item.passages[0]):
            prompt = question + model.encode(f" {opening}", False)
            case = Case(prompt, SamplingParams(max_new_tokens=48, stop=("\n",)))
            answer = run(generator, case).answers[0] if len(question) >= LEAST and opening not in found else []
            if len(answer) > 20 and share_copied(question, answer) >= 0.8:
                found[opening] = Case(prompt, SamplingParams(max_new_tokens=len(answer)))
                break
        if len(found) == n:
            break
    return list(found.values())


def openings(passage: str) -> list[str]:
    """The first words of sentences with so many words after them in their line that a copy is long enough."""
    starts = []
    for line in passage.splitlines():
        words = line.split()
        ends = [n for n, word in enumerate(words, start=1) if word.endswith(".") and n < len(words) - 25]
        starts += [" ".join(words[n : n + 6]) for n in ends]
    return starts


def free_cases(model: LanguageModel, items: Sequence[Item], n: int, length: int) -> list[Case]:
    """Sampled answers that hardly repeat the prompt or themselves."""
    found: list[Case] = []
    generator = LocalGenerator(model)
    for seed, prompt in enumerate(question_prompts(model, items, 10 * n)):
        case = Case(prompt, SamplingParams(max_new_tokens=length, temperature=1.0, seed=seed))
        answer = run(generator, case).answers[0]
        if len(answer) == length and share_copied(prompt, answer) <= 0.1:
            found.append(case)
            if len(found) == n:
                break
    return found


def share_copied(prompt: list[int], answer: list[int]) -> float:
    """The share of an answer's tokens that end four in a row which stood somewhere before."""
    ids = [*prompt, *answer]
    grams = [tuple(ids[max(i - COPIED + 1, 0) : i + 1]) for i in range(len(ids))]
    first = {gram: i for i, gram in reversed(list(enumerate(grams)))}
    return sum(first[grams[i]] < i for i in range(len(prompt), len(ids))) / len(answer)


def run(generator: LocalGenerator, case: Case) -> Run:
    return run_batch(generator, [case])


def run_batch(generator: LocalGenerator, cases: Sequence[Case]) -> Run:
    """Several prompts at once; the first token comes when all prompts are read."""
    answers: list[list[int]] = [[] for _ in cases]
    began = time.perf_counter()
    first = 0.0
    for n, step in generator.batch([case.prompt for case in cases], [case.params for case in cases]):
        first = first or time.perf_counter() - began
        answers[n].append(step.token_id)
    return Run(first, time.perf_counter() - began - first, answers)


class Clock:
    """What `transformers.generate` calls with each token; it notes when the first one came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, ids: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def by_transformers(peer, case: Case) -> Run:  # type: ignore[no-untyped-def]
    given = torch.tensor([case.prompt])
    clock = Clock()
    began = time.perf_counter()
    made = peer.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=False,
        num_beams=1,
        max_new_tokens=case.params.max_new_tokens,
        streamer=clock,
    )
    ended = time.perf_counter()
    first = clock.times[1]  # it is called with the prompt too
    return Run(first - began, ended - first, [made[0, len(case.prompt) :].tolist()])


def one_by_one(call: Callable[[Case], Run], cases: Sequence[Case]) -> Run:
    return joined([call(case) for case in cases])


def joined(runs: Sequence[Run]) -> Run:
    return Run(sum(r.first for r in runs), sum(r.rest for r in runs), [a for r in runs for a in r.answers])


def in_turns(rounds: int, cases: Sequence, calls: Sequence[Callable[..., Run]]) -> list[list[Run]]:  # type: ignore[type-arg]
    """Each call on each case in turn, so many rounds: runs[call][round]."""
    runs: list[list[Run]] = [[] for _ in calls]
    for _ in range(rounds):
        made = [[call(case) for call in calls] for case in cases]
        for of_call, these in zip(runs, zip(*made, strict=True), strict=True):
            of_call.append(joined(these))
    return runs


def spread(values: Sequence[float], digits: int = 2) -> str:
    median, low, high = (f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high}, n={len(values)})"
