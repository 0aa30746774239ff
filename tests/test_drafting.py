"""Laws of drafts: they save time and change nothing, neither a token nor a distribution nor a log-probability."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag.drafting import PromptLookup
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.counting import Counting, agree, alone, ids, sampled

COPY = "The workshop opens at nine and closes at five. The workshop opens at nine and closes at"


class Cheap(Counting):
    """A model of which one more token in a step costs nothing, so that drafts are always proposed."""

    draft_cost = 0.0


def drafted(model, prompt, params):
    """An answer with drafts, and how many tokens of it came from them."""
    spy = Cheap(model)
    steps = list(LocalGenerator(spy, prefix_bytes=0).stream(prompt, params))
    return steps, len(steps) - len(spy.given)


def looped(model, prompt, n):
    """A prompt that already holds what the model says next, as a text that is copied from does."""
    return [*prompt, *ids(alone(model, prompt, SamplingParams(max_new_tokens=n))), *prompt]


@pytest.mark.parametrize("kind", ["llama", "qwen", "gpt2"])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_new_tokens=60),
        SamplingParams(max_new_tokens=60, repetition_penalty=1.2),
        SamplingParams(max_new_tokens=60, no_repeat_ngram=12, penalties_read_prompt=True),
        SamplingParams(max_new_tokens=40, stop=("\x00", "z")),
        sampled(60, seed=11, temperature=0.05),
        sampled(60, seed=12, top_k=3, temperature=0.3),
    ],
    ids=["greedy", "penalty", "no-repeat", "stop", "cold", "top-k"],
)
def test_the_same_answer_with_and_without_drafts(tiny, kind, params):
    model = tiny(kind)
    prompt = looped(model, model.encode("Nine.", True), 40)
    steps, _ = drafted(model, prompt, params)
    assert agree(steps, alone(model, prompt, params))


def test_drafts_are_taken_where_a_model_repeats_itself(tiny):
    model = tiny()
    bias = tuple((i, 100.0) for i in model.encode("ab", True))
    params = SamplingParams(max_new_tokens=60, logit_bias=bias)  # two tokens only, so it soon runs in circles
    steps, saved = drafted(model, model.encode("abab", True), params)
    assert saved > 20
    assert agree(steps, alone(model, model.encode("abab", True), params))


@pytest.mark.parametrize(
    "params", [SamplingParams(max_new_tokens=24), sampled(24, seed=2, temperature=0.7)], ids=["greedy", "sampled"]
)
def test_the_bundled_model_copies_the_same_with_drafts(language_model, params):
    prompt = language_model.encode(COPY, True)
    steps, saved = drafted(language_model, prompt, params)
    assert agree(steps, alone(language_model, prompt, params))
    assert saved > 3 or params.temperature


def test_drafts_leave_the_distribution_of_what_is_sampled_as_it_is(tiny):
    # Three tokens out of 4 symbols, drawn by 1,000 seeds, against the probabilities that the chain rule gives.
    model = tiny()
    symbols = model.encode("abcd", True)
    bias = tuple((i, 100.0) for i in symbols)
    prompt = model.encode("abcdabdcabacab", True)
    spy = Cheap(model)
    generator = LocalGenerator(spy)
    counts = np.zeros(64)
    for seed in range(1000):
        params = SamplingParams(max_new_tokens=3, temperature=1.0, logit_bias=bias, seed=seed, alternatives=0)
        counts[np.ravel_multi_index([symbols.index(i) for i in ids(generator.stream(prompt, params))], (4, 4, 4))] += 1
    assert max(len(row) for row in spy.given[1:]) > 1  # they were proposed
    expected = np.zeros((4, 4, 4))
    for first in range(4):
        for second in range(4):
            before = [symbols[first], symbols[second]]
            steps = [generator.next_token([*prompt, *before[:n]])[symbols] for n in range(3)]
            first_p, second_p, third_p = (np.exp(s) / np.exp(s).sum() for s in steps)
            expected[first, second] = first_p[first] * second_p[second] * third_p
    expected = expected.ravel() * counts.sum()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 103.4  # the 99.9th percentile with 63 degrees of freedom


def test_no_draft_beyond_the_longest_answer_or_the_window(tiny):
    for kind, n_prompt, longest in (("gpt2", 505, 50), ("gpt2", 300, 7), ("llama", 40, 2)):
        model = tiny(kind)
        prompt = (model.encode("ab", True) * 256)[:n_prompt]
        bias = tuple((i, 100.0) for i in model.encode("ab", True))
        params = SamplingParams(max_new_tokens=longest, logit_bias=bias)
        spy = Cheap(model)
        steps = list(LocalGenerator(spy).stream(prompt, params))
        assert agree(steps, alone(model, prompt, params))
        assert len(steps) == min(longest, model.context_window - n_prompt)
        assert sum(len(row) for row in spy.given) - n_prompt <= len(steps) * 16
        assert all(len(row) < len(steps) + 1 for row in spy.given[1:])


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_end_token_or_a_stop_string_inside_a_draft(tiny, place):
    model = tiny()
    end = min(model.end_tokens)
    a, b = model.encode("ab", True)
    prompt = [*([a] * (8 + place)), b, end, *([a] * 8)]
    for params in (
        SamplingParams(max_new_tokens=60, logit_bias=((a, 100.0), (end, 99.9), (b, 99.95))),
        SamplingParams(max_new_tokens=60, temperature=1, seed=place, logit_bias=((a, 100.0), (end, 99.0), (b, 99.0))),
        SamplingParams(max_new_tokens=60, stop=("aaaaaaab",), logit_bias=((a, 100.0), (b, 100.1))),
        SamplingParams(max_new_tokens=60, stop=("aaaa",), min_new_tokens=9, logit_bias=((a, 200.0),)),
    ):
        steps, _ = drafted(model, prompt, params)
        assert agree(steps, alone(model, prompt, params))


def test_after_a_draft_that_the_answer_ended_in_the_next_request_is_right(tiny):
    model = tiny()
    a = model.encode("a", True)[0]
    generator = LocalGenerator(Cheap(model))
    prompt = [a] * 20
    ends = SamplingParams(max_new_tokens=60, stop=("aaaaaaa",), logit_bias=((a, 100.0),))
    steps = list(generator.stream(prompt, ends))
    assert (len(steps), steps[-1].finish_reason) == (7, "stop_string")
    for more in ([], ids(steps)[:5], [*ids(steps), 3, 4]):
        params = sampled(20, seed=1)
        assert agree(list(generator.stream([*prompt, *more], params)), alone(model, [*prompt, *more], params))


def test_a_greedy_answer_under_a_repeated_prompt_records_the_same_alternatives(tiny):
    model = tiny()
    prompt = looped(model, model.encode("Nine.", True), 40)
    with_drafts, _ = drafted(model, prompt, SamplingParams(max_new_tokens=40))
    without = alone(model, prompt, SamplingParams(max_new_tokens=40))
    for one, other in zip(with_drafts, without, strict=True):
        assert [a.token_id for a in one.alternatives] == [a.token_id for a in other.alternatives]
        assert torch.allclose(*(torch.tensor([a.logprob for a in s.alternatives]) for s in (one, other)), atol=1e-4)
        assert one.entropy == pytest.approx(other.entropy, abs=1e-4)


# the lookup by itself


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 20))
def test_it_proposes_what_followed_the_longest_context_the_last_time(token_ids, room):
    lookup = PromptLookup(token_ids, cost=0.0)
    expected = []
    for n in range(min(4, len(token_ids)), 0, -1):
        places = [i for i in range(n, len(token_ids)) if token_ids[i - n : i] == token_ids[-n:]]
        if places:
            expected = token_ids[places[-1] :]
            break
    proposed = lookup.propose(room)
    assert proposed == expected[: len(proposed)]
    assert len(proposed) <= room
    assert bool(proposed) == bool(expected and room)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.data())
def test_text_in_pieces_is_the_same_as_in_one(token_ids, data):
    cut = data.draw(st.integers(0, len(token_ids)))
    pieces = PromptLookup(token_ids[:cut], 0.1)
    pieces.extend(token_ids[cut:])
    assert pieces.propose(20) == PromptLookup(token_ids, 0.1).propose(20)


def test_it_proposes_nothing_where_a_token_costs_a_step():
    assert PromptLookup([1, 2, 3, 4, 5] * 4, cost=1.0).propose(20) == []
    assert PromptLookup([1, 2, 3, 4, 5] * 4, cost=0.1).propose(20) != []


def test_it_stops_where_nothing_is_kept_and_goes_on_where_all_is():
    lookup = PromptLookup([1, 2, 3, 4, 5] * 8, cost=0.1)
    lengths = []
    for _ in range(40):
        lengths.append(len(lookup.propose(20)))
        lookup.learn(lengths[-1], 0)
    assert lengths[0] > 1
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == 0
    eager = PromptLookup([1, 2, 3, 4, 5] * 8, cost=0.1)
    for _ in range(12):
        n = len(eager.propose(20))
        eager.learn(n, n)
    assert len(eager.propose(20)) >= lengths[0]
