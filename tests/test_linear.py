"""Laws of the products: packed float32 is float32, int8 is near it, and no row has a say in another's."""

import platform

import pytest
import torch
from torch import nn

from rag.errors import ModelError
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.linear import Int8Linear, float_linear, int8_linear, quantise
from rag.schema import SamplingParams
from tests.counting import PROMPT, ids, rows_of, sampled

TEXT = (
    "A lighthouse is a tower that sends out light to guide ships at night. The keeper lit the lamp at dusk, trimmed "
    "its wick every four hours, and wrote the weather into a log. When fog hid the light, a horn was blown."
)


def a_layer(outputs, inputs, bias):
    torch.manual_seed(outputs + inputs)
    return nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(512, 64), (256, 64), (64, 64), (17, 3), (1000, 96)], ids=str)
@pytest.mark.parametrize("rows", [(1,), (2,), (8,), (33,), (1, 1), (3, 5)], ids=str)
def test_packed_equals_plain(shape, bias, rows):
    layer = a_layer(*shape, bias)
    activations = torch.randn(*rows, shape[1])
    assert torch.allclose(float_linear(layer)(activations), layer(activations), atol=1e-5)


def test_packed_equals_plain_on_rows_cut_out_of_others():
    layer = a_layer(512, 64, True)
    whole = torch.randn(6, 4, 64)
    for part in (whole[:, -1:], whole[1::2], whole.transpose(0, 1)[1], torch.randn(6, 128)[:, ::2]):
        assert torch.allclose(float_linear(layer)(part), layer(part), atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_fifteen_bits_of_activations_are_nearer_than_eight(rows):
    layer, activations = a_layer(300, 200, True), torch.randn(rows, 200)
    with torch.no_grad():
        layer.weight.copy_((layer.weight * 500).round().clamp(-63, 63).mul(0.01))  # weights that int8 holds exactly
        layer.weight[:, 0] = 0.63
    exact = layer(activations)
    coarse, fine = ((Int8Linear(layer, 63, fine)(activations) - exact).abs().max() for fine in (False, True))
    assert fine < coarse / 50


@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_int8_is_near_and_its_rows_are_independent(rows):
    layer = a_layer(300, 200, True)
    activations = torch.randn(rows, 200) * torch.logspace(-3, 3, rows)[:, None]
    quick = int8_linear(layer)
    exact = layer(activations)
    made = quick(activations)
    error = (made - exact).norm(dim=-1) / (exact - layer.bias).norm(dim=-1)
    assert error.max() < 0.03
    assert error.max() > 0  # it is int8
    for n in range(rows):
        assert torch.equal(quick(activations[n : n + 1])[0], made[n])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="which kernels oneDNN has was seen on x86 only")
@pytest.mark.parametrize("fine", [False, True])
def test_int8_is_not_computed_by_the_loop_that_onednn_tests_itself_with(fine, capfd):
    quick = int8_linear(a_layer(256, 128, False), fine)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        quick(torch.randn(5, 128))
    products = [line for line in capfd.readouterr().out.splitlines() if ",matmul," in line]
    assert products
    assert not any(",ref" in line for line in products)  # it takes hundreds of times as long


def test_int8_of_nothing_is_nothing():
    layer = a_layer(30, 20, False)
    assert torch.equal(int8_linear(layer)(torch.zeros(3, 20)), torch.zeros(3, 30))


def test_quantise_replaces_the_linear_layers_and_says_how_much_that_is():
    embedding, wide, narrow = nn.Embedding(1000, 10), a_layer(30, 10, True), a_layer(1, 30, True)
    model = nn.Sequential(embedding, wide, narrow)
    assert quantise(model) == pytest.approx(300 / 330)
    assert isinstance(model[1], Int8Linear)
    assert model[2] is narrow


# whole models


@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_int8_models_are_near_and_a_batch_is_near_single(tiny, tiny_folder, kind):
    model = LanguageModel(tiny_folder(kind), "cpu", "int8")
    generator = LocalGenerator(model, drafts=False)
    prompts = [model.encode(text, True) for text in (PROMPT, "x", "Another prompt. " * 9)]
    for prompt in prompts:
        exact, near = (LocalGenerator(m).next_token(prompt) for m in (tiny(kind), model))
        assert 0 < abs(exact - near).max() < 0.05
    params = [sampled(20, seed=n) for n in range(3)]
    rows = rows_of(generator.batch(prompts, params))
    for n, row in rows.items():
        single = list(LocalGenerator(model, drafts=False).stream(prompts[n], params[n]))
        assert ids(row) == ids(single)
        assert max(abs(a.logprob - b.logprob) for a, b in zip(row, single, strict=True)) < 0.01


@pytest.fixture(scope="module")
def bundled_int8(bundled_folder):
    return LanguageModel(bundled_folder, "cpu", "int8")


def test_the_bundled_model_in_int8_is_near_float32(language_model, bundled_int8):
    token_ids = language_model.encode(TEXT, False)

    def distributions(model):
        return model.read([token_ids], model.new_cache(), keep=len(token_ids))[0].double().log_softmax(-1)

    exact, near = distributions(language_model), distributions(bundled_int8)
    divergence = (exact.exp() * (exact - near)).sum(-1)
    assert 0 < float(divergence.mean()) < 0.04  # where the CPU takes 8 bits a fifth of it, with 7 half


def test_the_bundled_model_in_int8_is_near_in_a_batch(bundled_int8):
    prompts = [bundled_int8.encode(text, True) for text in (PROMPT, "Name a boat:")]
    params = [SamplingParams(max_new_tokens=6)] * 2
    rows = rows_of(LocalGenerator(bundled_int8).batch(prompts, params))
    for n, row in rows.items():
        single = LocalGenerator(bundled_int8, drafts=False, prefix_bytes=0).stream(prompts[n], params[n])
        # Measured: equal on most CPUs. A last bit that differs becomes a level that differs, so the bound is what int8
        # itself moves, and where two tokens are that near the answers may part.
        for a, b in zip(row, single, strict=True):
            here, there = ({known.token_id: known.logprob for known in step.alternatives} for step in (a, b))
            assert {a.token_id, b.token_id} <= here.keys() & there.keys()
            assert max(abs(here[token] - there[token]) for token in (a.token_id, b.token_id)) < 0.5
            if a.token_id != b.token_id:
                break


def test_int8_is_refused_off_the_cpu(tiny_folder):
    for device in ("cuda", "mps"):
        with pytest.raises(ModelError, match=f"int8 .* not on {device}"):
            LanguageModel(tiny_folder("llama"), device, "int8")
    with pytest.raises(ModelError, match="Unknown precision 'int4'"):
        LanguageModel(tiny_folder("llama"), "cpu", "int4")


def test_int8_is_refused_where_most_of_a_model_would_stay_as_it_is(tiny_folder):
    with pytest.raises(ModelError, match=r"gpt2 model's weights .* use float32"):
        LanguageModel(tiny_folder("gpt2"), "cpu", "int8")
