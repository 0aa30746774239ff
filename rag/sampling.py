"""Logits -> the distribution that the next token is drawn from -> a token. Small pure functions on one row of logits.

Each takes and returns float32 logits of shape (V,); what a filter removes becomes minus infinity. They are applied in
the order of transformers' processors: temperature, top-k, top-p.
"""

import torch
from torch import Tensor

from rag.schema import SamplingParams


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature: below 1 sharpens, above 1 flattens."""
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k highest, and whatever ties with the lowest of them; k above V keeps all."""
    threshold = logits.topk(min(k, logits.numel())).values[-1]
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of most probable tokens whose probabilities reach p; at least one (Holtzman et al. 2020).

    With probabilities 0.5, 0.3, 0.2 and p = 0.6: 0.5 alone does not reach 0.6, 0.5 + 0.3 does, so two are kept.
    """
    ordered, ids = logits.sort(descending=True, stable=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # mass of the more probable tokens
    removed = before >= p
    removed[0] = False
    return logits.index_fill(0, ids[removed], -torch.inf)


def sampling_logprobs(logits: Tensor, params: SamplingParams) -> Tensor:
    """Log-probabilities (V,) of the distribution that the token is drawn from; greedy puts all mass on the argmax."""
    if params.temperature == 0:
        return torch.full_like(logits, -torch.inf).index_fill(0, logits.argmax(), 0.0)
    # Below the maximum first, so that no temperature, however small, overflows.
    logits = apply_temperature(logits - logits.max(), params.temperature)
    if params.top_k:
        logits = keep_top_k(logits, params.top_k)
    if params.top_p < 1:
        logits = keep_top_p(logits, params.top_p)
    return logits.log_softmax(-1)


def draw(logprobs: Tensor, generator: torch.Generator) -> int:
    """One token id from log-probabilities (V,); the generator is the request's own."""
    return int(torch.multinomial(logprobs.exp(), 1, generator=generator))
