"""LocalGenerator: the sampling loop. A prompt's token ids in, a stream of TokenSteps out.

Knows nothing of questions, passages or templates.

    read the prompt -> logits -> distribution -> draw a token -> record the step -> read the token -> logits -> ...

A step is held back while its text could still become part of a stop string, so that what was streamed is never taken
back and the texts of all steps concatenate to the answer.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rag import sampling
from rag.errors import PromptError
from rag.language_model import LanguageModel
from rag.schema import Alternative, FinishReason, SamplingParams, TokenStep
from rag.stopping import StopRule, TextIncrements


class LocalGenerator:
    """The sampling loop over a language model in this process."""

    def __init__(self, model: LanguageModel) -> None:
        """Share a loaded model; the loop itself holds no state between requests."""
        self.model = model

    def stream(
        self, prompt_ids: Sequence[int], params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Iterator[TokenStep]:
        """Yield a step a token; the last one carries the reason why it ended. Raises `PromptError`.

        Setting `cancelled` from another thread ends the stream within a step.
        """
        room = self.model.context_window - len(prompt_ids)
        if not prompt_ids or room < 1:
            raise PromptError(
                f"The prompt has {len(prompt_ids)} tokens, the model's context window {self.model.context_window}; "
                "use fewer passages or a shorter question."
            )
        held: list[TokenStep] = []
        rule = StopRule(params.stop, params.stop_at_sentence_end, params.min_new_tokens)
        for step in self._steps(prompt_ids, params, room, cancelled):
            held.append(step)
            text = "".join(s.text for s in held)
            verdict = rule.check(text)
            if verdict.reason:
                yield from _cut(held, verdict.keep, verdict.reason)
                return
            if step.finish_reason or verdict.keep == len(text):
                yield from held
                held = []

    def _steps(
        self, prompt_ids: Sequence[int], params: SamplingParams, room: int, cancelled: threading.Event | None
    ) -> Iterator[TokenStep]:
        """The bare loop: until an end token, the maximum length, a full context or a cancellation."""
        cache = self.model.new_cache()
        generator = torch.Generator().manual_seed(params.seed if params.seed is not None else new_seed())
        text = TextIncrements(self.model.decode)
        written: list[int] = []
        limit = min(params.max_new_tokens, room)
        logits = self.model.read(prompt_ids, cache)
        for n in range(1, limit + 1):
            distribution = sampling.sampling_logprobs(logits, params, written, prompt_ids, self.model.end_tokens)
            token_id = sampling.draw(distribution, generator)
            written.append(token_id)
            reason: FinishReason | None = None
            if token_id in self.model.end_tokens:
                reason = "end_token"
            elif cancelled is not None and cancelled.is_set():
                reason = "cancelled"
            elif n == limit:
                reason = "max_new_tokens" if limit == params.max_new_tokens else "context_full"
            step = self._record(token_id, logits, distribution, params.alternatives)
            yield replace(step, text=text.add(token_id, last=reason is not None), finish_reason=reason)
            if reason:
                return
            logits = self.model.read([token_id], cache)

    def _record(self, token_id: int, logits: Tensor, distribution: Tensor, n_alternatives: int) -> TokenStep:
        """What the model thought at this step, from its raw logits (V,) and the sampled distribution (V,)."""
        raw = logits.log_softmax(-1)
        best = raw.topk(min(n_alternatives, raw.numel())).indices.tolist()
        if n_alternatives and token_id not in best:
            best.append(token_id)
        return TokenStep(
            token_id=token_id,
            text="",
            logprob=float(raw[token_id]),
            sampled_logprob=float(distribution[token_id]),
            rank=int((raw > raw[token_id]).sum()) + 1,
            entropy=float(torch.special.entr(raw.exp()).sum()),
            alternatives=tuple(
                Alternative(i, self.model.token_text(i), float(raw[i]), float(distribution[i])) for i in best
            ),
        )

    def score(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Raw log-probabilities (n,) of given tokens after a prompt, in nats, in one forced pass."""
        scores: npt.NDArray[np.float32] = self.model.score(prompt_ids, token_ids).numpy()
        return scores


def new_seed() -> int:
    """A seed nobody chose; short enough to be typed, and exact in JSON and JavaScript."""
    return secrets.randbits(32)


def _cut(steps: list[TokenStep], keep: int, reason: FinishReason) -> Iterator[TokenStep]:
    """The steps with the first `keep` characters of their joined text; later texts are empty."""
    for n, step in enumerate(steps, start=1):
        text, keep = step.text[: max(keep, 0)], keep - len(step.text)
        yield replace(step, text=text, finish_reason=reason if n == len(steps) else None)
