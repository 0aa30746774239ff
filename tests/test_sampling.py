"""Laws of the functions between logits and a token."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from rag import sampling
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
    ],
)
def test_how_many_tokens_stay(params, kept):
    logits = torch.tensor([0.15, 0.5, 0.3, 0.05]).log()
    logprobs = sampling.sampling_logprobs(logits, SamplingParams(temperature=1, **params))
    assert torch.isfinite(logprobs).sum() == kept


def test_ties_with_the_kth_are_all_kept():
    assert torch.isfinite(sampling.keep_top_k(torch.tensor([1.0, 2.0, 1.0, 0.0]), 2)).sum() == 3


@given(LOGITS, st.floats(0.1, 3), st.integers(1, 50), st.floats(0.01, 0.99))
def test_each_filter_equals_transformers(logits, temperature, k, p):
    rows = logits[None]
    ours = sampling.apply_temperature(logits, temperature)
    assert torch.allclose(ours, TemperatureLogitsWarper(temperature)(None, rows)[0])
    assert torch.equal(sampling.keep_top_k(logits, k), TopKLogitsWarper(k)(None, rows)[0])


def test_top_p_equals_transformers():
    logits = torch.randn(500, 100, generator=torch.Generator().manual_seed(1)) * 3
    for row in logits:
        assert torch.equal(sampling.keep_top_p(row, 0.8), TopPLogitsWarper(0.8)(None, row[None])[0])


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
        {"stop": ("",)},
        {"seed": -1},
        {"alternatives": -1},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        SamplingParams(**wrong)
