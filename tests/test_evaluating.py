"""`rag eval answers` and `rag eval sweep`: what they load, print and keep."""

import json

import pytest

from rag.evaluation.saved import read_rows
from tests.conftest import EXAMPLES

FAST = ["--language-model", "TINY", "--template", "plain", "--max-new-tokens", "3"]


@pytest.fixture
def squad(tmp_path):
    texts = {"The fee for a berth is 85 euros.": "What is the fee for a berth?", "Oak is bent.": "Which wood is bent?"}
    rows = [
        {"context": text, "qas": [{"id": asked, "question": asked, "answers": [{"text": text}]}]}
        for text, asked in texts.items()
    ]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"paragraphs": rows}]}))
    return file


def test_metrics_come_with_intervals_and_bad_rows_are_exit_code_3(rag, tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text('{"id": 1, "question": "Who?", "context": "Ann.", "answers": ["Ann"]}\n{\n{"id": 2}\n')
    code, shown, _ = rag("eval", "answers", file, "--json", *FAST, "--embedder", "no-such")  # which nothing needs
    result = json.loads(shown)
    assert (code, result["questions"], result["answerable"], result["errors"]) == (3, 3, 1, 2)
    assert set(result["intervals"]) == {name for name, value in result["metrics"].items() if value is not None}
    code, shown, _ = rag("eval", "answers", file, "--limit", "1", *FAST)
    assert code == 0
    assert "exact_match" in shown
    assert "95 % interval" in shown
    assert "over 1 questions, 1 answerable, 0 errors" in shown


def test_a_squad_file_is_answered_from_its_own_paragraphs_unless_a_collection_is_named(rag, squad, tmp_path):
    own, other, closed = tmp_path / "own", tmp_path / "other", tmp_path / "closed"
    code, shown, _ = rag("eval", "answers", squad, "--out", own, "--json", "--passages", "1", *FAST)
    assert (code, json.loads(shown)["metrics"]["passage_recall"]) == (0, 1)
    rag("eval", "answers", squad, "--out", other, "--collection", "examples", *FAST)
    rag("eval", "answers", squad, "--out", closed, "--closed-book", *FAST)
    manifests = [json.loads((run / "manifest.json").read_text()) for run in (own, other, closed)]
    assert [manifest["reading"] for manifest in manifests] == ["own", "collection", "closed-book"]
    assert [manifest["collection"] is None for manifest in manifests] == [False, False, True]
    rows = [read_rows(run / "answers.jsonl") for run in (own, other, closed)]
    assert ["relevant_rank" in row for of_run in rows for row in of_run] == [True, True, False, False, False, False]
    assert [len(of_run[0]["passages"]) for of_run in rows] == [1, 3, 0]
    # Its collection is made anew each time, and still the run goes on: it is told by the data.
    assert rag("eval", "answers", squad, "--out", own, "--json", "--passages", "1", *FAST)[1] == shown
    code, _, said = rag("eval", "answers", squad, "--out", own, "--json", "--passages", "2", *FAST)
    assert (code, "another passages" in said) == (2, True)


def test_the_examples_name_their_right_passages(rag):
    code, shown, _ = rag("eval", "answers", EXAMPLES / "questions.jsonl", "--limit", "3", "--json", *FAST)
    assert (code, json.loads(shown)["metrics"]["passage_recall"]) == (0, 1)


def test_a_sweep_says_what_each_temperature_does(rag, squad, tmp_path):
    arguments = ["eval", "sweep", squad, "--closed-book", "--out", tmp_path / "run", *FAST]
    code, shown, _ = rag(*arguments, "--temperature", "0,1.5", "--samples", "2", "--json")
    result = json.loads(shown)
    assert code == 0
    assert [part["temperature"] for part in result["temperatures"]] == [0, 1.5]
    assert len((tmp_path / "run" / "samples.jsonl").read_text().splitlines()) == 2 * (1 + 2)
    code, shown, _ = rag(*arguments, "--temperature", "0,1.5", "--samples", "2")
    assert "temperature 1.5" in shown
    assert "agreement" in shown
    code, _, said = rag(*arguments, "--temperature", "0", "--samples", "2")
    assert (code, "another sweep" in said) == (2, True)
    assert rag(*arguments, "--temperature", "-1")[0] == 2
    assert rag(*arguments, "--temperature", "hot")[0] == 2
    assert "--temperature T " in rag("ask", "--help")[1]
