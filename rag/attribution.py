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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import comb

import numpy as np
import numpy.typing as npt

from rag.contrast import NOISE_FLOOR, Progress, answer_sentences, check, contrast_of, gap, row, score_all
from rag.evidence import Citation, Evidence, PassageValues
from rag.generation import LocalGenerator
from rag.schema import Answer, RetrievedPassage
from rag.stopping import sentences
from rag.templates import Template, closed_book

SHAPLEY_UP_TO = 5  # passages: 32 coalitions
Values = npt.NDArray[np.float64]
Cut = tuple[int, tuple[int, int]]  # (which passage, start and end of a sentence in it)


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
    exact = len(passages) <= SHAPLEY_UP_TO
    worth = {mask: one.logprobs.astype(np.float64) for mask, one in zip(masks, scored, strict=False)}
    values = (shapley if exact else first_and_last)(worth, len(passages))
    floor = max(NOISE_FLOOR[generator.model.precision], gap(answer, scored[0]))
    cited = _cite(answer, template, generator, values, worth, floor, cancelled, advance)
    if cited is None:
        return None
    changed = contrast_of(answer, scored[0].logprobs.tolist(), scored[len(masks) - 1], scored[-1], floor)
    return Evidence(
        contrast=changed,
        method="shapley" if exact else "first and last",
        passages=_by_passage(passages, values, worth, changed.written),
        citations=cited[0],
        tokens_read=sum(one.read for one in scored) + cited[1],
    )


def support(
    answer: Answer,
    template: Template,
    generator: LocalGenerator,
    cancelled: threading.Event | None = None,
) -> tuple[Citation, ...] | None:
    """The citations for less: a passage's value is what it gives alone, v(i) - v(none). Else as `attribute`."""
    check(answer, template, generator)
    passages = answer.prompt.passages
    masks = [*(1 << i for i in range(len(passages))), 0]
    rows = [row(answer, members(passages, mask), template, generator) for mask in masks]
    scored = score_all(generator, rows, cancelled)
    if scored is None:
        return None
    worth = {mask: one.logprobs.astype(np.float64) for mask, one in zip(masks, scored, strict=True)}
    values = np.array([worth[1 << i] - worth[0] for i in range(len(passages))])
    floor = NOISE_FLOOR[generator.model.precision]
    cited = _cite(answer, template, generator, values, worth, floor, cancelled)
    return cited and cited[0]


def coalitions(n: int) -> list[int]:
    """The coalitions of n passages that are scored, as bit masks: all of them first, for that was read; none last."""
    full = (1 << n) - 1
    if n <= SHAPLEY_UP_TO:
        return list(range(full, -1, -1))
    return [full, *(full - (1 << i) for i in range(n)), *(1 << i for i in range(n)), 0]


def members(passages: Sequence[RetrievedPassage], mask: int) -> list[RetrievedPassage]:
    """The passages of a coalition, in the order of the prompt."""
    return [passage for i, passage in enumerate(passages) if mask >> i & 1]


def shapley(worth: dict[int, Values], n: int) -> Values:
    """Exact Shapley values (n, T) of n players, from the worth (T,) of each of the 2^n coalitions."""
    values = np.zeros((n, *worth[0].shape))
    for mask, before in worth.items():
        for i in range(n):
            if not mask >> i & 1:
                weight = 1 / (n * comb(n - 1, mask.bit_count()))  # |S|! (n - |S| - 1)! / n!
                values[i] += weight * (worth[mask | 1 << i] - before)
    return values


def first_and_last(worth: dict[int, Values], n: int) -> Values:
    """The mean (n, T) of what each player gives alone and what all the others lack without it."""
    full = (1 << n) - 1
    return np.array([(worth[1 << i] - worth[0] + worth[full] - worth[full - (1 << i)]) / 2 for i in range(n)])


def _by_passage(
    passages: Sequence[RetrievedPassage], values: Values, worth: dict[int, Values], written: int
) -> tuple[PassageValues, ...]:
    full = (1 << len(passages)) - 1
    found = [
        PassageValues(
            rank=passage.rank,
            values=tuple(values[i].tolist()),
            alone=tuple(worth[1 << i].tolist()),
            left_out=tuple(worth[full - (1 << i)].tolist()),
            total=float(values[i, :written].sum()),
        )
        for i, passage in enumerate(passages)
    ]
    return tuple(sorted(found, key=lambda one: -one.total))


def _leaning(answer: Answer, values: Values) -> Iterator[tuple[int, int, list[int], int]]:
    """Each sentence of the answer: start, end, its tokens, and which passage gave most to them."""
    for start, end, tokens in answer_sentences(answer):
        yield start, end, tokens, int(values[:, tokens].sum(axis=1).argmax())


def _cite(
    answer: Answer,
    template: Template,
    generator: LocalGenerator,
    values: Values,
    worth: Mapping[int, Values],
    floor: float,
    cancelled: threading.Event | None,
    advance: Progress = lambda done, total, what: None,
) -> tuple[tuple[Citation, ...], int] | None:
    """The citations and how many tokens were read for them: each sentence of each leading passage is left out."""
    passages = answer.prompt.passages
    leading = dict.fromkeys(i for *_, i in _leaning(answer, values))
    cuts: list[Cut] = [(i, span) for i in leading for span in sentences(_read(passages[i]))]
    rows = [row(answer, [_without(passages[i], span)], template, generator) for i, span in cuts]
    lacking = score_all(generator, rows, cancelled, advance, "sentences")
    if lacking is None:
        return None
    losses = {cut: worth[1 << cut[0]] - one.logprobs for cut, one in zip(cuts, lacking, strict=True)}
    return tuple(_citations(answer, values, losses, floor)), sum(one.read for one in lacking)


def _citations(answer: Answer, values: Values, losses: Mapping[Cut, Values], floor: float) -> Iterator[Citation]:
    """A citation for each sentence of the answer that some passage made more probable.

    `losses` (T,) are what the answer loses where its passage, alone, lacks a sentence.
    """
    for start, end, tokens, i in _leaning(answer, values):
        noise, value = floor * len(tokens), float(values[i, tokens].sum())
        passage = answer.prompt.passages[i]
        lost = {span: float(loss[tokens].sum()) for (n, span), loss in losses.items() if n == i}
        span = max(lost, key=lost.__getitem__, default=(0, 0))
        loss = lost.get(span, 0.0)
        if loss <= noise:  # none is missed: it stands there twice, or it takes all of them
            span, loss = (0, len(_read(passage))), 0.0
        if value > noise:
            yield Citation(start, end, passage.rank, *span, value, loss)


def _read(retrieved: RetrievedPassage) -> str:
    """As much of a passage as the model has read."""
    return retrieved.passage.text[: retrieved.read]


def _without(retrieved: RetrievedPassage, span: tuple[int, int]) -> RetrievedPassage:
    """The passage without a sentence, as the model would have read it."""
    text = _read(retrieved)
    rest = text[: span[0]] + text[span[1] :].lstrip(" ")
    return replace(retrieved, passage=replace(retrieved.passage, text=rest), read=None)
