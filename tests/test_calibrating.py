"""Labelling, and `rag eval calibrate`: what is asked, what is kept, and whom the result serves."""

import json

import pytest

from rag.assistant import Assistant
from rag.errors import InputError
from rag.evaluation.datasets import read_questions
from rag.evaluation.labelling import KINDS, is_right, label_all, own_passages, to_ask
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.conftest import HashingEmbedder
from ui.calibrating import show

FAST = ["--language-model", "TINY", "--template", "plain", "--max-new-tokens", "4", "--passages", "2"]
PARAMS = SamplingParams(max_new_tokens=4, seed=0)
TOPICS = ["Boats", "Oars", "Tides"]


def rows_of(n=30, answers=lambda number: ["nobody says this"]):
    return [
        {
            "id": f"q{number}",
            "title": TOPICS[number % 3],
            "question": f"What does {TOPICS[number % 3]} number {number} cost?",
            "context": f"{TOPICS[number % 3]} number {number} cost {number} euros.",
            "answers": answers(number),
            "answerable": number % 5 != 4,
        }
        for number in range(n)
    ]


@pytest.fixture
def write(tmp_path):
    def write_rows(rows, name="rows.jsonl"):
        file = tmp_path / name
        file.write_text("\n".join(json.dumps(row) for row in rows))
        return file

    return write_rows


@pytest.fixture
def assistant(index, put, tiny):
    put(index, ["Boats cost 3 euros.", "Oars cost 4 euros."])
    return Assistant(index, HashingEmbedder(), LocalGenerator(tiny()), "tiny", "plain")


def test_both_kinds_without_an_answer_are_asked(write):
    data = read_questions(write(rows_of()))
    asked = to_ask(data, None)
    assert {one.kind for one in asked} == set(KINDS) - {"withheld"}
    assert len({one.id for one in asked}) == len(asked) > 30
    assert len(own_passages(data)) == 30
    texts = own_passages(data)
    for one in asked:
        if one.kind == "elsewhere":
            readable = [texts[name] for name in one.keep.documents]
            assert len(readable) == 20
            assert not any(one.question.topic in text for text in readable)
    assert [one.id for one in to_ask(data, 7)] == [one.id for one in to_ask(data, 7)]
    assert len([one for one in to_ask(data, 7) if one.kind != "elsewhere"]) == 7
    assert {one.kind for one in to_ask(data, None, own=False)} == {"answerable", "near"}


def test_where_all_have_an_answer_it_is_withheld_from_some(write):
    rows = [row | {"answerable": True} for row in rows_of(answers=lambda n: [f"{n} euros"])]
    data = read_questions(write(rows))
    asked, texts = to_ask(data, None), own_passages(data)
    withheld = [one for one in asked if one.kind == "withheld"]
    assert 12 <= len(withheld) <= 28
    for one in withheld:
        assert not any(f" {one.question.answers[0]}." in texts[name] for name in one.keep.documents)
        assert len(one.keep.documents) == 29
    assert len({one.id for one in asked}) == len(asked)


@pytest.mark.parametrize("share", [0.3, 2 / 3, 0.9, 1.0])
def test_of_those_without_an_answer_so_many_are_left_out_that_the_share_is_right(write, share):
    data = read_questions(write(rows_of()))
    whole = to_ask(data, None)
    asked = to_ask(data, None, answered=share)
    answerable = [one for one in whole if one.kind == "answerable"]
    wanted = round(len(answerable) * (1 - share) / share)
    assert len(asked) == len(answerable) + min(wanted, len(whole) - len(answerable))
    assert [one for one in whole if one in asked] == asked, "the others as they were"
    assert all(one in asked for one in answerable)


def test_questions_nobody_judged_are_refused(write):
    with pytest.raises(InputError, match="says of no question"):
        to_ask(read_questions(write([{"id": 1, "question": "Who?"}])), None)


@pytest.mark.parametrize(
    ("said", "right"), [("85 euros", True), ("the fee is 85 euros a year", True), ("85", True), ("86", False)]
)
def test_right_is_half_of_the_words_or_the_whole_answer(said, right):
    assert is_right(said, ["85 euros"]) is right


def test_rows_are_kept_and_go_on_where_they_stopped(assistant, write, tmp_path):
    asked = to_ask(read_questions(write(rows_of(6))), None, own=False)
    file, made_with = tmp_path / "kept" / "rows.jsonl", {"seed": 0}
    whole = label_all(assistant, asked, 2, PARAMS, made_with, file)
    assert [row["error"] for row in whole] == [None] * 6
    assert not any(row["right"] for row in whole)
    assert all(row["features"]["lift"] is not None for row in whole)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:3]) + "\n" + lines[3][:30])  # cut off in the third row
    counts = []
    again = label_all(assistant, asked, 2, PARAMS, made_with, file, lambda done, total: counts.append((done, total)))
    assert counts == [(n, 6) for n in range(3, 7)]
    assert [row["answer"] for row in again] == [row["answer"] for row in whole]
    with pytest.raises(InputError, match="begun with another"):
        label_all(assistant, asked, 2, PARAMS, {"seed": 1}, file)
    file.write_text("a file of a person's own")
    with pytest.raises(InputError):
        label_all(assistant, asked, 2, PARAMS, made_with, file)
    assert file.read_text() == "a file of a person's own"
    file.write_text(f"{lines[0]}\n[1]\n")
    with pytest.raises(InputError, match="no rows"):
        label_all(assistant, asked, 2, PARAMS, made_with, file)


def test_a_question_that_fails_costs_itself_only(assistant, write):
    rows = rows_of(3)
    rows[1]["question"] = "word " * 3000
    found = label_all(assistant, to_ask(read_questions(write(rows)), None, False), 2, PARAMS, {})
    assert [row["error"] is None for row in found] == [True, False, True]


def test_a_confidence_is_fitted_and_serves_who_it_was_fitted_for(rag, write, tmp_path, capsys):
    kept, file, other = tmp_path / "kept.jsonl", tmp_path / "confidence.json", tmp_path / "page.html"
    first = write(rows_of())
    code, _, said = rag("eval", "calibrate", first, "--rows", kept, *FAST)
    assert (code, "too few to fit" in said) == (2, True)
    answers = {row["id"]: row["answer"] for row in map(json.loads, kept.read_text().splitlines()[1:])}
    second = write(rows_of(answers=lambda n: [answers[f"q{n}"] if n % 2 else "no"]), "second.jsonl")
    arguments = ["eval", "calibrate", second, "--out", file, "--page", other, "--rows", tmp_path / "b.jsonl", *FAST]
    code, shown, _ = rag(*arguments, "--json")
    record = json.loads(shown)
    assert code == 0
    assert record == json.loads(file.read_text())
    assert record["data"]["name"] == "second.jsonl"
    assert "<svg" in other.read_text()
    show(record)
    shown = capsys.readouterr().out
    assert "auroc" in shown
    assert "keeping 80 in 100" in shown

    question = ["ask", "When is high tide?", *FAST, "--quiet", "--confidence", file]
    answer = json.loads(rag(*question, "--json")[1])
    assert answer["calibrated"] is True
    assert 0 < answer["confidence"] < 1
    assert answer["advice"] in ("answer", "warn", "decline")
    assert (answer["abstained"] is not None) == (answer["advice"] == "decline")
    mix = "67 in 100 of the questions answerable"
    assert answer["calibrated_on"] == f"{record['answers']} answers to second.jsonl, {mix}"
    shown = rag(*question)[1]
    assert f"Confidence {answer['confidence']:.2f}" in shown
    assert "second.jsonl" in shown

    for change in (["--template", "examples"], ["--confidence", "none"], ["--language-model-precision", "int8"]):
        answer = json.loads(rag(*question, "--json", *change)[1])
        assert (answer["calibrated"], answer["confidence"], answer["advice"]) == (False, None, None)
        assert "not calibrated" in rag(*question, *change)[1]
    code, _, said = rag(*question, "--confidence", first)
    assert (code, "cannot be used" in said) == (2, True)


@pytest.mark.parametrize("share", ["0", "1.1", "-1", "nan", "two"])
def test_the_share_with_an_answer_is_a_share(rag, write, share):
    code, _, said = rag("eval", "calibrate", write(rows_of()), "--answered", share)
    assert (code, "--answered" in said) == (2, True)


def test_risks_are_a_pair_in_order(rag, write):
    for text in ("0.5", "0.3,0.1", "a,b", "0,2"):
        code, _, said = rag("eval", "calibrate", write(rows_of(3)), "--risks", text, *FAST)
        assert (code, "no pair" in said) == (2, True)
