"""Laws of the cache of keys and values: any order of operations, against plain lists of tokens."""

import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rag.kv_cache import KVCache, shared_prefix

LAYERS, HEADS, SIZE = 2, 3, 4
IDS = st.integers(0, 3)


def states(token_ids):
    """Keys (layers, heads, n, size) that tell token, place, head and layer; values are their negatives."""
    places = torch.arange(len(token_ids), dtype=torch.float32)
    tokens = torch.tensor(token_ids, dtype=torch.float32)
    shape = torch.arange(LAYERS * HEADS * SIZE, dtype=torch.float32).view(LAYERS, HEADS, 1, SIZE)
    return 1 + shape + (places + 1000 * tokens)[None, None, :, None]


def read(cache, first, ids):
    """What a model does: begin, write each layer, commit; returns what the layers are shown."""
    at = cache.begin(len(ids[0]), first, len(ids))
    whole = [[*cache.tokens[first + n], *new] for n, new in enumerate(ids)]
    new = torch.stack([states(w)[:, :, -at.n :] for w in whole])
    shown = [cache.write(layer, new[:, layer], -new[:, layer], at) for layer in range(LAYERS)]
    cache.commit(ids, first)
    return at, shown


class Machine(RuleBasedStateMachine):
    """Any order of operations, against plain lists."""

    @initialize(rows=st.integers(1, 4))
    def start(self, rows):
        self.cache = KVCache(LAYERS, rows, "cpu")
        self.rows = [[] for _ in range(rows)]

    @rule(data=st.data(), n=st.sampled_from([1, 1, 1, 2, 5, 70]))
    def read(self, data, n):
        first = data.draw(st.integers(0, len(self.rows) - 1))
        count = data.draw(st.integers(1, len(self.rows) - first))
        new = data.draw(st.lists(st.lists(IDS, min_size=n, max_size=n), min_size=count, max_size=count))
        for row, more in zip(self.rows[first:], new, strict=False):
            row.extend(more)
        at, shown = read(self.cache, first, new)
        ends = [len(row) for row in self.rows[first : first + count]]
        assert (at.end, at.positions[:, -1].tolist()) == (max(ends), [end - 1 for end in ends])
        for layer, (keys, values) in enumerate(shown):
            assert keys.isfinite().all()
            for held, held_values, row in zip(keys, values, self.rows[first:], strict=False):
                assert torch.equal(held[:, : len(row)], states(row)[layer])
                assert torch.equal(held_values[:, : len(row)], -states(row)[layer])
        for n_row, end in enumerate(ends):
            seen = torch.arange(at.end) <= at.positions[n_row][:, None]
            if at.mask is not None:
                assert torch.equal(at.mask[n_row, 0], seen)
            elif at.causal:
                assert at.end == at.n
            else:
                assert (end, at.n) == (at.end, 1)

    @rule(data=st.data())
    def crop(self, data):
        row = data.draw(st.integers(0, len(self.rows) - 1))
        n = data.draw(st.integers(0, len(self.rows[row])))
        self.cache.crop(row, n)
        del self.rows[row][n:]

    @precondition(lambda self: len(self.rows) > 1)
    @rule(data=st.data())
    def drop(self, data):
        row = data.draw(st.integers(0, len(self.rows) - 1))
        self.cache.drop(row)
        self.rows[row] = self.rows[-1]
        self.rows.pop()

    @rule(data=st.data(), elsewhere=st.booleans())
    def take(self, data, elsewhere):
        row, other = (data.draw(st.integers(0, len(self.rows) - 1)) for _ in range(2))
        n = data.draw(st.integers(0, len(self.rows[other])))
        source = self.cache.only(other) if elsewhere else self.cache
        assert source.tokens[0 if elsewhere else other] == self.rows[other]
        self.cache.take(row, source, 0 if elsewhere else other, n)
        self.rows[row] = self.rows[other][:n]

    @precondition(lambda self: any(self.rows))
    @rule(data=st.data())
    def select(self, data):
        shortest = min(len(row) for row in self.rows)
        start = next((n for n in range(shortest) if len({row[n] for row in self.rows}) > 1), shortest)
        parents = data.draw(st.lists(st.integers(0, len(self.rows) - 1), min_size=1, max_size=len(self.rows)))
        parents += [parents[0]] * (len(self.rows) - len(parents))
        self.cache.select(parents, start)
        self.rows = [list(self.rows[parent]) for parent in parents]

    @invariant()
    def the_tokens_are_the_rows(self):
        if hasattr(self, "rows"):
            assert self.cache.tokens == self.rows


Machine.TestCase.settings = hypothesis_settings(max_examples=30, stateful_step_count=20)
TestMachine = Machine.TestCase


@given(st.lists(IDS), st.lists(IDS))
def test_shared_prefix_is_the_longest(one, other):
    n = shared_prefix(one, other)
    assert one[:n] == other[:n]
    assert min(len(one), len(other)) == n or one[n] != other[n]
