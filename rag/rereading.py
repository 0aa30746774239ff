"""Each passage read by itself: what it answers alone, and which answer of all is the best.

A small model that reads several passages at once is led astray by those that only look alike. So it also answers from
each one alone, where it may not decline. Of these answers and its first one the best has the highest

    log p(answer | all passages) + WEIGHT * max over passages i of (log p(answer | i) - log p(refusal | i))

The difference to the refusal asks whether the passage holds an answer at all, which the likelihood of an answer does
not: Clark and Gardner (2018) found scores of passages read apart to be comparable only with a no-answer option. The
first term keeps an answer out that only a misread passage gives. An answer counts with the token that ended it: its
beginning alone would always be more probable.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.contrast import row
from rag.generation import LocalGenerator
from rag.schema import Answer, SamplingParams, TokenStep
from rag.templates import REFUSAL, Template, as_answer, is_refusal

WEIGHT = 2.0  # docs/decisions.md has the others that were tried


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that was written after one of the prompts."""

    text: str
    token_ids: tuple[int, ...]  # what ended it too


def reread(
    answer: Answer, template: Template, generator: LocalGenerator, cancelled: threading.Event | None = None
) -> tuple[Candidate, tuple[float, ...]] | None:
    """The best of a finished greedy answer and of those that each of its passages gives alone.

    With, for each passage in the order of the prompt, the log-probability of the best answer given that passage alone,
    minus that of the refusal sentence in its place, in nats. None where nothing but refusals was written, or it
    was cancelled. Raises `PromptError`.
    """
    alone = [row(answer, [passage], template, generator)[0] for passage in answer.prompt.passages]
    together = answer.prompt.token_ids
    refused = answer.abstained is not None
    params = may_not_decline(answer.params, template, generator)
    found: dict[str, Candidate] = {} if refused or not answer.text else {answer.text: _candidate(answer.steps)}
    prompts = [*([together] if refused else []), *alone]
    written: list[list[TokenStep]] = [[] for _ in prompts]
    for n, step in generator.batch(prompts, [params] * len(prompts), cancelled):
        written[n].append(step)
    if cancelled is not None and cancelled.is_set():
        return None
    for candidate in map(_candidate, written):
        if candidate.text and not is_refusal(candidate.text):
            found.setdefault(candidate.text, candidate)
    candidates = list(found.values())
    if not candidates:
        return None
    refusal = generator.model.encode(as_answer(REFUSAL, template), False)
    rows = [refusal, *(candidate.token_ids for candidate in candidates)]
    joint = _sums(generator, together, rows)[1:]
    scored = [_sums(generator, prompt, rows) for prompt in alone]
    margins = list(zip(*([one - declining for one in others] for declining, *others in scored), strict=True))
    best = max(range(len(candidates)), key=lambda n: joint[n] + WEIGHT * max(margins[n]))
    return candidates[best], margins[best]


def may_not_decline(params: SamplingParams, template: Template, generator: LocalGenerator) -> SamplingParams:
    """Parameters of an answer that may not begin as the refusal sentence does; without beams, which take no ban."""
    first = generator.model.encode(as_answer(REFUSAL, template), False)[0]
    banned = tuple(sorted({*params.begin_suppress_tokens, first}))
    return replace(params, beams=1, length_penalty=1.0, begin_suppress_tokens=banned)


def _candidate(steps: Sequence[TokenStep]) -> Candidate:
    text = "".join(step.text for step in steps).strip()
    return Candidate(text, tuple(step.token_id for step in steps))


def _sums(generator: LocalGenerator, prompt: Sequence[int], rows: Sequence[Sequence[int]]) -> list[float]:
    """The log-probability of each row of tokens after a prompt, in nats."""
    return [float(logprobs.sum(dtype="float64")) for logprobs in generator.continuations(prompt, rows)]
