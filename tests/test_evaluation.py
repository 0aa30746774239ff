"""A run: what its lines hold, what it goes on with, what one bad row costs, and that batches change nothing."""

import json
import math
from dataclasses import replace

import pytest

from rag.assistant import NOTHING_FOUND, Assistant
from rag.errors import GenerationError
from rag.evaluation.asking import Done, Task, given, seed_of
from rag.evaluation.datasets import Question, read_questions
from rag.evaluation.rows import row_of, summary
from rag.evaluation.run import run_answers
from rag.evaluation.saved import read_rows
from rag.generation import LocalGenerator
from rag.schema import SamplingParams, Timings, TokenStep
from rag.templates import REFUSAL, closed_book


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


def answers(run):
    return {row["id"]: row["token_ids"] for row in read_rows(run / "answers.jsonl") if not row["error"]}


def lines(file, *rows):
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return read_questions(file)


def test_a_run_has_a_line_a_question_and_goes_on_where_it_stopped(assistant, data, tmp_path):
    run = tmp_path / "run"
    whole = run_answers(assistant, read_questions(data), run, PARAMS, 2)
    lines = (run / "answers.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == ["none", "q0", "q1", "q2", "q3"]
    # Cut off in the middle of the third line.
    (run / "answers.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:40])
    asked = []
    again = run_answers(
        assistant, read_questions(data), run, PARAMS, 2, on_row=lambda done, total: asked.append((done, total))
    )
    assert answers(run) == {row["id"]: row["token_ids"] for row in map(json.loads, lines)}  # same seed, same answers
    assert (asked[0], asked[-1]) == ((2, 5), (5, 5))
    assert again["questions"] == whole["questions"] == 5
    assert (again["answerable"], again["errors"], again["first_error"]) == (4, 0, None)


def test_a_row_holds_what_was_read_and_written(assistant, data, tmp_path):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    row = read_rows(tmp_path / "run" / "answers.jsonl")[0]
    assert len(row["token_ids"]) == len(row["logprobs"]) == len(row["sampled_logprobs"]) == 4
    assert row["logprob"] == pytest.approx(sum(row["logprobs"]))
    assert {p["source"] for p in row["passages"]} == {"/doc0.txt", "/doc1.txt"}


def test_a_batch_changes_no_random_number_and_no_answer(assistant, data, tmp_path):
    for batch in (1, 2, 8):
        run_answers(assistant, read_questions(data), tmp_path / str(batch), PARAMS, 2, batch)
    assert answers(tmp_path / "1") == answers(tmp_path / "2") == answers(tmp_path / "8")
    assert len({str(row) for row in answers(tmp_path / "1").values()}) > 1


def test_an_answer_depends_on_nothing_but_its_own_question_and_the_seed(assistant, data, tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(reversed(data.read_text().splitlines()[1:3])))
    run_answers(assistant, read_questions(data), tmp_path / "all", PARAMS, 2)
    run_answers(assistant, read_questions(few), tmp_path / "few", PARAMS, 2)
    run_answers(assistant, read_questions(few), tmp_path / "seed", replace(PARAMS, seed=1), 2)
    assert answers(tmp_path / "few").items() <= answers(tmp_path / "all").items()
    assert answers(tmp_path / "seed") != answers(tmp_path / "few")
    assert seed_of(0, "11") != seed_of(1, "1") != seed_of(0, "1", 1)
    assert seed_of(2**53 - 1, "x") < 2**53


BAD_ROWS = [
    ('{"id": "a"', "line 2:"),
    ('["a"]', "a JSON object is needed"),
    ({"id": "a"}, "'question' is missing"),
    ({"question": "no id?"}, "'id' is missing"),
    ({"id": None, "question": "x"}, "id must be"),
    ({"id": "a", "question": 7}, "is no text"),
    ({"id": "a", "question": "x", "answers": "Paris"}, "answers must be a list of strings"),
    ({"id": "a", "question": "x", "answerable": "false"}, "true or false"),
    ({"id": "a", "question": "x", "context": 3}, "context must be a list of strings"),
    ({"id": "a", "question": "x", "relevant": 3}, "relevant must be a list"),
    ({"id": "a", "question": "x", "choices": ["b"], "answers": ["c"]}, "none of the answers"),
    ({"id": "good", "question": "again?"}, "'good' occurs twice"),
    ({"id": "a", "question": " "}, "ask something"),
    ({"id": "a", "question": "why " * 3000}, "do not fit into"),
    ("[" * 100_000, "line 2:"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_ROWS, ids=[says for _, says in BAD_ROWS])
def test_one_bad_row_is_an_error_row_and_not_the_end(assistant, tmp_path, bad, says):
    good = {"id": "good", "question": "Does it float?", "answers": ["yes"]}
    data = lines(tmp_path / "q.jsonl", good, bad, {"id": "line 2", "question": "fine?"})
    result = run_answers(assistant, data, tmp_path / "run", PARAMS, 2)
    assert (result["questions"], result["errors"]) == (3, 1)
    rows = read_rows(tmp_path / "run" / "answers.jsonl")
    (error,) = [row for row in rows if row["error"]]
    assert says in error["error"]
    assert set(error) == {"id", "question", "answers", "answerable", "relevant", "choices", "error"}
    assert len({row["id"] for row in rows}) == 3
    assert run_answers(assistant, data, tmp_path / "run", PARAMS, 2) == result  # errors are not asked again


class Failing:
    """A model that cannot go on after a letter; all else is the real one's."""

    def __init__(self, model, letter):
        self.model, self.letter = model, letter

    def __getattr__(self, name):
        return getattr(self.model, name)

    def read(self, ids, cache, first=0, keep=1):
        if any(self.letter in self.model.decode(row) for row in ids):
            raise GenerationError("no number to go on with")
        return self.model.read(ids, cache, first, keep)


def test_a_row_that_fails_takes_no_other_of_its_batch_with_it(assistant, tmp_path, tiny):
    rows = [{"id": n, "question": f"Is it {n}?", "context": f"{'Z' if n == 2 else 'x'} {n}"} for n in range(5)]
    data = lines(tmp_path / "q.jsonl", *rows)
    run_answers(assistant, data, tmp_path / "whole", PARAMS, 2)
    failing = Assistant(None, None, LocalGenerator(Failing(tiny(), "Z")), "tiny", "plain")
    result = run_answers(failing, data, tmp_path / "run", PARAMS, 2)
    assert result["errors"] == 1
    whole = answers(tmp_path / "whole")
    assert answers(tmp_path / "run") == {name: whole[name] for name in whole if name != "2"}


def test_given_passages_are_read_and_nothing_is_retrieved(tiny, tmp_path):
    reader = Assistant(None, None, LocalGenerator(tiny()), "tiny", "plain")
    data = lines(
        tmp_path / "q.jsonl",
        {"id": "one", "question": "Why?", "context": "A single passage."},
        {"id": "two", "question": "Why?", "context": ["The best.", "The second.", " "], "relevant": ["x"]},
        {"id": "none", "question": "Why?", "context": []},
    )
    result = run_answers(reader, data, tmp_path / "run", PARAMS, 1)
    rows = {row["id"]: row for row in read_rows(tmp_path / "run" / "answers.jsonl")}
    assert [p["rank"] for p in rows["two"]["passages"]] == [2, 1]  # k limits what is retrieved; the best stands last
    assert (rows["none"]["abstained"], rows["none"]["token_ids"]) == (NOTHING_FOUND, [])
    assert "relevant_rank" not in rows["two"]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["reading"] == "context"
    assert result["metrics"]["passage_recall"] is None
    with_none = lines(tmp_path / "r.jsonl", {"id": "one", "question": "Why?"})
    run_answers(reader, with_none, tmp_path / "other", PARAMS, 1)
    assert "no collection" in read_rows(tmp_path / "other" / "answers.jsonl")[0]["error"]


@pytest.mark.parametrize("name", ["plain", "examples", "chat"])
def test_closed_book_reads_nothing_but_the_question(tiny, tmp_path, name):
    generator = LocalGenerator(tiny())
    template = Assistant(None, None, generator, "tiny", name).template
    reader = Assistant(None, None, generator, "tiny", closed_book(template))
    prompt = reader.prompt("Who rows?", PARAMS)
    assert "Who rows?" in prompt.text
    assert "passage" not in prompt.text
    assert "engineer" not in prompt.text
    assert ("Ruth Calder" in prompt.text) == (name == "examples")
    data = lines(tmp_path / "q.jsonl", {"id": 1, "question": "Who rows?", "context": "oars"})
    run_answers(reader, data, tmp_path / "run", PARAMS, 2)
    (row,) = read_rows(tmp_path / "run" / "answers.jsonl")
    assert (row["passages"], row["abstained"], row["error"]) == ([], None, None)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["reading"] == "closed-book"


@pytest.mark.parametrize("name", ["plain", "plain:chat"])
def test_the_choice_is_the_most_likely_continuation(tiny, tmp_path, name):
    reader = Assistant(None, None, LocalGenerator(tiny()), "tiny", name)
    choices = ["a boat", "an oar", "tea"]
    row = {"question": "What floats?", "context": "boats float", "choices": choices}
    data = lines(
        tmp_path / "q.jsonl",
        *(row | {"id": n, "answers": [choice]} for n, choice in enumerate(choices)),
        row | {"id": "unjudged"},
    )
    result = run_answers(reader, data, tmp_path / "run", PARAMS, 2)
    prompt = reader.prompt("What floats?", PARAMS, passages=given(["boats float"]))
    blank = "" if name == "plain:chat" else " "
    scores = [
        float(reader.generator.score([(prompt.token_ids, reader.generator.model.encode(blank + c, False))])[0].sum())
        for c in choices
    ]
    for found in read_rows(tmp_path / "run" / "answers.jsonl"):
        assert found["choice"] == scores.index(max(scores))
        assert sum(found["choice_probabilities"]) == pytest.approx(1)
        assert math.log(found["choice_probabilities"][0] / found["choice_probabilities"][1]) == pytest.approx(
            scores[0] - scores[1], abs=1e-4
        )
    assert result["metrics"]["choice_accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("relevant", "rank"),
    [
        (["/doc0.txt"], 1),
        (["doc1.txt", "doc0.txt"], 1),  # the end of a path; any of them is right
        (["oc0.txt"], None),  # but not of a name
        ([1], 1),  # a passage's number
        ([{"document": "doc0.txt", "quote": "boats  float"}], 1),
        ([{"document": "doc0.txt", "quote": "boats sink"}], None),
        (["elsewhere.txt"], None),
    ],
)
def test_the_rank_of_the_right_passage(assistant, tmp_path, relevant, rank):
    data = lines(tmp_path / "q.jsonl", {"id": 1, "question": "do boats float", "relevant": relevant})
    result = run_answers(assistant, data, tmp_path / "run", PARAMS, 2)
    assert read_rows(tmp_path / "run" / "answers.jsonl")[0]["relevant_rank"] == rank
    assert result["metrics"]["passage_recall"] == float(rank is not None)


def test_the_words_of_a_refusal_are_not_right_by_chance(tiny):
    reader = Assistant(None, None, LocalGenerator(tiny()), "tiny", "plain")
    prompt = reader.prompt("Who says so?", PARAMS, passages=given(["oars"]))
    said = TokenStep(1, REFUSAL, -1.0, -1.0, 1, 0.0, ())
    answer = reader.answer(prompt, [said], PARAMS, Timings(0.0, None, 1.0))
    row = row_of(Done(Task(Question("1", "Who says so?", ("documents",)), PARAMS), answer))
    assert row["abstained"]
    assert (row["f1"], row["contained"], row["rouge_l"], row["bleu"]) == (0, 0, 0, 0)


def test_summary_by_hand():
    known = dict.fromkeys(("exact_match", "f1", "contained", "rouge_l", "bleu"), 0.0)
    unknown = dict.fromkeys(known)
    base = {"error": None, "timings": {"total": 2.0}, "abstained": None, "token_ids": [1], "choice_correct": None}
    rows = [
        base | known | {"answerable": True, "exact_match": 1, "f1": 1, "choice_correct": 1, "relevant_rank": 3},
        base | known | {"answerable": True, "f1": 0.5, "abstained": "said so", "relevant_rank": None},
        base | unknown | {"answerable": True, "token_ids": [1, 2, 3, 4]},  # nobody knows its answer
        base | unknown | {"answerable": False, "abstained": "said so", "token_ids": []},
        {"error": "failed", "answerable": True},
    ]
    rows = [row | {"id": str(n)} for n, row in enumerate(rows)]
    result = summary(rows)
    assert summary(rows[::-1]) == result
    assert result["metrics"] == {
        "exact_match": 0.5,
        "f1": 0.75,
        "contained": 0,
        "rouge_l": 0,
        "bleu": 0,
        "choice_accuracy": 1,
        "passage_recall": 0.5,
        "refused_answerable": pytest.approx(1 / 3),
        "refused_unanswerable": 1,
        "seconds_per_question": 2,
        "tokens_per_question": 1.5,
    }
    assert result["intervals"]["exact_match"] == [0, 1]
    assert (result["questions"], result["answerable"], result["errors"]) == (5, 3, 1)
    assert summary([])["metrics"]["f1"] is None
    assert summary([])["intervals"] == {}
