"""One answer on its way: from logits to the next token, its record, and what of the text can be shown.

Knows the model's tokens and one request's parameters; who reads the tokens is for `generation`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rag import sampling
from rag.errors import GenerationError, PromptError
from rag.language_model import LanguageModel
from rag.schema import Alternative, FinishReason, SamplingParams, TokenStep
from rag.stopping import StopRule, TextIncrements


class Writing:
    """What was drawn so far, and what is held back.

    A step is held back while its text could still become part of a stop string, so that what was streamed is never
    taken back and the texts of all steps concatenate to the answer.
    """

    def __init__(
        self,
        number: int,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        room: int,
        model: LanguageModel,
        token_text: Callable[[int], str],
    ) -> None:
        """Begin an answer. `number` is the caller's, `room` the tokens that the context window leaves."""
        self.number = number
        self.read_first = list(prompt_ids)
        self.written: list[int] = []
        self.ended = False
        self._prompt_ids = list(prompt_ids)
        self.params = params
        self._limit = min(params.max_new_tokens, room)
        self._model = model
        self._token_text = token_text
        self._random = torch.Generator().manual_seed(params.seed or 0)
        self._text = TextIncrements(model.decode)
        self._rule = StopRule(params.stop, params.stop_at_sentence_end, params.min_new_tokens)
        self._held: list[TokenStep] = []
        self.coming: list[int] = []  # tokens that are given, not drawn

    @property
    def left(self) -> int:
        """How many tokens may still come."""
        return self._limit - len(self.written)

    def begin_with(self, kept: Sequence[TokenStep], forced: Sequence[int]) -> list[TokenStep]:
        """Take over steps of another answer, and the tokens that come next; returns what of them can be shown."""
        if len(kept) >= self._limit:
            raise PromptError(
                f"An answer of {self._limit} tokens cannot branch after {len(kept)}; raise max_new_tokens."
            )
        self.coming = list(forced)
        torch.rand(len(kept), generator=self._random, dtype=torch.float64)  # the numbers that they were drawn with
        shown: list[TokenStep] = []
        for step in kept:
            self.read_first.append(step.token_id)
            shown += self._show(step, None)
            if self.ended or step.token_id in self._model.end_tokens:
                raise PromptError(
                    "An answer cannot branch behind its end; keep fewer tokens, or change where it stops."
                )
        return shown

    def take(self, logits: Tensor, cancelled: bool = False) -> Iterator[TokenStep]:
        """Draw the next token from raw logits (V,) and yield the steps whose text is now certain."""
        distribution = sampling.sampling_logprobs(
            logits, self.params, self.written, self._prompt_ids, self._model.end_tokens
        )
        token_id = sampling.draw(distribution, self._random)
        if self.coming:
            token_id = self.coming.pop(0)
            if not 0 <= token_id < logits.numel():
                raise GenerationError(f"Token {token_id} is none of the model's; its ids end at {logits.numel() - 1}.")
            if self.params.beams > 1:  # the search decided, as surely as greedy decoding does
                distribution = torch.full_like(logits, -torch.inf).index_fill(0, torch.tensor(token_id), 0.0)
        reason: FinishReason | None = None
        if token_id in self._model.end_tokens:
            reason = "end_token"
        elif cancelled:
            reason = "cancelled"
        elif self.left == 1:
            reason = "max_new_tokens" if self._limit == self.params.max_new_tokens else "context_full"
        yield from self._show(self.record(token_id, logits, distribution), reason)

    def _show(self, step: TokenStep, reason: FinishReason | None) -> Iterator[TokenStep]:
        """Add a step and yield those that no stop string can take back any more; the last one says why it ended."""
        self.written.append(step.token_id)
        text = self._text.add(step.token_id, last=reason is not None)
        self._held.append(replace(step, text=text, finish_reason=reason))
        held = "".join(s.text for s in self._held)
        verdict = self._rule.check(held)
        if verdict.reason:
            self.ended = True
            yield from _cut(self._held, verdict.keep, verdict.reason)
        elif reason or verdict.keep == len(held):
            self.ended = reason is not None
            released, self._held = self._held, []
            yield from released

    def record(self, token_id: int, logits: Tensor, distribution: Tensor) -> TokenStep:
        """What the model thought at this step, from its raw logits (V,) and the sampled distribution (V,)."""
        raw = logits.log_softmax(-1)
        logprob = float(raw[token_id])
        n = self.params.alternatives
        best = raw.topk(min(n, raw.numel())).indices.tolist()
        if n and token_id not in best:
            best.append(token_id)
        return TokenStep(
            token_id=token_id,
            text="",
            logprob=logprob,
            sampled_logprob=float(distribution[token_id]),
            rank=int((raw > logprob).sum()) + 1,
            entropy=float(torch.special.entr(raw.exp()).sum()),
            alternatives=tuple(
                Alternative(i, self._token_text(i), own, sampled)
                for i, own, sampled in zip(best, raw[best].tolist(), distribution[best].tolist(), strict=True)
            ),
        )


def _cut(steps: list[TokenStep], keep: int, reason: FinishReason) -> Iterator[TokenStep]:
    """The steps with the first `keep` characters of their joined text; later texts are empty."""
    for n, step in enumerate(steps, start=1):
        text, keep = step.text[: max(keep, 0)], keep - len(step.text)
        yield replace(step, text=text, finish_reason=reason if n == len(steps) else None)
