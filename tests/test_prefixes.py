"""Laws of what is kept between requests: it changes no token and no log-probability, is read once, and is bounded."""

import resource
import threading
from pathlib import Path

import pytest
import torch

from rag.generation import LocalGenerator
from rag.kv_cache import KVCache, PrefixStore
from rag.schema import SamplingParams
from tests.counting import PROMPT, Counting, agree, alone, ids, sampled


def a_request(token_ids):
    """A cache of one row with these tokens."""
    cache = KVCache(1, 1, "cpu")
    at = cache.begin(len(token_ids), 0, 1)
    cache.write(0, *torch.ones(2, 1, 1, len(token_ids), 4), at)
    cache.commit([token_ids], 0)
    return cache


def test_the_store_is_bounded_in_bytes_and_forgets_the_least_recently_used():
    size = a_request([1] * 10).nbytes
    store = PrefixStore(3 * size)
    for first in (1, 2, 3):
        store.put(a_request([first] * 10))

    def held(first):
        cache = KVCache(1, 1, "cpu")
        store.fill(cache, 0, [first] * 12)
        return len(cache.tokens[0])

    assert held(1) == 10  # and is thereby the latest
    store.put(a_request([0] * 10))
    assert [held(first) for first in (2, 1, 3, 0)] == [0, 10, 10, 10]
    store.put(a_request([1] * 5000))  # too large for it: all others stay
    assert [held(first) for first in (2, 1, 3, 0)] == [0, 10, 10, 10]
    assert PrefixStore(0).put(a_request([1])) is None


def test_what_shares_nothing_keeps_nothing_alive():
    store = PrefixStore(3 * a_request([1] * 10).nbytes)
    for first in (1, 2, 3):
        store.put(a_request([first] * 10))
    held = []
    for token_ids in ([4] * 10, [1] * 10, [2] * 10):
        cache = KVCache(1, 1, "cpu")
        store.fill(cache, 0, token_ids)
        held.append(len(cache.tokens[0]))
        if len(held) == 1:
            store.put(a_request(token_ids))
    assert held == [0, 0, 10]  # the fourth drove out the first


@pytest.mark.parametrize("kind", ["llama", "qwen", "gpt2"])
def test_prefix_reuse_changes_nothing_and_reads_only_what_is_new(tiny, kind):
    model = Counting(tiny(kind))
    generator = LocalGenerator(model)
    passages = model.encode("The workshop opens at nine and closes at five. " * 6, True)
    for n, question in enumerate(["When?", "Where is it?", "When? And why?"]):
        prompt = [*passages, *model.encode(question, True)]
        before = model.count
        steps = list(generator.stream(prompt, sampled(1, seed=n)))
        assert agree(steps, alone(tiny(kind), prompt, sampled(1, seed=n)))
        known = [0, len(passages) + len("Whe"), len(passages) + len("When?")][n]
        assert model.count - before == len(prompt) - min(known, len(prompt) - 1)


def test_a_conversation_reads_each_turn_once(tiny):
    model = Counting(tiny())
    generator = LocalGenerator(model)
    prompt = model.encode(PROMPT, True)
    steps = list(generator.stream(prompt, sampled(20, min_new_tokens=20)))
    then = [*prompt, *ids(steps), *model.encode("And then?", True)]
    before = model.count
    assert agree(list(generator.stream(then, sampled(1))), alone(tiny(), then, sampled(1)))
    assert model.count - before == len("And then?") + 1  # the last token drawn was not read before


class Failing(Counting):
    """Runs out of something at the nth reading."""

    def __init__(self, model, at):
        super().__init__(model)
        self.at = at

    def read(self, ids, cache, first=0, keep=1):
        if len(self.given) == self.at:
            self.at = -1
            raise RuntimeError("the power went")
        return super().read(ids, cache, first, keep)


@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_failed_request_leaves_nothing_wrong_behind(tiny, at):
    generator = LocalGenerator(Failing(tiny(), at))
    prompt = tiny().encode(PROMPT, True)
    with pytest.raises(RuntimeError, match="power"):
        list(generator.stream(prompt, sampled(20, min_new_tokens=20)))
    assert agree(list(generator.stream(prompt, sampled(20))), alone(tiny(), prompt, sampled(20)))


def test_abandoned_and_cancelled_requests_leave_nothing_wrong_behind(tiny):
    model = tiny()
    generator = LocalGenerator(model)
    prompt = model.encode(PROMPT, True)
    for n in (1, 3, 8):
        stream = generator.stream(prompt, sampled(20, seed=n, min_new_tokens=20))
        for _ in range(n):
            next(stream)
        stream.close()
        cancelled = threading.Event()
        for place, _ in enumerate(generator.stream(prompt, sampled(20, seed=n + 1, min_new_tokens=20), cancelled)):
            if place == n:
                cancelled.set()
        for params in (sampled(20, seed=n), sampled(20, seed=n + 1)):
            assert agree(list(generator.stream(prompt, params)), alone(model, prompt, params))


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
@pytest.mark.parametrize("which", ["tiny", "language_model"])
def test_memory_does_not_grow_with_the_requests(request, which):
    model = request.getfixturevalue(which)
    model = model() if which == "tiny" else model
    generator = LocalGenerator(model)
    for n in range(200):
        prompt = model.encode(f"{n}: When?" + " word" * (80 if which == "tiny" else 0), True)
        list(generator.stream(prompt, SamplingParams(max_new_tokens=1)))
        if n == 19:
            before = resident_bytes()
    assert resident_bytes() - before < 50 * 2**20
