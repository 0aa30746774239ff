"""The written rows that the bundled adapter learnt from: whole, and without the examples by which it is measured."""

import json
import re
from pathlib import Path

import pytest

from rag.training_data import read_rows

ROOT = Path(__file__).parents[1]
TRAINING = ROOT / "examples/training"
WORDS = 9  # in a row: by chance "on the first monday of each month at" stands in two texts


def paragraphs(name):
    whole = json.loads((TRAINING / name).read_text(encoding="utf-8"))
    return [paragraph for document in whole["data"] for paragraph in document["paragraphs"]]


def runs(text):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[n : n + WORDS]) for n in range(len(words) - WORDS + 1)}


@pytest.fixture(scope="module")
def learnt():
    return paragraphs("rows.json") + paragraphs("near-misses.json")


@pytest.fixture(scope="module")
def held_out():
    return paragraphs("held-out.json")


def test_they_can_be_learnt_from():
    assert len(read_rows(TRAINING / "rows.json")) == 15_160
    assert len(read_rows(TRAINING / "near-misses.json")) == 10_115


def test_each_answer_stands_in_its_passage_and_no_question_is_asked_twice(learnt, held_out):
    asked = [(paragraph["context"], question) for paragraph in [*learnt, *held_out] for question in paragraph["qas"]]
    assert len({question["id"] for _, question in asked}) == len(asked)
    assert len({(context, question["question"].lower()) for context, question in asked}) == len(asked)
    for context, question in asked:
        assert question["question"].strip()
        assert bool(question["answers"]) != question.get("is_impossible", False)
        for answer in question["answers"] + question.get("plausible_answers", []):
            assert context.startswith(answer["text"], answer["answer_start"])


def test_the_examples_and_the_passages_held_out_are_not_in_them(learnt, held_out):
    known = set().union(*(runs(p["context"]) for p in learnt), *(runs(q["question"]) for p in learnt for q in p["qas"]))
    files = [*ROOT.glob("examples/documents/*/*"), ROOT / "examples/make_report_pdf.py"]
    asked = [
        json.loads(row)
        for name in ("questions.jsonl", "follow_ups.jsonl")
        for row in (ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()
    ]
    texts = [path.read_text(encoding="utf-8") for path in files] + [row["question"] for row in asked]
    assert len(files) == 11
    assert len(asked) == 74
    for text in [*texts, *(paragraph["context"] for paragraph in held_out)]:
        assert not runs(text) & known
    answers = {answer for row in asked for answer in row["answers"]}
    names = {answer for answer in answers if len(re.findall(r"\b[A-Z]", answer)) > 1}
    everything = " ".join(paragraph["context"] for paragraph in learnt)
    assert len(names) > 10
    assert [name for name in names if name in everything] == []
