"""Two runs: pairs, differences with intervals, wins and losses; and runs that cannot be compared."""

import json
import random

import pytest

from rag.errors import InputError
from rag.evaluation.bootstrap import interval
from rag.evaluation.compare import compare
from rag.evaluation.saved import METRICS, mean_token_probability, read_run, settings
from tests.run_rows import failed, row, save
from ui.cli import main


@pytest.fixture
def made(tmp_path):
    """A run from rows, read again."""

    def make(name, rows, **manifest):
        return read_run(save(tmp_path / name, rows, **manifest))

    return make


def some_rows(seed, n=40):
    chance = random.Random(seed)
    rows = [row(i, chance.choice([0.0, 0.5, 1.0]), timings={"total": chance.random()}) for i in range(n)]
    return rows + [row(n + i, None, abstained=chance.choice([None, "unsure"])) for i in range(n)]


def test_a_run_is_no_better_than_itself(made):
    run = made("a", some_rows(0))
    result = compare(run, run)
    assert (result["wins"], result["losses"], result["manifest_differences"]) == ([], [], {})
    for metric in result["metrics"].values():
        assert (metric["difference"], metric["interval"], metric["excludes_zero"]) == (0, [0, 0], False)
        assert metric["a"] == metric["b"]


def test_swapping_the_runs_negates(made):
    a, b = made("a", some_rows(1)), made("b", some_rows(2), passages=5)
    there, back = compare(a, b), compare(b, a)
    assert there["metrics"].keys() == back["metrics"].keys()
    for name, metric in there["metrics"].items():
        other = back["metrics"][name]
        assert metric["difference"] == pytest.approx(-other["difference"])
        assert metric["interval"] == pytest.approx([-end for end in reversed(other["interval"])])
        assert metric["excludes_zero"] == other["excludes_zero"]
        assert (metric["a"], metric["b"]) == (other["b"], other["a"])
    assert [(w["id"], w["difference"]) for w in there["wins"]] == [(w["id"], -w["difference"]) for w in back["losses"]]
    assert there["wins"]
    assert there["losses"]


def test_the_order_of_finishing_says_nothing(made):
    rows, others = some_rows(1), some_rows(2)
    there, back = (compare(made(f"a{s}", rows[::s]), made(f"b{s}", others[::s])) for s in (1, -1))
    assert there == back


def test_a_known_difference(made):
    a = made("a", [row(n, 0.0) for n in range(30)] + [row(n, 0.5) for n in range(30, 60)])
    b = made("b", [row(n, 1.0) for n in range(30)] + [row(n, 0.5) for n in range(30, 60)])
    result = compare(a, b)
    f1 = result["metrics"]["f1"]
    assert (f1["a"], f1["b"], f1["difference"], f1["questions"]) == (0.25, 0.75, 0.5, 60)
    low, high = f1["interval"]
    # Of a half and half of 0 and 1: 0.5 plus or minus 1.96 sqrt(0.25 / 60), give or take the resampling.
    assert (low, high) == (pytest.approx(0.373, abs=0.02), pytest.approx(0.627, abs=0.02))
    assert f1["excludes_zero"]
    assert [win["id"] for win in result["wins"]] == sorted(f"q{n}" for n in range(30))
    assert result["same_answer"] == 30
    assert result["losses"] == []


def test_chance_is_told_from_a_difference(made):
    rows = [row(n, float(n % 2)) for n in range(40)]
    a, b = made("a", rows), made("b", [*rows[1:], row(0, 1.0)])  # one question of 40 differs
    assert not compare(a, b)["metrics"]["f1"]["excludes_zero"]


def test_only_pairs_that_both_answered_count(made):
    a = made("a", [row(0), row(1), failed(2), row(3), row(4)])
    b = made("b", [row(4, 0.0), failed(1), row(2), row(3), row(5), row(6)])
    result = compare(a, b)
    assert result["questions"] == 2
    assert result["left_out"] == {"only_in_a": 1, "only_in_b": 2, "errors": 2}
    assert result["metrics"]["f1"]["a"] == 1


def test_wins_and_losses_come_with_both_answers_the_biggest_first(made):
    a = made("a", [row(0, 0.5), row(1, 0.0), row(2, None), row(3, 1.0), row(4, None, abstained="unsure")])
    b = made("b", [row(0, 0.75), row(1, 1.0), row(2, None, abstained="unsure"), row(3, 0.0), row(4, None)])
    result = compare(a, b)
    assert [(win["id"], win["difference"]) for win in result["wins"]] == [("q1", 1), ("q2", 1), ("q0", 0.25)]
    assert [(loss["id"], loss["difference"]) for loss in result["losses"]] == [("q3", -1), ("q4", -1)]
    assert result["wins"][0]["answers"] == ["oak"]
    assert result["wins"][0]["a"] == {"answer": "elm", "abstained": None, "score": 0}
    assert result["wins"][1]["b"]["abstained"] == "unsure"


def test_a_metric_counts_the_rows_that_it_knows(made):
    more = {"relevant_rank": None, "choice_correct": 1}
    run = made("a", [row(0, **more), row(1, relevant_rank=2, abstained="x"), row(2, None), failed(3)])
    found = compare(run, run)["metrics"]
    known = {name: (metric["a"], metric["questions"]) for name, metric in found.items()}
    assert known == {
        "exact_match": (1, 2),
        "f1": (1, 2),
        "choice_accuracy": (1, 1),
        "passage_recall": (0.5, 2),
        "refused_answerable": (0.5, 2),
        "refused_unanswerable": (0, 1),
        "tokens_per_question": (2, 3),
        "seconds_per_question": (0.5, 3),
    }
    assert set(METRICS) - set(found) == {"contained", "rouge_l", "bleu"}


def test_a_number_that_json_lacks_can_be_printed_and_drawn(tmp_path, capsys):
    a = save(tmp_path / "a", [row(0)], params={"logit_bias": [[5, float("-inf")]]})
    b = save(tmp_path / "b", [row(0)], params={"logit_bias": [[7, float("-inf")]]}, language_model="caf\udce9")
    assert main(["eval", "compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["manifest_differences"]
    assert found["params.logit_bias"] == {"a": [[5, None]], "b": [[7, None]]}
    assert main(["eval", "report", str(b)]) == 0


def test_manifests_are_compared_setting_by_setting(made):
    a = made("a", [row(0)], params={"temperature": 0, "seed": 0}, collection=None)
    b = made("b", [row(0)], params={"temperature": 0.7, "seed": 0}, collection={"contents": "x"}, limit=None)
    assert compare(a, b)["manifest_differences"] == {
        "params.temperature": {"a": 0, "b": 0.7},
        "collection.contents": {"a": None, "b": "x"},
    }
    assert settings({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(7)], "share no question"),
        ([row(0) | {"question": "Another?"}], "their data differ"),
        ([row(0) | {"answers": ["ash"]}], "their data differ"),
        ([failed(0), row(8)], "every pair has an error"),
    ],
)
def test_runs_over_other_questions_are_refused(made, rows, says):
    with pytest.raises(InputError, match=says):
        compare(made("a", [row(0)]), made("b", rows))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="holds no finished answer"):
        read_run(save(tmp_path / "empty", []))
    with pytest.raises(InputError, match="holds no finished answer"):
        read_run(save(tmp_path / "failed", [failed(0)]))
    with pytest.raises(InputError, match="line 2 has no usable answer"):
        read_run(save(tmp_path / "other", [row(0), row(1, answer=None)]))
    with pytest.raises(InputError, match="line 1 has no usable f1"):
        read_run(save(tmp_path / "text", [row(0) | {"f1": "high"}]))
    with pytest.raises(InputError, match="line 1 is no JSON object"):
        read_run(save(tmp_path / "list", [["q0"]]))
    with pytest.raises(InputError, match="twice"):
        read_run(save(tmp_path / "twice", [row(0), row(0)]))


def test_a_last_line_that_was_cut_off_is_passed_over(tmp_path):
    folder = save(tmp_path / "run", [row(0), row(1, answer="naïve 舟")])
    file = folder / "answers.jsonl"
    content = file.read_bytes()
    for cut in (content[:end] for end in range(content.index(b"\n") + 1, len(content))):
        file.write_bytes(cut)
        assert [r["id"] for r in read_run(folder).rows] == ["q0"]
        assert file.read_bytes() == cut  # a reader changes nothing


def test_what_json_and_utf8_cannot_hold_is_read_all_the_same(tmp_path):
    folder = save(tmp_path / "run", [row(0, answer="half \ud83d!"), row(1, answer="whole 🌊", logprob=float("-inf"))])
    first, second = read_run(folder).rows
    assert (first["answer"], second["answer"]) == ("half ?!", "whole 🌊")
    assert second["logprob"] is None


def test_the_mean_token_probability_is_geometric():
    assert mean_token_probability(row(0)) == pytest.approx(0.6065, abs=1e-4)  # exp(-1 / 2)
    assert mean_token_probability(row(0, logprobs=[], logprob=0.0)) is None


def test_an_interval_covers_the_mean_as_often_as_it_says():
    chance = random.Random(0)
    covered = 0
    for _ in range(100):
        low, high = interval([chance.random() for _ in range(30)])
        covered += low <= 0.5 <= high
    assert 88 <= covered <= 99


def test_the_command_prints_and_gives_data(tmp_path, capsys):
    a = save(tmp_path / "a", [*some_rows(1), failed(500)], passages=3)
    b = save(tmp_path / "b", [*some_rows(2), failed(500)], passages=5)
    assert main(["eval", "compare", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    for part in ("80 questions", "left out: 1 with an error", "passages: 3 -> 5", "B is better at", "accepted: oak"):
        assert part in out
    assert main(["eval", "compare", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare(read_run(a), read_run(b))
    assert main(["eval", "compare", str(a), str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
