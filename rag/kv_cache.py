"""Keys and values of tokens that a model has read, so that no token is read twice.

    KVCache      rows of tokens with their keys and values; rows are cut back, copied and dropped in place
    PrefixStore  the caches of recent requests: whoever begins with the same tokens takes over what was computed

Exact: keys and values of a token depend on it and on the tokens before it alone, so equal prefixes have equal ones.
Knows tensors and token ids; which model computes them is for `language_model`.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rag.errors import GenerationError

_BLOCK = 64  # tokens by which a cache grows at least
_MOST = 16  # requests that are remembered, so that short ones do not go on filling the memory for hundreds of requests


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn a lack of memory into a `GenerationError`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in str(error):
            raise
        raise GenerationError(
            "There is not enough memory to read on; use fewer passages, a smaller batch or a smaller model."
        ) from error


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the tokens that are being read stand: `n` each for rows `first` to `first + rows - 1`."""

    first: int
    rows: int
    n: int
    end: int  # the longest of these rows, with the new tokens
    positions: Tensor  # int64 (rows, n)
    mask: Tensor | None  # bool (rows, 1, n, end): may it be seen? None where all may, or where plain causality says it
    causal: bool  # nothing was read before: plain causality is enough


class KVCache:
    """Rows of token ids and, for each layer, their keys and values (rows, heads, capacity, head size), from the left.

    A mask hides what lies behind a row's last token; it must be finite all the same: zero times NaN is NaN. Not safe
    for two threads at once.
    """

    def __init__(self, layers: int, rows: int, device: str) -> None:
        """Start empty; memory is taken with the first tokens."""
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self._layers = layers
        self._device = device
        self._keys = self._values = torch.empty(0, 0, 0, 0, 0)  # (layers, rows, heads, capacity, head size)

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self._keys.untyped_storage().nbytes() + self._values.untyped_storage().nbytes()

    def begin(self, n: int, first: int, rows: int) -> Reading:
        """Prepare to read n more tokens in each of some neighbouring rows."""
        lengths = [len(tokens) for tokens in self.tokens[first : first + rows]]
        end = max(lengths) + n
        steps = torch.arange(n, device=self._device)
        positions = torch.tensor(lengths, device=self._device)[:, None] + steps
        mask = None
        if end > n and (n > 1 or min(lengths) < max(lengths)):
            mask = torch.arange(end, device=self._device) <= positions[:, None, :, None]
        return Reading(first, rows, n, end, positions, mask, causal=end == n and n > 1)

    def write(self, layer: int, keys: Tensor, values: Tensor, at: Reading) -> tuple[Tensor, Tensor]:
        """Store what a layer computed (rows, heads, n, size); all of these rows as views (rows, heads, end, size)."""
        if self._keys.shape[3] < at.end:
            self._reserve(at.end, keys, values)
        rows = slice(at.first, at.first + at.rows)
        stored = self._keys[layer, rows], self._values[layer, rows]
        if at.rows == 1 or at.mask is None:  # all of them end at the same place
            for held, new in zip(stored, (keys, values), strict=True):
                held[:, :, at.end - at.n : at.end] = new
        else:
            row = torch.arange(at.rows, device=self._device)[:, None]
            for held, new in zip(stored, (keys, values), strict=True):
                held[row, :, at.positions] = new.transpose(1, 2)
        return stored[0][:, :, : at.end], stored[1][:, :, : at.end]

    def _reserve(self, end: int, keys: Tensor, values: Tensor) -> None:
        """Room for `end` tokens in each row, and for what it may soon grow to."""
        capacity = -(-(end + end // 8) // _BLOCK) * _BLOCK
        held = self._keys, self._values
        self._keys, self._values = (
            new.new_zeros((self._layers, len(self.tokens), new.shape[1], capacity, new.shape[3]))
            for new in (keys, values)
        )
        if held[0].numel():
            used = held[0].shape[3]
            for old, new in zip(held, (self._keys, self._values), strict=True):
                new[:, :, :, :used] = old[:, : len(self.tokens)]

    def commit(self, ids: Sequence[Sequence[int]], first: int) -> None:
        """Count the tokens that were read and written as part of their rows."""
        for row, new in enumerate(ids, start=first):
            self.tokens[row].extend(new)

    def crop(self, row: int, n: int) -> None:
        """Forget all but the first n tokens of a row."""
        del self.tokens[row][n:]

    def drop(self, row: int) -> None:
        """Forget a row; the last one takes its place."""
        last = len(self.tokens) - 1
        if row < last:
            self.take(row, self, last, len(self.tokens[last]))
        self.tokens.pop()

    @enough_memory()
    @torch.inference_mode()
    def take(self, row: int, other: "KVCache", other_row: int, n: int) -> None:
        """Replace a row by the first n tokens of a row of another cache of the same model, or of this one."""
        self.tokens[row] = other.tokens[other_row][:n]
        if n == 0:
            return
        if self._keys.shape[3] < n:
            self._reserve(n, other._keys[0], other._values[0])
        for mine, theirs in ((self._keys, other._keys), (self._values, other._values)):
            mine[:, row, :, :n] = theirs[:, other_row, :, :n]

    def only(self, row: int) -> "KVCache":
        """A cache of this row alone: this very one where it has no other."""
        if len(self.tokens) == 1 and self._keys.shape[1] == 1:
            return self
        cache = KVCache(self._layers, 1, self._device)
        cache.take(0, self, row, len(self.tokens[row]))
        return cache

    @enough_memory()
    @torch.inference_mode()
    def select(self, rows: Sequence[int], start: int) -> None:
        """Make row i a copy of row `rows[i]`; all of them are equal before position `start`."""
        end = max(len(self.tokens[row]) for row in rows)
        index = torch.tensor(list(rows), device=self._device)
        for held in (self._keys, self._values):
            held[:, : len(rows), :, start:end] = held[:, index, :, start:end]
        self.tokens = [list(self.tokens[row]) for row in rows]


def shared_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common from their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # list comparison is fast, so halve instead of stepping
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


class PrefixStore:
    """The caches of the last 16 requests, within a number of bytes; the least recently used goes first. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        """Hold nothing yet; `max_bytes` 0 holds nothing ever."""
        self._max_bytes = max_bytes
        self._held: list[KVCache] = []  # of one row each, least recently used first; never written to again
        self._lock = threading.Lock()

    def fill(self, cache: KVCache, row: int, ids: Sequence[int]) -> None:
        """Give an empty row as many of these first tokens as are held."""
        ids = list(ids)
        with self._lock:
            # The latest of equals: a prompt that shares nothing must not keep the oldest alive.
            best = max(reversed(self._held), key=lambda held: shared_prefix(held.tokens[0], ids), default=None)
            if best is None:
                return
            self._held.remove(best)
            self._held.append(best)
        cache.take(row, best, 0, shared_prefix(best.tokens[0], ids))

    def put(self, cache: KVCache) -> None:
        """Hold a cache of one row, which its owner gives away; what it continues is no longer needed."""
        if cache.nbytes > self._max_bytes:
            return  # it would drive out all others and then itself
        tokens = cache.tokens[0]
        with self._lock:
            self._held = [held for held in self._held if held.tokens[0] != tokens[: len(held.tokens[0])]]
            self._held.append(cache)
            while len(self._held) > _MOST or sum(held.nbytes for held in self._held) > self._max_bytes:
                self._held.pop(0)
