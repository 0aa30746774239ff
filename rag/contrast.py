"""What the documents changed: an answer's tokens under prompts with other passages, or none.

    v_t(S) = log p(y_t | y_<t, question, the passages S)        lift_t = v_t(all) - v_t(none)

The tokens are those that were written, by their ids: nothing is generated, and text is never encoded again. Dropped
passages leave their place empty; the others keep their order and their number [n]. Works with any model that gives
log-probabilities. The difference of two such scores is the context's influence of context-aware decoding (Shi et al.
2023) and of contrastive evaluation; which passage it comes from is for `attribution`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rag.errors import PromptError
from rag.generation import LocalGenerator
from rag.prompting import build_prompt
from rag.schema import Answer, Contrast, RetrievedPassage
from rag.scoring import Scored
from rag.stopping import sentences
from rag.templates import REFUSAL, Template, as_answer, closed_book

# Nats a token below which a difference means nothing, by the model's precision; `noise` measures it, docs/evidence.md
# has the figures. "other" is 16 bits on an accelerator: not measured, but the step between two logits of 16 to 32.
NOISE_FLOOR = {"float32": 0.001, "int8": 0.05, "other": 0.125}
Progress = Callable[[int, int, str], None]  # (done, of how many, what)
Row = tuple[tuple[int, ...], tuple[int, ...]]  # (prompt, the answer's tokens)


def contrast(answer: Answer, template: Template, generator: LocalGenerator) -> Contrast:
    """The lift of each token, from two short prompts; raises `PromptError` where no passage was read.

    What is with all passages is taken from the answer itself. Differences below `NOISE_FLOOR` mean nothing.
    """
    check(answer, template, generator)
    rows = [row(answer, (), template, generator), row(answer, (), closed_book(template), generator)]
    without, closed = sorted(generator.score_each(rows), key=lambda scored: scored.row)
    floor = NOISE_FLOOR[generator.model.precision]
    return contrast_of(answer, [step.logprob for step in answer.steps], without, closed, floor)


def refusal_logprob(prompt_ids: Sequence[int], template: Template, generator: LocalGenerator) -> float:
    """Log-probability of the refusal sentence as the answer to a prompt. Raises `PromptError` for want of room."""
    (refusal,) = generator.choose(prompt_ids, [as_answer(REFUSAL, template)])
    return refusal.logprob


def contrast_of(answer: Answer, logprobs: Sequence[float], without: Scored, closed: Scored, floor: float) -> Contrast:
    """The contrast of an answer whose rows were scored."""
    return Contrast(
        logprobs=tuple(float(x) for x in logprobs),
        without=tuple(without.logprobs.tolist()),
        closed_book=tuple(closed.logprobs.tolist()),
        ranks=tuple(step.rank for step in answer.steps),
        ranks_without=tuple(without.ranks.tolist()),
        written=len(answer.written),
        noise_floor=floor,
    )


def row(answer: Answer, passages: Sequence[RetrievedPassage], template: Template, generator: LocalGenerator) -> Row:
    """What is scored: the answer's prompt with these passages, in the order in which they are read, and its tokens."""
    model, prompt = generator.model, answer.prompt
    tokens = tuple(step.token_id for step in answer.steps)
    best_first, budget = passages[::-1], model.context_window - len(tokens)
    other = build_prompt(
        template, prompt.question, best_first, model.encode, budget, model.chat_frame(), prompt.history
    )
    return other.token_ids, tokens


def check(answer: Answer, template: Template, generator: LocalGenerator) -> None:
    """Raise `PromptError` where an answer has no passages, or was not written with this template and model."""
    if not answer.prompt.passages:
        raise PromptError("No passage was read for this answer, so there is nothing that it could lean on.")
    if row(answer, answer.prompt.passages, template, generator)[0] != answer.prompt.token_ids:
        raise PromptError(
            f"The answer's prompt is not what template {template.name} makes of its passages; "
            "explain an answer with the template and model that wrote it."
        )


def noise(answer: Answer, generator: LocalGenerator) -> float:
    """How far apart, in nats, a token's log-probability is when read in one go and as written, at most.

    With a generator that remembers nothing (`prefix_bytes=0`) the whole prompt is read again.
    """
    rows = [(answer.prompt.token_ids, tuple(step.token_id for step in answer.steps))]
    return max((gap(answer, scored) for scored in generator.score_each(rows)), default=0.0)


def gap(answer: Answer, scored: Scored) -> float:
    """The largest difference between the answer's tokens as written and as scored, in nats."""
    written = np.array([step.logprob for step in answer.steps], dtype=np.float64)
    return float(np.abs(scored.logprobs - written).max(initial=0.0))


def score_all(
    generator: LocalGenerator,
    rows: Sequence[Row],
    cancelled: threading.Event | None = None,
    advance: Progress = lambda done, total, what: None,
    what: str = "prompts",
) -> list[Scored] | None:
    """Every row in the order given, with progress; None where it was cancelled."""
    found: dict[int, Scored] = {}
    for scored in generator.score_each(rows, cancelled):
        found[scored.row] = scored
        advance(len(found), len(rows), what)
    return [found[n] for n in range(len(rows))] if len(found) == len(rows) else None


def answer_sentences(answer: Answer) -> Iterator[tuple[int, int, list[int]]]:
    """Start and end of each sentence of an answer's text, and which tokens wrote it.

    A token that spans two sentences belongs to the one in which it ends.
    """
    spans = sentences(answer.text)
    tokens: list[list[int]] = [[] for _ in spans]
    whole = "".join(step.text for step in answer.steps)
    at, n = len(whole.lstrip()) - len(whole), 0  # the text has no blanks around it, the tokens may
    waiting: list[int] = []  # tokens inside a character
    for i, step in enumerate(answer.steps):
        waiting.append(i)
        at += len(step.text)
        if step.text and spans:
            while n + 1 < len(spans) and at > spans[n][1]:
                n += 1
            tokens[n] += waiting
            waiting = []
    for (start, end), own in zip(spans, tokens, strict=True):
        yield start, end, own
