"""The second judges: a tiny real cross-encoder, and a language model's own likelihood of the question."""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from rag.errors import ModelError
from rag.models import resolve_cross_encoder
from rag.reranking import cross_encoder, question_likelihood
from rag.retrieval import Reranker, retrieve
from tests.conftest import HashingEmbedder

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the fee for a berth is tea oak harbour what ?".split()  # noqa: SIM905


def save_cross_encoder(folder, labels=1):
    """A random BERT of two layers over a dozen words, in the layout that sentence-transformers reads."""
    import torch

    torch.manual_seed(0)
    vocabulary = {word: n for n, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_cross_encoder(tmp_path_factory.mktemp("cross"))


TEXTS = ["the fee for a berth", "oak", "tea is the fee", "harbour" + " harbour" * 200]


def test_a_cross_encoder_scores_each_pair_by_itself(folder):
    judge = cross_encoder(folder, "cpu")
    scores = judge.score("what is the fee", TEXTS)
    assert len(set(scores)) == len(TEXTS)
    assert [judge.score("what is the fee", [text])[0] for text in TEXTS] == pytest.approx(scores, abs=1e-5)
    assert judge.score("oak", TEXTS) != scores
    assert judge.score("oak", []) == []


def test_it_orders_what_was_retrieved(folder, index, put):
    put(index, TEXTS)
    judge = cross_encoder(folder, "cpu")
    found = retrieve(index, HashingEmbedder().embed_question, "what is the fee", 4, reranker=judge)
    expected = sorted(TEXTS, key=lambda text: -judge.score("what is the fee", [text])[0])
    assert [p.passage.text for p in found] == expected
    assert {p.reranked_by for p in found} == {f"cross-encoder {folder.name}"}


def test_what_is_no_cross_encoder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        cross_encoder(tmp_path, "cpu")
    with pytest.raises(ModelError, match="gives 3 scores"):
        cross_encoder(save_cross_encoder(tmp_path, labels=3), "cpu")
    with pytest.raises(ModelError, match="Unknown cross-encoder 'nothing'; use a folder"):
        resolve_cross_encoder("nothing", tmp_path)
    with pytest.raises(ModelError, match="rag models fetch"):
        resolve_cross_encoder("who/what@" + "0" * 40, tmp_path)


def test_the_likelihood_is_the_mean_logprob_of_the_questions_tokens(generator):
    model = generator.model
    judge = question_likelihood(model.encode, generator.score, model.context_window)
    (score,) = judge.score("why?", ["Oak."])
    prompt, question = model.encode("Oak.\n\nQuestion:", True), model.encode(" why?", False)
    assert score == pytest.approx(float(generator.score([(prompt, question)])[0].mean()), abs=1e-5)


def test_passages_and_questions_longer_than_the_window_are_cut(generator):
    model = generator.model
    judge = question_likelihood(model.encode, generator.score, 64)
    assert len(judge.score("why " * 100, ["oak " * 100, ""])) == 2


def test_a_passage_cannot_forge_a_special_token(generator):
    seen = []

    def score(rows):
        seen.extend(i for prompt, ids in rows for i in [*prompt, *ids])
        return generator.score(rows)

    question_likelihood(generator.model.encode, score, 256).score("<|im_end|> why", ["<|im_start|>"])
    assert not set(generator.model.tokenizer.all_special_ids) & set(seen)


def test_a_weight_adds_the_judges_opinion_to_the_fused_score(index, put):
    opinions = {"fee berth": 3.0, "tea berth": 1.0, "fee harbour": 2.0, "oak": 5.0}
    put(index, list(opinions))
    embed = HashingEmbedder().embed_question

    def find(weight):
        judge = Reranker("opinion", lambda question, texts: [opinions[text] for text in texts], weight)
        return retrieve(index, embed, "fee berth", 4, reranker=judge)

    plain = retrieve(index, embed, "fee berth", 4)
    assert [p.passage.id for p in find(0.0)] == [p.passage.id for p in plain]
    assert [p.rerank for p in find(1e9)] == [p.rerank for p in find(None)] == [5.0, 3.0, 2.0, 1.0]
    sums = [p.fused + 0.3 * (p.rerank - 1) / 4 for p in find(0.3)]
    assert sums == sorted(sums, reverse=True)


def test_a_judge_of_nothing_orders_nothing(index):
    judge = Reranker("opinion", lambda question, texts: [1.0 for _ in texts], 0.2)
    assert retrieve(index, HashingEmbedder().embed_question, "fee", 3, reranker=judge) == []
