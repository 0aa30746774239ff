"""Laws of the functions between logits and a token."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from rag import sampling
from rag.errors import GenerationError
from rag.schema import SamplingParams

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40).map(torch.tensor)


@given(LOGITS, st.floats(0.05, 5), st.integers(0, 60), st.floats(0, 1))
def test_kept_probabilities_sum_to_one(logits, temperature, k, p):
    logprobs = sampling.sampling_logprobs(logits, SamplingParams(temperature=temperature, top_k=k, top_p=p))
    assert logprobs.exp().sum().item() == pytest.approx(1, abs=1e-5)


@given(LOGITS)
def test_temperature_zero_is_the_argmax_and_the_lowest_id_on_ties(logits):
    logprobs = sampling.sampling_logprobs(logits, SamplingParams(temperature=0))
    best = logits.tolist().index(max(logits.tolist()))
    assert logprobs[best] == 0
    assert torch.isinf(logprobs).sum() == logits.numel() - 1


@given(st.permutations(range(20)), st.integers(0, 2**31))
def test_top_k_one_is_greedy(order, seed):
    logits = torch.tensor(order, dtype=torch.float32)
    logprobs = sampling.sampling_logprobs(logits, SamplingParams(temperature=3, top_k=1))
    assert sampling.draw(logprobs, torch.Generator().manual_seed(seed)) == int(logits.argmax())


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"top_k": 2}, 2),
        ({"top_k": 99}, 4),  # above the vocabulary: all
        ({"top_p": 0.0}, 1),  # never none
        ({"top_p": 0.6}, 2),
        ({"top_p": 0.5}, 1),  # 0.5 alone reaches it
        ({"top_p": 1.0}, 4),
        ({"top_k": 3, "top_p": 0.99}, 3),
        ({"min_p": 0.5}, 2),  # 0.3 is above half of 0.5, 0.15 below
        ({"min_p": 1.0}, 1),
        ({"typical_p": 0.0}, 1),  # never none
        ({"typical_p": 0.9}, 3),
        ({"typical_p": 1.0}, 4),
    ],
)
def test_how_many_tokens_stay(params, kept):
    logits = torch.tensor([0.15, 0.5, 0.3, 0.05]).log()
    logprobs = sampling.sampling_logprobs(logits, SamplingParams(temperature=1, **params))
    assert torch.isfinite(logprobs).sum() == kept


def test_ties_with_the_kth_are_all_kept():
    assert torch.isfinite(sampling.keep_top_k(torch.tensor([1.0, 2.0, 1.0, 0.0]), 2)).sum() == 3


def test_ties_and_edges():
    logits = torch.tensor([0.0, 2.0, 1.0, 2.0])
    assert torch.isfinite(sampling.keep_min_p(logits, 1)).tolist() == [False, True, False, True]
    assert torch.isfinite(sampling.keep_top_p(logits, 0)).tolist() == [False, True, False, False]  # the lowest id
    assert torch.isfinite(sampling.keep_typical(torch.zeros(4), 0)).all()
    # Probabilities 0.9 and 10 times 0.01, entropy 0.56: the surprisal of the first, 0.11, is nearest to it.
    peaked = torch.tensor([0.01] * 10 + [0.9]).log()
    assert torch.isfinite(sampling.keep_typical(peaked, 0.5)).tolist() == [False] * 10 + [True]
    # Probabilities 0.2 and 80 times 0.01, entropy 4.0: surprisals 1.6 and 4.6, so the most probable one goes.
    spread = torch.tensor([0.01] * 80 + [0.2]).log()
    assert torch.isfinite(sampling.keep_typical(spread, 0.5)).tolist() == [True] * 80 + [False]


NGRAMS = st.lists(st.integers(0, 3), max_size=30)


def transformers_chain(params, logits, generated, prompt, end_tokens):
    """The same controls by transformers' processors, in the order in which `generate` puts them together."""
    chain = LogitsProcessorList()
    if params.logit_bias:
        chain.append(SequenceBiasLogitsProcessor({(i,): float(value) for i, value in params.logit_bias}))
    if params.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.no_repeat_ngram:
        chain.append(NoRepeatNGramLogitsProcessor(params.no_repeat_ngram))
    if params.min_new_tokens:
        ends = sorted(end_tokens)
        chain.append(MinNewTokensLengthLogitsProcessor(len(prompt), params.min_new_tokens, ends))
    if params.begin_suppress_tokens:
        chain.append(SuppressTokensAtBeginLogitsProcessor(list(params.begin_suppress_tokens), len(prompt)))
    chain.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        chain.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        chain.append(TopPLogitsWarper(params.top_p))
    chain.append(MinPLogitsWarper(params.min_p))
    if params.typical_p < 1:
        chain.append(TypicalLogitsWarper(params.typical_p))
    return chain(torch.tensor([[*prompt, *generated]]), logits[None].clone())[0].log_softmax(-1)


@pytest.mark.parametrize(
    "controls",
    [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.5},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2},
        {"no_repeat_ngram": 3},
        {"min_new_tokens": 11},
        {"min_new_tokens": 10},  # 10 are there
        {"logit_bias": ((3, 2.5), (0, -4.0), (7, -math.inf))},
        {"logit_bias": ((3, 2), (0, -4))},
        {"begin_suppress_tokens": (3, 0)},
        {"top_k": 12},
        {"top_p": 0.7},
        {"min_p": 0.1},
        {"typical_p": 0.4},
        {"temperature": 0.6, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.8},
        {
            **{"temperature": 1.7, "top_k": 60, "top_p": 0.95, "min_p": 0.005, "typical_p": 0.9},
            **{
                "repetition_penalty": 1.2,
                "no_repeat_ngram": 2,
                "min_new_tokens": 20,
                "logit_bias": ((1, 3.0), (2, -1.0)),
            },
        },
    ],
)
def test_each_control_and_the_whole_chain_equal_transformers(controls):
    generator = torch.Generator().manual_seed(1)
    params = SamplingParams(**{"temperature": 1.0, "penalties_read_prompt": True, **controls})
    ends = frozenset({0, 5})
    for n in range(200):
        logits = torch.randn(100, generator=generator) * 3
        prompt, generated = torch.randint(0, 6, (2, 10), generator=generator).tolist()
        generated = generated[: 0 if "begin_suppress_tokens" in controls and n % 2 else None]
        ours = sampling.sampling_logprobs(logits, params, generated, prompt, ends)
        theirs = transformers_chain(params, logits, generated, prompt, ends)
        assert torch.equal(ours == -math.inf, theirs == -math.inf)
        assert torch.allclose(ours.exp(), theirs.exp(), atol=1e-6)


@given(LOGITS, st.data())
def test_the_raw_logits_are_never_changed(logits, data):
    seen = data.draw(st.lists(st.integers(0, logits.numel() - 1), max_size=9))
    every = {"top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9, "logit_bias": ((0, 1.0),)}
    params = SamplingParams(
        min_new_tokens=5, repetition_penalty=2, temperature=data.draw(st.sampled_from([0, 1, 2])), **every
    )
    before = logits.clone()
    logprobs = sampling.sampling_logprobs(logits, params, seen, end_tokens=frozenset({99}))
    assert torch.equal(logits, before)
    assert logprobs.exp().sum().item() == pytest.approx(1, abs=1e-5)


@given(NGRAMS, NGRAMS, st.integers(1, 4), st.booleans())
def test_no_ngram_comes_twice(prompt, generated, n, reads_prompt):
    params = SamplingParams(no_repeat_ngram=n, penalties_read_prompt=reads_prompt, temperature=1)
    history = prompt + generated if reads_prompt else generated
    there = {tuple(history[i : i + n]) for i in range(len(history) - n + 1)}
    kept = torch.isfinite(sampling.sampling_logprobs(torch.zeros(9), params, generated, prompt))
    last = history[len(history) - n + 1 :] if n > 1 else []
    assert kept.tolist() == [(*last, token) not in there for token in range(9)]


def test_penalties_leave_the_prompt_alone_unless_told():
    logits, prompt = torch.zeros(9), [1, 2, 1, 2]
    params = SamplingParams(temperature=1, no_repeat_ngram=1, repetition_penalty=3)
    assert torch.equal(sampling.sampling_logprobs(logits, params, (), prompt), logits.log_softmax(-1))


@pytest.mark.parametrize(
    ("controls", "says"),
    [
        ({"logit_bias": tuple((i, -math.inf) for i in range(4))}, "The controls leave no token"),
        ({"logit_bias": ((0, -math.inf),), "no_repeat_ngram": 1}, "The controls leave no token"),
        ({"logit_bias": ((4, 1.0),)}, "names token 4, but the model's ids end at 3"),
        ({"logit_bias": ((0, 1e39),)}, "The controls leave no token"),
    ],
)
@pytest.mark.parametrize("temperature", [0, 0.7, 1])
def test_where_no_token_is_left_it_says_so(controls, says, temperature):
    with pytest.raises(GenerationError, match=says):
        sampling.sampling_logprobs(torch.zeros(4), SamplingParams(temperature=temperature, **controls), [1, 2, 3])


@pytest.mark.parametrize("wrong", [[0, math.nan, 1], [0, math.inf, 1], [-math.inf] * 3])
@pytest.mark.parametrize(
    "controls", [{}, {"temperature": 1}, {"temperature": 0.5, "top_p": 0.5}, {"no_repeat_ngram": 1}]
)
def test_logits_that_are_no_numbers_are_refused(wrong, controls):
    with pytest.raises(GenerationError, match="highest logit is"):
        sampling.sampling_logprobs(torch.tensor(wrong), SamplingParams(**controls), [0])


def test_a_model_may_rule_out_tokens_itself():
    logits = torch.tensor([-math.inf, 1.0, 0.0])
    every = SamplingParams(temperature=0.5, top_k=9, top_p=1, min_p=0.01, typical_p=0.99, repetition_penalty=2)
    assert torch.isfinite(sampling.sampling_logprobs(logits, every, [0])).tolist() == [False, True, True]


@given(LOGITS, st.integers(0, 2**31), st.sampled_from([{}, {"temperature": 1}, {"temperature": 2, "top_k": 2}]))
def test_a_draw_takes_one_random_number_and_never_a_removed_token(logits, seed, controls):
    logprobs = sampling.sampling_logprobs(logits, SamplingParams(**controls))
    drawn, beside = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    assert logprobs[sampling.draw(logprobs, drawn)] > -math.inf
    torch.rand(1, generator=beside, dtype=torch.float64)
    assert torch.equal(drawn.get_state(), beside.get_state())


def test_draws_follow_the_distribution():
    logprobs = torch.tensor([0.6, 0.3, 0.1, 0.0]).log()
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([sampling.draw(logprobs, generator) for _ in range(5000)]), minlength=4)
    # chi-square over the three possible tokens, 2 degrees of freedom: 13.8 is the 0.1 % bound
    expected = torch.tensor([3000.0, 1500.0, 500.0])
    assert ((counts[:3] - expected) ** 2 / expected).sum() < 13.8
    assert counts[3] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
        {"min_new_tokens": 65},
        {"min_new_tokens": -1},
        {"min_p": 1.1},
        {"typical_p": -0.1},
        {"repetition_penalty": 0},
        {"repetition_penalty": math.inf},
        {"no_repeat_ngram": -1},
        {"logit_bias": ((-1, 0.0),)},
        {"logit_bias": ((1, math.inf),)},
        {"logit_bias": ((1, math.nan),)},
        {"logit_bias": ((1, 0.0), (1, 2.0))},
        {"stop": ("",)},
        {"begin_suppress_tokens": (-1,)},
        {"beams": 2, "begin_suppress_tokens": (1,)},
        {"seed": -1},
        {"alternatives": -1},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        SamplingParams(**wrong)
