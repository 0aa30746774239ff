"""Answers made by hand for the token view's tests: any tokens, any probabilities, evidence whose sums are right."""

import math
import random

from rag.evidence import Evidence, PassageValues
from rag.schema import (
    Alternative,
    Answer,
    Contrast,
    Passage,
    Prompt,
    RetrievedPassage,
    SamplingParams,
    Timings,
    TokenStep,
)

SENTENCES = "The tea room is called The Caulker's Rest. It stands beside the slip, and opens at ten."


def tokens_of(text):
    """Words with the blank before them, as a tokenizer makes them."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def step(text, logprob=-0.1, token_id=1, **more):
    given = {"sampled_logprob": 0.0, "rank": 1, "entropy": 0.5, **more}
    others = (Alternative(2, " another", -3.0, -math.inf), Alternative(3, "\n", -4.0, -2.0))
    given.setdefault("alternatives", (Alternative(token_id, text, logprob, given["sampled_logprob"]), *others))
    return TokenStep(token_id, text, logprob, **given)


def steps_of(text, seed=1):
    """A step a word, with all kinds of probabilities, and an end token."""
    draw = random.Random(seed)
    steps = [
        step(word, -draw.expovariate(1.2), rank=1 + n % 12, entropy=n % 4) for n, word in enumerate(tokens_of(text))
    ]
    return (*steps, step("", -0.05, token_id=9, finish_reason="end_token"))


def retrieved(rank, title="Visiting the yard", text="The tea room is called The Caulker's Rest.", **more):
    passage = Passage(rank, "d", f"docs/{title}.md", title, text, 0, len(text), "page", rank, rank, ())
    return RetrievedPassage(passage, rank, 1 / rank, 0.5, 3.0, **more)


def answer_of(steps, question="What is the tea room called?", passages=None, contrast=None, text=None):
    passages = (retrieved(2, "Harbour rules"), retrieved(1)) if passages is None else passages
    return Answer(
        prompt=Prompt(question, "plain", passages, (), "prompt", (1, 2)),
        text="".join(s.text for s in steps).strip() if text is None else text,
        steps=tuple(steps),
        params=SamplingParams(temperature=0.7, seed=11, stop=("\n",)),
        language_model="a small model",
        timings=Timings(0.1, 0.2, 1.0),
        contrast=contrast,
    )


def contrast_of(answer, lifts, floor=0.01):
    with_documents = tuple(s.logprob for s in answer.steps)
    without = tuple(a - b for a, b in zip(with_documents, lifts, strict=True))
    ranks = tuple(s.rank for s in answer.steps)
    return Contrast(with_documents, without, without, ranks, ranks, len(answer.written), floor)


def evidence_of(answer, floor=0.01, method="shapley"):
    """Half of the tokens lean on one passage, half on another; the values of a token sum to its lift."""
    draw, n = random.Random(5), len(answer.steps)
    ranks = sorted(p.rank for p in answer.prompt.passages)
    values = {rank: [draw.uniform(-0.2, 2.5) * (i // 4 % len(ranks) == rank - 1) for i in range(n)] for rank in ranks}
    for row in values.values():
        row[:] = [max(x, s.logprob / len(ranks)) for x, s in zip(row, answer.steps, strict=True)]  # no p above 1
    lifts = [sum(column) for column in zip(*values.values(), strict=True)] if ranks else [0.0] * n
    contrast = contrast_of(answer, lifts, floor)
    passages = tuple(
        PassageValues(rank, tuple(row), (0.0,) * n, (0.0,) * n, sum(row[: contrast.written]))
        for rank, row in values.items()
    )
    return Evidence(contrast, method, tuple(sorted(passages, key=lambda one: -one.total)), (), 100)


def explained(text=SENTENCES, seed=1, **more):
    """An answer with its evidence."""
    answer = answer_of(steps_of(text, seed), **more)
    evidence = evidence_of(answer)
    return answer_of(answer.steps, contrast=evidence.contrast, **more), evidence
