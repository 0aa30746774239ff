"""Fusion: each side counts by its scores, and a side that knows nothing spoils nothing."""

import pytest

from rag.errors import InputError
from rag.retrieval import retrieve
from tests.conftest import HashingEmbedder

TEXTS = [
    "the tea room serves soup at noon",
    "the slipway floods",
    "工坊的防火门每天晚上关闭",
    "oak ribs are steamed",
    "tea",
]


@pytest.fixture
def search(index, put):
    put(index, TEXTS)
    return lambda question, k=3: retrieve(index, HashingEmbedder().embed_question, question, k)


def test_best_first_with_every_score(search):
    found = search("where is the tea room")
    assert found[0].passage.text == TEXTS[0]
    assert [p.rank for p in found] == [1, 2, 3]
    assert [p.fused for p in found] == sorted((p.fused for p in found), reverse=True)
    for p in found:
        highest = max(q.lexical or 0 for q in search("where is the tea room", 9))
        assert p.fused == pytest.approx(0.53 * max(p.dense, 0) + 0.47 * (p.lexical or 0) / highest)


def test_words_find_what_the_embedder_does_not_know(search):
    assert search("防火门在哪里")[0].passage.text == TEXTS[2]


def test_without_a_common_word_the_vectors_decide(search):
    found = search("zzz")
    assert len(found) == 3
    assert all(p.lexical is None for p in found)


def test_k_passages_come_back_where_k_exist(search):
    assert len(search("tea", 2)) == 2
    assert len(search("tea", 50)) == len(TEXTS)


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(search, question):
    with pytest.raises(InputError, match="ask something"):
        search(question)


def test_an_empty_collection_finds_nothing(index):
    assert retrieve(index, HashingEmbedder().embed_question, "tea", 3) == []


def test_the_bundled_embedder_knows_meaning(embedder):
    vectors = embedder.embed_passages(
        ["A cat sat on the mat.", "The kitten rests on a rug.", "Interest rates rose again."]
    )
    assert vectors.shape == (3, embedder.dimension)
    assert (vectors**2).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]
    question = embedder.embed_question("A cat sat on the mat.")
    assert question @ vectors[0] == pytest.approx(1, abs=1e-5)


def test_the_order_of_texts_does_not_matter(embedder):
    texts = [f"word {'long ' * n}" for n in range(40)]
    forward, backward = embedder.embed_passages(texts), embedder.embed_passages(texts[::-1])
    assert abs(forward - backward[::-1]).max() < 1e-5
