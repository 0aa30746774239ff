"""Given tokens -> their log-probabilities under the model: the chain rule, and what follows from it.

All rows are read one after the other in one cache, in the order of their tokens, so what the prompts of two of them
begin with is read once: a walk through the tree of their prefixes. It begins with the branch that a request before has
read of the first row, which costs nothing then. Nothing is drawn here.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rag.errors import PromptError
from rag.kv_cache import KVCache, PrefixStore, shared_prefix
from rag.language_model import LanguageModel
from rag.schema import Choice

_CHUNK = 256  # tokens that are read at once: logits of each are held
_JOIN = 16  # tokens of a prompt's end that are encoded again together with an option
LogProbs = npt.NDArray[np.float32]


Rows = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt, the tokens after it)


@dataclass(frozen=True, slots=True)
class Scored:
    """The n tokens of one row under the model."""

    row: int  # its place among the rows that were given
    logprobs: LogProbs  # (n,) float32, raw, in nats
    ranks: npt.NDArray[np.int64]  # (n,); 1 is the model's most probable token
    read: int  # how many tokens the model was given for it


def score(model: LanguageModel, rows: Rows, prefixes: PrefixStore) -> list[LogProbs]:
    """Raw log-probabilities (n,) of n tokens after a prompt, for each row, in nats. Raises `PromptError`."""
    by_row = {scored.row: scored.logprobs for scored in score_each(model, rows, prefixes)}
    return [by_row[i] for i in range(len(rows))]


def score_each(
    model: LanguageModel, rows: Rows, prefixes: PrefixStore, cancelled: threading.Event | None = None
) -> Iterator[Scored]:
    """As `score`, each row as soon as it is read, in whatever order costs least; ends early where it is cancelled."""
    for prompt, tokens in rows:
        if not prompt or len(prompt) + len(tokens) > model.context_window:
            raise PromptError(
                f"A text of {len(prompt)} and {len(tokens)} tokens cannot be scored in a context window of "
                f"{model.context_window}; it needs at least one token before it, and room."
            )
    cache = model.new_cache()
    if rows:
        prefixes.fill(cache, 0, rows[0][0][:-1])
    held = list(cache.tokens[0])
    whole = [[*prompt, *tokens] for prompt, tokens in rows]
    # Whoever leaves the held branch last comes first: the branch is only ever cut back, never read again.
    for i in sorted(range(len(rows)), key=lambda i: (-shared_prefix(held, whole[i]), whole[i])):
        scored = _after(model, cache, whole[i], len(rows[i][0]), i, cancelled)
        if scored is None:
            return
        yield scored


def _after(
    model: LanguageModel, cache: KVCache, ids: list[int], n_prompt: int, row: int, cancelled: threading.Event | None
) -> Scored | None:
    """The tokens `ids[n_prompt:]`; the cache is cut back to what they share with it. None where it was cancelled."""
    if n_prompt == len(ids):
        return Scored(row, np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64), 0)
    start = min(shared_prefix(cache.tokens[0], ids), n_prompt - 1)
    cache.crop(0, start)
    parts = []
    for begin in range(start, len(ids) - 1, _CHUNK):
        if cancelled is not None and cancelled.is_set():
            return None
        end = min(begin + _CHUNK, len(ids) - 1)
        logits = model.read([ids[begin:end]], cache, keep=max(end - max(begin, n_prompt - 1), 1))[0]
        if end >= n_prompt:
            parts.append(_of(logits, ids[end - len(logits) + 1 : end + 1]))
    logprobs, ranks = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scored(row, logprobs, ranks, len(ids) - 1 - start)


def _of(logits: Tensor, token_ids: Sequence[int]) -> tuple[LogProbs, npt.NDArray[np.int64]]:
    """Log-probabilities (n,) and ranks (n,) of tokens, each from its row of logits (n, V)."""
    logprobs = logits.log_softmax(-1).numpy()
    picked: LogProbs = logprobs[np.arange(len(token_ids)), list(token_ids)]
    return picked, (logprobs > picked[:, None]).sum(axis=1) + 1


def continuations(
    model: LanguageModel, prompt_ids: Sequence[int], rows: Sequence[Sequence[int]], prefixes: PrefixStore
) -> list[LogProbs]:
    """As `score`, for short rows of tokens after one and the same prompt: all of them in one pass of the model.

    Shorter rows are filled up behind their end, where nothing looks.
    """
    longest = max(map(len, rows), default=0)
    if not prompt_ids or len(prompt_ids) + longest > model.context_window:
        raise PromptError(
            f"A text of {len(prompt_ids)} and {longest} tokens cannot be scored in a context window of "
            f"{model.context_window}; it needs at least one token before it, and room."
        )
    if not longest:
        return [np.empty(0, dtype=np.float32) for _ in rows]
    cache, before = model.new_cache(len(rows)), list(prompt_ids[:-1])
    prefixes.fill(cache, 0, before)
    for begin in range(len(cache.tokens[0]), len(before), _CHUNK):
        model.read([before[begin : begin + _CHUNK]], cache)
    for row in range(1, len(rows)):
        cache.take(row, cache, 0, len(before))
    last = prompt_ids[-1]
    logits = model.read([[last, *row, *[last] * (longest - len(row))][:longest] for row in rows], cache, keep=longest)
    return [_of(own[: len(row)], row)[0] for own, row in zip(logits, rows, strict=True)]


def choose(
    model: LanguageModel, prompt_ids: Sequence[int], options: Sequence[str], prefixes: PrefixStore
) -> list[Choice]:
    """How probable each option is as what follows a prompt, in the order given. Raises `PromptError`.

    As lm-evaluation-harness defines it: prompt and option are encoded together, since a token can span the join; blanks
    at the prompt's end belong to the option; the sum, and the sum by the option's bytes. An option that is swallowed by
    a token which spans the join is encoded apart: there the harness gives up.
    """
    if not all(options):
        raise PromptError("An option is empty; every option needs a text.")
    rows = [_joined(model, prompt_ids, option) for option in options]
    sums = [float(row.sum(dtype=np.float64)) for row in score(model, rows, prefixes)]
    return [Choice(text, s, s / len(text.encode())) for text, s in zip(options, sums, strict=True)]


def _joined(model: LanguageModel, prompt_ids: Sequence[int], option: str) -> tuple[list[int], list[int]]:
    """The prompt's tokens and the option's, encoded together as far as the prompt's end is plain text."""
    ids = list(prompt_ids)
    for n in range(min(_JOIN, len(ids)), 0, -1):
        text = model.decode(ids[-n:])
        if model.encode(text, False) == ids[-n:]:
            context = text.rstrip()
            before = model.encode(context, False)
            if rest := model.encode(text + option, False)[len(before) :]:
                return [*ids[:-n], *before], rest
            break  # one token holds the prompt's end and the option
    return ids, model.encode(option, False)


def perplexity(model: LanguageModel, text: str) -> float:
    """exp(- mean log-probability) of a text's tokens; the first one has nothing before it and is not counted.

    A text longer than the context window is scored in windows that overlap by half. Raises `PromptError`.
    """
    ids = model.encode(text, False)
    if len(ids) < 2:
        raise PromptError("A perplexity needs a text of at least two tokens.")
    window = model.context_window
    rows = [(ids[:1], ids[1:window])]
    for start in range(window, len(ids), window // 2):
        rows.append((ids[max(0, start - window + window // 2) : start], ids[start : start + window // 2]))
    return math.exp(-float(np.concatenate(score(model, rows, PrefixStore(0))).mean(dtype=np.float64)))
