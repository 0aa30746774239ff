"""Metrics by hand, and a run that can be cut off anywhere."""

import json

import pytest

from rag.assistant import Assistant
from rag.errors import InputError
from rag.evaluation import metrics
from rag.evaluation.datasets import read_questions
from rag.evaluation.run import read_rows, run_answers, summary
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.conftest import HashingEmbedder


@pytest.mark.parametrize(
    ("text", "answers", "em", "f1", "contained"),
    [
        ("The Cat.", ["cat"], 1, 1, 1),  # case, article and punctuation do not count
        ("a black cat", ["the black dog", "cat"], 0, 2 / 3, 1),  # the best of the accepted answers
        ("in the year 1987", ["1987"], 0, 2 * (1 / 3) / (1 + 1 / 3), 1),  # P 1/3, R 1
        ("concatenate", ["cat"], 0, 0, 0),  # whole words only
        ("", ["x"], 0, 0, 0),
        ("$40", ["40"], 1, 1, 1),
        ("six six six", ["six"], 0, 0.5, 1),  # a word counts as often as it is expected
        ("三十六把桨。", ["三十六把"], 0, 2 * 4 / (5 + 4), 1),  # characters are words
        ("the", ["an"], 1, 1, 1),  # nothing is left of either
    ],
)
def test_metrics_worked_by_hand(text, answers, em, f1, contained):
    assert metrics.exact_match(text, answers) == em
    assert metrics.f1(text, answers) == pytest.approx(f1)
    assert metrics.contained(text, answers) == contained


def test_no_accepted_answer_is_no_match():
    assert metrics.f1("anything", []) == 0


@pytest.fixture
def assistant(index, put, tiny):
    put(index, ["boats float", "oars row"])
    return Assistant(index, HashingEmbedder(), LocalGenerator(tiny()), "tiny", "plain")


@pytest.fixture
def data(tmp_path):
    rows = [
        {"id": f"q{n}", "question": f"Does it float? {n}", "answers": ["yes"], "answerable": True} for n in range(4)
    ]
    rows.append({"id": "none", "question": "Why?", "answers": [], "answerable": False})
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


PARAMS = SamplingParams(max_new_tokens=4, temperature=1, seed=0)


def test_a_run_has_a_line_a_question_and_goes_on_where_it_stopped(assistant, data, tmp_path):
    run = tmp_path / "run"
    whole = run_answers(assistant, read_questions(data), run, PARAMS, 2)
    lines = (run / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["q0", "q1", "q2", "q3", "none"]
    # Cut off in the middle of the third line.
    (run / "answers.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:40])
    asked = []
    again = run_answers(
        assistant, read_questions(data), run, PARAMS, 2, on_row=lambda done, total: asked.append((done, total))
    )
    untimed = [json.loads(line) | {"timings": None} for line in (run / "answers.jsonl").read_text().splitlines()]
    assert untimed == [json.loads(line) | {"timings": None} for line in lines]  # same seed, same answers
    assert asked[-1] == (5, 5)
    assert again["questions"] == whole["questions"] == 5
    assert (again["answerable"], again["errors"]) == (4, 0)


def test_a_row_holds_what_was_read_and_written(assistant, data, tmp_path):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    row = read_rows(tmp_path / "run" / "answers.jsonl")[0]
    assert len(row["token_ids"]) == len(row["logprobs"]) == len(row["sampled_logprobs"]) == 4
    assert row["logprob"] == pytest.approx(sum(row["logprobs"]))
    assert {p["source"] for p in row["passages"]} == {"/doc0.txt", "/doc1.txt"}


def test_a_question_that_fails_is_an_error_row(assistant, tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text('{"id": 1, "question": " "}\n\n{"id": 2, "question": "fine?", "answers": ["x"]}')
    result = run_answers(assistant, read_questions(file), tmp_path / "run", PARAMS, 2)
    assert (result["questions"], result["errors"]) == (2, 1)
    assert "ask something" in read_rows(tmp_path / "run" / "answers.jsonl")[0]["error"]


def test_a_run_is_not_mixed_with_another(assistant, data, tmp_path):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    with pytest.raises(InputError, match="another params"):
        run_answers(assistant, read_questions(data), tmp_path / "run", SamplingParams(max_new_tokens=5), 2)
    data.write_text(data.read_text() + "\n")
    with pytest.raises(InputError, match="another data"):
        run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_a_run_is_not_continued_on_other_documents(assistant, data, tmp_path, put):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    put(assistant.index, ["boats sink"], prefix="later")
    with assistant.index.writing():
        assistant.index.catalog.remove_sources(["/doc0.txt"])  # as many passages as before
    with pytest.raises(InputError, match="another collection"):
        run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_summary_by_hand():
    base = {"error": None, "timings": {"total": 2.0}, "abstained": None, "exact_match": 0, "f1": 0, "contained": 0}
    rows = [
        base | {"answerable": True, "exact_match": 1, "f1": 1, "contained": 1},
        base | {"answerable": True, "f1": 0.5, "abstained": "said so"},
        base | {"answerable": False, "abstained": "said so"},
        {"error": "failed"},
    ]
    assert summary(rows) == {
        "metrics": {
            "exact_match": 0.5,
            "f1": 0.75,
            "contained": 0.5,
            "refused_answerable": 0.5,
            "refused_unanswerable": 1.0,
            "seconds_per_question": 2.0,
        },
        "questions": 4,
        "answerable": 2,
        "errors": 1,
    }
    assert summary([])["metrics"]["f1"] is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no question"),
        ("{", "line 1"),
        ('{"id": 1}', "line 1"),
        ('["list"]', "line 1"),
        ('{"id": 1, "question": "a", "answers": "Paris"}', "list of strings"),
        ('{"id": 1, "question": "a", "answerable": "false"}', "true or false"),
        ('{"id": 1, "question": "a"}\n{"id": 1, "question": "b"}', "line 2: the id '1' occurs twice"),
    ],
)
def test_bad_question_files_are_refused(tmp_path, content, says):
    file = tmp_path / "q.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match=says):
        read_questions(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_questions(tmp_path / "missing.jsonl")
