"""Beam search: the most probable answers among those that begin as the n most probable beginnings do.

Knows a model, a cache and logits; prompts are for `generation`.
"""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from rag.kv_cache import KVCache
from rag.language_model import LanguageModel
from rag.schema import Hypothesis

_Beam = tuple[list[int], float]  # tokens, and the sum of their log-probabilities


def beam_search(
    model: LanguageModel,
    cache: KVCache,
    logits: Tensor,
    n_beams: int,
    limit: int,
    length_penalty: float,
    cancelled: threading.Event | None,
    ends: Callable[[str], bool],
) -> list[Hypothesis]:
    """Up to `n_beams` hypotheses of at most `limit` tokens, best score first.

    The cache has a row for each beam, the prompt in row 0; `logits` (V,) are those after it. `ends` tells a text that
    is complete without an end token. A score is the summed log-probability / tokens ** length_penalty (Graves 2012;
    Sutskever et al. 2014). It ends where no beam can still beat the worst of `n_beams` finished ones.
    """
    start = len(cache.tokens[0])
    for row in range(1, n_beams):
        cache.take(row, cache, 0, start)
    beams: list[_Beam] = [([], 0.0)]
    finished: list[_Beam] = []
    rows = logits[None]
    n_candidates = n_beams * max(2, 1 + len(model.end_tokens))  # so that n_beams of them go on, whatever ends

    def score(beam: _Beam) -> float:
        return beam[1] / float(len(beam[0]) ** length_penalty)

    for n in range(1, limit + 1):
        parents: list[int] = []
        grown: list[_Beam] = []
        for place, (parent, token_id, total) in enumerate(_best(rows, beams, n_candidates)):
            beam = ([*beams[parent][0], token_id], total)
            if token_id in model.end_tokens or ends(model.decode(beam[0])):
                finished += [beam] if place < n_beams else []
            elif len(grown) < n_beams:
                parents.append(parent)
                grown.append(beam)
        beams = grown
        finished = sorted(finished, key=score, reverse=True)[:n_beams]
        full = len(finished) == n_beams
        if not beams or (full and score(beams[0]) <= score(finished[-1])) or (cancelled and cancelled.is_set()):
            break
        if n < limit:
            cache.select(parents, start)
            rows = model.read([[beam[0][-1]] for beam in beams], cache)[:, 0]
    else:
        finished += beams
    best = sorted(finished or beams, key=score, reverse=True)[:n_beams]
    return [Hypothesis(tuple(b[0]), model.decode(b[0]), b[1], score(b)) for b in best]


def _best(logits: Tensor, beams: list[_Beam], n: int) -> list[tuple[int, int, float]]:
    """The n best continuations of all beams, from logits (beams, V): (beam, token id, summed log-probability)."""
    totals = logits.double().log_softmax(-1) + torch.tensor([[total] for _, total in beams], dtype=torch.float64)
    values, places = totals.flatten().topk(min(n, totals.numel()))
    vocabulary = totals.shape[1]
    return [(i // vocabulary, i % vocabulary, v) for v, i in zip(values.tolist(), places.tolist(), strict=True)]
