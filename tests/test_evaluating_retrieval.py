"""`rag eval retrieval`: the formats it reads, metrics worked out by hand, and what it refuses."""

import json
import math

import pytest

from rag.errors import InputError
from rag.evaluation.judged import read_judged
from rag.evaluation.retrieval import evaluate_retrieval, measure
from tests.conftest import HashingEmbedder

PARAGRAPHS = {"The fee for a berth is 85 euros.": ["what is the fee for a berth", "fee"], "oak is bent": ["oak"]}


@pytest.fixture
def squad(tmp_path):
    paragraphs = [
        {"context": text, "qas": [{"id": question, "question": question} for question in questions]}
        for text, questions in PARAGRAPHS.items()
    ]
    file = tmp_path / "squad.json"
    again = {"context": "oak is bent", "qas": [{"id": "bent", "question": "bent"}]}
    data = {"data": [{"paragraphs": paragraphs}, {"paragraphs": [again]}]}
    file.write_text(json.dumps(data), encoding="utf-8")
    return file


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": "a", "title": "Fees", "text": "A berth."}, {"_id": "b", "title": "", "text": "Oak."}]
    queries = [{"_id": "1", "text": "fees of a berth"}, {"_id": "2", "text": "oak"}, {"_id": "3", "text": "unjudged"}]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    qrels = "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\tb\t1\n2\tgone\t1\n"
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_each_distinct_paragraph_is_a_passage(squad):
    data = read_judged(squad)
    assert list(data.passages.values()) == list(PARAGRAPHS)
    assert len(data.queries) == 4
    assert data.relevant["bent"] == data.relevant["oak"]


def test_beir_joins_title_and_text_and_asks_what_is_judged(beir):
    data = read_judged(beir)
    assert data.passages == {"a": "Fees A berth.", "b": "Oak."}
    assert data.relevant == {"1": {"a": 2}, "2": {"b": 1}}
    assert list(read_judged(beir, 1).queries) == ["1"]
    assert len(read_judged(beir, 1).passages) == 2


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_half_characters_empty_texts_and_long_ones_are_data_too(tmp_path, mode):
    texts = {"fee \ud800 berth": "fee \ud800", "": "nothing", "x" * 50_000: "x"}
    paragraphs = [
        {"context": t, "qas": [{"id": q, "question": q}, {"id": "e", "question": " "}]} for t, q in texts.items()
    ]
    (tmp_path / "odd.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    result = evaluate_retrieval(read_judged(tmp_path / "odd.json"), HashingEmbedder(), mode)
    assert (result["queries"], result["passages"]) == (3, 3)
    assert 0 <= result["metrics"]["ndcg@10"] <= 1


@pytest.mark.parametrize("content", ["", "[]", '{"data": [{}]}', '{"data": []}', "\udcff"])
def test_other_files_are_refused_in_a_sentence(tmp_path, content):
    file = tmp_path / "x.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"SQuAD-format|no judged query"):
        read_judged(file)
    with pytest.raises(InputError, match="BEIR"):
        read_judged(tmp_path)


def test_the_measures_are_those_worked_out_by_hand():
    relevant = {"q1": {"a": 1}, "q2": {"b": 1, "c": 1}, "q3": {"d": 1}}
    run = {"q1": {"x": 3.0, "a": 2.0}, "q2": {"b": 3.0, "x": 2.0, "y": 1.0}}
    metrics, intervals = measure(relevant, run)
    ideal = 1 + 1 / math.log2(3)
    assert metrics["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / ideal + 0) / 3)
    assert metrics["recall@1"] == pytest.approx((0 + 0.5 + 0) / 3)
    assert metrics["recall@10"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert metrics["mrr"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert all(low <= metrics[name] <= high for name, (low, high) in intervals.items())
    assert measure(relevant, run) == (metrics, intervals)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_an_easy_set_is_answered_in_every_mode(squad, mode):
    result = evaluate_retrieval(read_judged(squad), None if mode == "lexical" else HashingEmbedder(), mode)
    assert result["metrics"] == pytest.approx(dict.fromkeys(result["metrics"], 1.0))
    assert (result["queries"], result["passages"], result["mode"]) == (4, 2, mode)


def test_the_command_prints_metrics_and_intervals(squad, rag):
    code, shown, _ = rag("eval", "retrieval", squad, "--mode", "lexical", "--json")
    result = json.loads(shown)
    assert code == 0
    assert set(result["metrics"]) == set(result["intervals"]) == {"ndcg@10", "recall@1", "recall@5", "recall@10", "mrr"}
    code, shown, _ = rag("eval", "retrieval", squad, "--limit", "2")
    assert "ndcg@10" in shown
    assert "2 queries over 2 passages" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["/nowhere"], 2, "neither a BEIR folder"),
        (["SQUAD", "--rerank", "nothing", "--mode", "lexical"], 4, "Unknown cross-encoder"),
        (["SQUAD", "--limit", "0"], 2, "not a positive number"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(rag, squad, arguments, code, sentence):
    arguments = [squad if a == "SQUAD" else a for a in arguments]
    found, _, error = rag("eval", "retrieval", *arguments)
    assert found == code
    assert sentence in error


def test_re_ranked_search_shows_the_judges_score_and_leaves_words_alone(rag):
    code, shown, _ = rag("search", "What does a berth cost?", "--rerank", "language-model", "--language-model", "TINY")
    assert code == 0
    assert "mean log P(question | passage) -" in shown
    code, shown, _ = rag("search", "What does a berth cost?", "--mode", "lexical", "--json")
    assert code == 0
    assert all(p["dense"] is None and p["rerank"] is None and p["lexical"] > 0 for p in json.loads(shown))
