"""Laws of the embedder: vectors of sentence-transformers, in the order of the texts; int8 is nearly the same."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.embedding import Embedder, _batches
from rag.errors import ModelError
from rag.linear import Int8Linear
from rag.models import bundled_file
from tests.conftest import byte_tokenizer

TEXTS = [
    "",
    " ",
    "tea",
    "The boats are tarred every spring. " * 200,  # far beyond the window
    "工坊每年春天给船只涂焦油。",
    "造船" * 400,
    "Ünïcödé, \U0001f6f6 and 工坊 in one line",
    "The workshop keeps its boats on the slipway below the old ropeworks.",
    "The membership fee is due on the first of March.",
] + [f"Rule {n}: " + "mind the steam box, " * n for n in range(40)]


@pytest.fixture(scope="module")
def reference():
    """Text -> the vector that SentenceTransformer.encode gives for it in its default settings."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(bundled_file("embedder")), device="cpu", local_files_only=True)
    return dict(zip(TEXTS, model.encode(TEXTS), strict=True))


@pytest.fixture(scope="module")
def int8():
    """The bundled embedder in int8."""
    return Embedder(bundled_file("embedder"), "cpu", "int8")


@pytest.mark.parametrize("seed", range(3))
def test_vectors_are_those_of_encode_in_any_order_and_mix(embedder, reference, seed):
    chosen = random.Random(seed)
    texts = chosen.choices(TEXTS, k=chosen.randint(1, 60))
    vectors = embedder.embed_passages(texts)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [reference[text] for text in texts], atol=1e-5)


def test_all_texts_at_once(embedder, reference):
    assert np.allclose(embedder.embed_passages(TEXTS), list(reference.values()), atol=1e-5)


def test_a_question_is_embedded_as_encode_does(embedder, reference):
    assert np.allclose(embedder.embed_question("tea"), reference["tea"], atol=1e-5)


def test_another_pipeline_keeps_its_own_prompts(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = byte_tokenizer().backend_tokenizer  # one that cannot be called
    prompts = {"query": "Asked: ", "document": "Read: "}
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], prompts=prompts, device="cpu")
    model.save(str(tmp_path), create_model_card=False)
    embedder = Embedder(tmp_path, "cpu")
    expected = model.encode(["Read: " + text for text in TEXTS], normalize_embeddings=True)
    assert np.allclose(embedder.embed_passages(TEXTS), expected, atol=1e-5)
    expected = model.encode("Asked: tea", normalize_embeddings=True)
    assert np.allclose(embedder.embed_question("tea"), expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_vectors_have_unit_length(request, precision):
    vectors = request.getfixturevalue("embedder" if precision == "float32" else "int8").embed_passages(TEXTS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_progress_grows_to_the_number_of_texts(embedder):
    seen = []
    embedder.embed_passages(TEXTS, on_progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == len(TEXTS)


def test_no_texts_no_vectors(embedder):
    vectors = embedder.embed_passages([], on_progress=lambda done: pytest.fail("nothing to tell"))
    assert vectors.shape == (0, embedder.dimension)


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 1000))
def test_batches_hold_every_text_once_longest_first_within_the_budget(counts, budget):
    batches = list(_batches(counts, budget))
    order = [i for rows in batches for i in rows]
    assert sorted(order) == list(range(len(counts)))
    assert [counts[i] for i in order] == sorted(counts, reverse=True)
    assert all(len(rows) == 1 or len(rows) * counts[rows[0]] <= budget or counts[rows[0]] == 0 for rows in batches)


def test_int8_is_near_float32_and_runs_in_int8(int8, reference):
    assert any(isinstance(module, Int8Linear) for module in int8._model.modules())
    cosines = (int8.embed_passages(TEXTS) * np.stack(list(reference.values()))).sum(axis=1)
    assert cosines.min() > 0.97


def test_int8_vectors_hardly_depend_on_the_other_texts(int8):
    together = int8.embed_passages(TEXTS)
    alone = np.stack([int8.embed_passages([text])[0] for text in TEXTS])
    assert (together * alone).sum(axis=1).min() > 0.99  # not 1: a last bit of a float can round to the next integer


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(2, 600), st.integers(2, 40), st.booleans())
def test_an_int8_layer_is_within_its_rounding_error(rows, inputs, outputs, bias):
    import torch

    torch.manual_seed(0)
    linear = torch.nn.Linear(inputs, outputs, bias=bias)
    # Weights and activations at the ends of their ranges, where sums are most likely to overflow.
    torch.nn.init.constant_(linear.weight, 0.5)
    given_rows = torch.randn(1, rows, inputs).sign()
    given_rows[0, 0] = 1
    with torch.inference_mode():
        assert torch.allclose(Int8Linear(linear)(given_rows), linear(given_rows), rtol=1e-4, atol=1e-4)


def test_unknown_precisions_and_devices_are_refused():
    with pytest.raises(ModelError, match="use float32 or int8"):
        Embedder(bundled_file("embedder"), "cpu", "int4")
    with pytest.raises(ModelError, match="use float32 or the device cpu"):
        Embedder(bundled_file("embedder"), "cuda", "int8")
