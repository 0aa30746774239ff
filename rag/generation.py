"""LocalGenerator: the sampling loop. A prompt's token ids in, a stream of TokenSteps out.

Knows nothing of questions, passages or templates.

    read the prompt -> logits -> distribution -> draw a token -> record the step -> read the token -> logits -> ...

One loop serves all: a stream is a batch of one, a branch is a stream whose first tokens are given. What was read before
is not read again (`kv_cache`), and drafts let several tokens be verified at once (`drafting`); neither changes a token.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rag import scoring
from rag.beams import beam_search
from rag.drafting import PromptLookup
from rag.errors import PromptError
from rag.kv_cache import KVCache, PrefixStore, shared_prefix
from rag.language_model import LanguageModel
from rag.schema import Choice, Hypothesis, SamplingParams, TokenStep
from rag.stopping import stops
from rag.writing import Writing

_CHUNK = 512  # tokens of a prompt that are read at once, so that a cancellation is heard in between
_AHEAD = 32  # known tokens that are read at once
_PREFIX_BYTES = 256 * 2**20


class LocalGenerator:
    """The sampling loop over a language model in this process. Several threads may use it at once."""

    def __init__(self, model: LanguageModel, drafts: bool = True, prefix_bytes: int = _PREFIX_BYTES) -> None:
        """Share a loaded model. Between requests only keys and values are kept, up to `prefix_bytes` of them."""
        self.model = model
        self.drafts = drafts
        self._prefixes = PrefixStore(prefix_bytes)
        self._token_text = lru_cache(maxsize=20_000)(model.token_text)

    def stream(
        self, prompt_ids: Sequence[int], params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Iterator[TokenStep]:
        """Yield a step a token; the last one carries the reason why it ended. Raises `PromptError`, `GenerationError`.

        Setting `cancelled` from another thread ends the stream within a step; before the first one it yields none.
        """
        for _, step in self.batch([prompt_ids], [params], cancelled):
            yield step

    def batch(
        self,
        prompts: Sequence[Sequence[int]],
        params: Sequence[SamplingParams],
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[int, TokenStep]]:
        """As `stream`, for several prompts at once: each step with its prompt's number. A finished row leaves."""
        answers = [self._answer(n, *row) for n, row in enumerate(zip(prompts, params, strict=True))]
        searched = [answer for answer in answers if answer.params.beams > 1]
        for answer in searched:
            yield from self._search(answer, cancelled)
        if drawn := [answer for answer in answers if answer.params.beams == 1]:
            yield from self._run(drawn, cancelled)

    def from_prefix(
        self,
        prompt_ids: Sequence[int],
        kept: Sequence[TokenStep],
        forced: Sequence[int],
        params: SamplingParams,
        cancelled: threading.Event | None = None,
    ) -> Iterator[TokenStep]:
        """Branch: keep the first tokens of an answer, force other ones, and go on from there.

        Yields the kept steps, the forced ones and those after them, each drawn with the random number of its place.
        What is kept is not computed again while it is remembered. Raises `PromptError`, `GenerationError`.
        """
        answer = self._answer(0, prompt_ids, params)
        yield from answer.begin_with(kept, forced)
        for _, step in self._run([answer], cancelled):
            yield step

    def beam(
        self,
        prompt_ids: Sequence[int],
        n_beams: int,
        max_new_tokens: int,
        length_penalty: float = 1.0,
        cancelled: threading.Event | None = None,
        ends: Callable[[str], bool] = lambda text: False,
    ) -> list[Hypothesis]:
        """The most probable answers that a beam search finds, best first. Raises `PromptError`, `GenerationError`.

        An answer ends with an end token, after `max_new_tokens`, or where `ends` says so of its text.
        """
        if n_beams < 1 or max_new_tokens < 1:
            raise PromptError(f"{n_beams} beams of {max_new_tokens} tokens write nothing; both must be at least 1.")
        room = self._room(prompt_ids)
        cache = self.model.new_cache(n_beams)
        logits = self._read_prompt(cache, 0, prompt_ids, cancelled)
        if logits is None:
            return []
        limit = min(max_new_tokens, room)
        return beam_search(self.model, cache, logits, n_beams, limit, length_penalty, cancelled, ends)

    def score(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[npt.NDArray[np.float32]]:
        """Raw log-probabilities (n,) of given tokens after a prompt, for each row, in nats. Raises `PromptError`."""
        return scoring.score(self.model, rows, self._prefixes)

    def continuations(self, prompt_ids: Sequence[int], rows: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        """As `score`, for short rows of tokens after one prompt, in one pass. Raises `PromptError`."""
        return scoring.continuations(self.model, prompt_ids, rows, self._prefixes)

    def score_each(self, rows: scoring.Rows, cancelled: threading.Event | None = None) -> Iterator[scoring.Scored]:
        """As `score`, with ranks, each row as soon as it is read; what was read of the first row before comes first.

        Setting `cancelled` from another thread ends it within a reading.
        """
        return scoring.score_each(self.model, rows, self._prefixes, cancelled)

    def choose(self, prompt_ids: Sequence[int], options: Sequence[str]) -> list[Choice]:
        """How probable each option is as what comes next, in the order given. Raises `PromptError`."""
        return scoring.choose(self.model, prompt_ids, options, self._prefixes)

    def perplexity(self, text: str) -> float:
        """How surprising a text is: exp of minus the mean log-probability of its tokens, the first one apart."""
        return scoring.perplexity(self.model, text)

    def next_token(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Raw log-probabilities (V,) of whatever may come next."""
        self._room(token_ids)
        logits = self._read_prompt(self.model.new_cache(), 0, token_ids, None)
        assert logits is not None  # noqa: S101 - nothing can cancel it
        distribution: npt.NDArray[np.float32] = logits.log_softmax(-1).numpy()
        return distribution

    def _search(self, answer: Writing, cancelled: threading.Event | None) -> Iterator[tuple[int, TokenStep]]:
        """The best answer of a beam search, its steps as the model saw them."""
        params = answer.params
        ends = partial(stops, stop=params.stop, at_sentence_end=params.stop_at_sentence_end)
        found = self.beam(
            answer.read_first, params.beams, params.max_new_tokens, params.length_penalty, cancelled, ends
        )
        if found:
            answer.coming = list(found[0].token_ids)
            yield from self._run([answer], cancelled)

    def _answer(self, number: int, prompt_ids: Sequence[int], params: SamplingParams) -> Writing:
        if params.seed is None:
            params = replace(params, seed=new_seed())
        return Writing(number, prompt_ids, params, self._room(prompt_ids), self.model, self._token_text)

    def _room(self, prompt_ids: Sequence[int]) -> int:
        """How many tokens fit behind a prompt."""
        room = self.model.context_window - len(prompt_ids)
        if not prompt_ids or room < 1:
            raise PromptError(
                f"The prompt has {len(prompt_ids)} tokens, the model's context window {self.model.context_window}; "
                "use fewer passages or a shorter question."
            )
        return room

    def _run(self, answers: list[Writing], cancelled: threading.Event | None) -> Iterator[tuple[int, TokenStep]]:
        """The loop: answer i has row i of the cache, and leaves it when it ends."""
        cache = self.model.new_cache(len(answers))
        rows: list[Tensor] = []
        for n, answer in enumerate(answers):
            logits = self._read_prompt(cache, n, answer.read_first, cancelled)
            if logits is None:
                return
            rows.append(logits[None])
        lookup = PromptLookup(answers[0].read_first, self.model.draft_cost) if self._may_draft(answers) else None
        draft: list[int] = []
        while answers:
            kept = 0
            for n in reversed(range(len(answers))):
                answer = answers[n]
                for at, logits in enumerate(rows[n]):  # one, and one more for each token of the draft
                    stopping = cancelled is not None and cancelled.is_set()
                    yield from ((answer.number, step) for step in answer.take(logits, stopping))
                    if answer.ended or at == len(draft) or answer.written[-1] != draft[at]:
                        break
                    kept += 1
                if answer.ended:
                    self._leave(cache, n, answer, kept, len(draft), last=len(answers) == 1)
                    answers[n] = answers[-1]
                    answers.pop()
            if answers:
                rows, draft = self._step(answers, cache, lookup, draft, kept)

    def _step(
        self, answers: list[Writing], cache: KVCache, lookup: PromptLookup | None, draft: list[int], kept: int
    ) -> tuple[list[Tensor], list[int]]:
        """Read the tokens that were drawn, and a new draft behind them; logits (1 + draft, V) of each row."""
        if lookup is None:
            logits = self.model.read([[answer.written[-1]] for answer in answers], cache)
            return list(logits), []
        (answer,) = answers
        cache.crop(0, len(cache.tokens[0]) - len(draft) + kept)
        lookup.learn(len(draft), kept)
        lookup.extend(answer.written[-kept - 1 :])
        draft = answer.coming[:_AHEAD] or lookup.propose(answer.left - 1)
        return list(self.model.read([[answer.written[-1], *draft]], cache, keep=1 + len(draft))), draft

    def _may_draft(self, answers: list[Writing]) -> bool:
        return self.drafts and len(answers) == 1

    def _leave(self, cache: KVCache, row: int, answer: Writing, kept: int, drafted: int, last: bool) -> None:
        """Free an answer's row. What it has read is kept for the next request."""
        cache.crop(row, len(cache.tokens[row]) - drafted + kept)
        self._prefixes.put(cache.only(row))
        if not last:
            cache.drop(row)

    def _read_prompt(
        self, cache: KVCache, row: int, token_ids: Sequence[int], cancelled: threading.Event | None
    ) -> Tensor | None:
        """Logits (V,) after a prompt, read into an empty row; None where it was cancelled.

        What a request before or a row beside began with too is not read again, but for the last token.
        """
        wanted = list(token_ids[:-1])
        self._prefixes.fill(cache, row, wanted)
        beside = max(range(row), key=lambda n: shared_prefix(cache.tokens[n], wanted), default=0)
        if (n := shared_prefix(cache.tokens[beside], wanted)) > len(cache.tokens[row]):
            cache.take(row, cache, beside, n)
        start = len(cache.tokens[row])
        for begin in range(start, len(token_ids), _CHUNK):
            if cancelled is not None and cancelled.is_set():
                return None
            logits = self.model.read([token_ids[begin : begin + _CHUNK]], cache, first=row)
        return logits[0, 0]


def new_seed() -> int:
    """A seed nobody chose; short enough to be typed, and exact in JSON and JavaScript."""
    return secrets.randbits(32)
