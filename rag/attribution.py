"""Which passage each part of an answer leans on, and which of its sentences: nothing is asked of the model.

The passages play a cooperative game whose worth is the log-probability of the answer's tokens, v_t(S) of `contrast`.
Up to five passages their Shapley values (Shapley 1953) are computed exactly, from all 2^n coalitions:

    phi_i = sum over S without i of  |S|! (n - |S| - 1)! / n!  (v(S + i) - v(S))

so that they sum to the lift, token by token. Beyond five a passage's value is the mean of the first and the last of
these differences, what it gives alone and what is lost without it; these need not sum to the lift. Within the passage
that gave most, each sentence is left out in turn: an ablation like ContextCite's (Cohen-Wang et al. 2024), exact where
theirs fits a linear model to random ablations.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from math import comb

import numpy as np
import numpy.typing as npt

from rag.contrast import NOISE_FLOOR, Progress, answer_sentences, check, contrast_of, gap, row, score_all
from rag.evidence import Citation, Evidence, PassageValues
from rag.generation import LocalGenerator
from rag.schema import Answer, RetrievedPassage
from rag.scoring import Scored
from rag.stopping import sentences
from rag.templates import Template, closed_book

SHAPLEY_UP_TO = 5  # passages: 32 coalitions
Values = npt.NDArray[np.float64]


def attribute(
    answer: Answer,
    template: Template,
    generator: LocalGenerator,
    cancelled: threading.Event | None = None,
    advance: Progress = lambda done, total, what: None,
) -> Evidence | None:
    """Where an answer comes from, with the template and the model that wrote it; None where it was cancelled.

    Raises `PromptError` where no passage was read. Right after the answer, the passages before the first one that a
    coalition lacks are not read again.
    """
    check(answer, template, generator)
    passages = answer.prompt.passages
    masks = coalitions(len(passages))
    rows = [row(answer, members(passages, mask), template, generator) for mask in masks]
    rows.append(row(answer, (), closed_book(template), generator))
    scored = score_all(generator, rows, cancelled, advance, "passages")
    if scored is None:
        return None
    of = dict(zip(masks, scored, strict=False))
    table = {mask: one.logprobs.astype(np.float64) for mask, one in of.items()}
    exact = len(passages) <= SHAPLEY_UP_TO
    values = (shapley if exact else first_and_last)(table, len(passages))
    full = (1 << len(passages)) - 1
    changed = contrast_of(answer, of[full].logprobs.tolist(), of[0], scored[-1])
    floor = max(NOISE_FLOOR[generator.model.precision], gap(answer, of[full]))
    found = _cite(answer, template, generator, values, table, floor, cancelled, advance)
    if found is None:
        return None
    return Evidence(
        contrast=changed,
        method="shapley" if exact else "first and last",
        passages=_by_passage(passages, values, table, changed.written),
        citations=found[0],
        noise_floor=floor,
        tokens_read=sum(one.read for one in [*scored, *found[1]]),
    )


def coalitions(n: int) -> list[int]:
    """The coalitions of n passages that are scored, as bit masks, the one of all first: its prompt was read before."""
    full = (1 << n) - 1
    if n <= SHAPLEY_UP_TO:
        return list(range(full, -1, -1))
    return [full, *(full - (1 << i) for i in range(n)), *(1 << i for i in range(n)), 0]


def members(passages: Sequence[RetrievedPassage], mask: int) -> list[RetrievedPassage]:
    """The passages of a coalition, in the order of the prompt."""
    return [passage for i, passage in enumerate(passages) if mask >> i & 1]


def shapley(table: dict[int, Values], n: int) -> Values:
    """Exact Shapley values (n, T) of n players, from the worth (T,) of each of the 2^n coalitions."""
    values = np.zeros((n, *table[0].shape))
    for mask, worth in table.items():
        for i in range(n):
            if not mask >> i & 1:
                weight = 1 / (n * comb(n - 1, mask.bit_count()))  # |S|! (n - |S| - 1)! / n!
                values[i] += weight * (table[mask | 1 << i] - worth)
    return values


def first_and_last(table: dict[int, Values], n: int) -> Values:
    """The mean (n, T) of what each player gives alone and what all the others lack without it."""
    full = (1 << n) - 1
    return np.array([(table[1 << i] - table[0] + table[full] - table[full - (1 << i)]) / 2 for i in range(n)])


def _by_passage(
    passages: Sequence[RetrievedPassage], values: Values, table: dict[int, Values], written: int
) -> tuple[PassageValues, ...]:
    full = (1 << len(passages)) - 1
    found = [
        PassageValues(
            rank=passage.rank,
            values=tuple(values[i].tolist()),
            alone=tuple(table[1 << i].tolist()),
            left_out=tuple(table[full - (1 << i)].tolist()),
            total=float(values[i, :written].sum()),
        )
        for i, passage in enumerate(passages)
    ]
    return tuple(sorted(found, key=lambda one: -one.total))


def _cite(
    answer: Answer,
    template: Template,
    generator: LocalGenerator,
    values: Values,
    table: dict[int, Values],
    floor: float,
    cancelled: threading.Event | None,
    advance: Progress,
) -> tuple[tuple[Citation, ...], list[Scored]] | None:
    """A citation for each sentence of the answer that some passage made more probable, and what was scored for it."""
    parts = list(answer_sentences(answer))
    winners = [int(values[:, tokens].sum(axis=1).argmax()) for _, _, tokens in parts]
    spans = {i: sentences(_read(answer.prompt.passages[i])) for i in winners}
    cuts = [(i, n) for i in spans for n in range(len(spans[i]))]
    # The passage stands alone in these prompts, so that another one that says the same does not hide what is lost.
    rows = [row(answer, [_without(answer.prompt.passages[i], spans[i][n])], template, generator) for i, n in cuts]
    scored = score_all(generator, rows, cancelled, advance, "sentences")
    if scored is None:
        return None
    citations = []
    for (start, end, tokens), i in zip(parts, winners, strict=True):
        value = float(values[i, tokens].sum())
        if value <= floor * len(tokens):
            continue
        passage, whole = answer.prompt.passages[i], table[1 << i][tokens].sum()
        losses = {
            spans[cut[0]][cut[1]]: float(whole - one.logprobs[tokens].sum())
            for cut, one in zip(cuts, scored, strict=True)
            if cut[0] == i
        }
        span = max(losses, key=losses.__getitem__, default=(0, 0))
        if losses.get(span, 0.0) <= floor * len(
            tokens
        ):  # no sentence is missed: it stands there twice, or in all of them together
            span = (0, len(_read(passage)))
        citations.append(Citation(start, end, passage.rank, *span, value, losses.get(span, 0.0)))
    return tuple(citations), scored


def _read(retrieved: RetrievedPassage) -> str:
    """As much of a passage as the model has read."""
    return retrieved.passage.text[: retrieved.read]


def _without(retrieved: RetrievedPassage, span: tuple[int, int]) -> RetrievedPassage:
    """The passage without a sentence, as the model would have read it."""
    text = _read(retrieved)
    rest = text[: span[0]] + text[span[1] :].lstrip(" ")
    return replace(retrieved, passage=replace(retrieved.passage, text=rest), read=None)
