"""The rows that the bundled adapter learnt from: whole, and without anything that it is measured by."""

import json
import re
from pathlib import Path

import pytest

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
    return paragraphs("rows.json")


@pytest.fixture(scope="module")
def held_out():
    return paragraphs("held-out.json")


def test_each_answer_stands_in_its_passage_and_no_question_is_asked_twice(learnt, held_out):
    asked = [(paragraph, question) for paragraph in [*learnt, *held_out] for question in paragraph["qas"]]
    assert len({question["id"] for _, question in asked}) == len(asked) > 17_000
    for paragraph, question in asked:
        assert question["question"].strip()
        assert bool(question["answers"]) != question.get("is_impossible", False)
        for answer in question["answers"]:
            assert paragraph["context"].startswith(answer["text"], answer["answer_start"])


def test_what_it_is_measured_by_was_not_learnt(learnt, held_out):
    known = set().union(*(runs(f"{p['context']} {q['question']}") for p in learnt for q in p["qas"]))
    documents = ROOT.glob("examples/documents/*/*")
    questions = (ROOT / "examples/questions.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [path.read_text(encoding="utf-8") for path in documents] + [
        json.loads(row)["question"] for row in questions
    ]
    assert len(measured) > 40
    for text in [*measured, *(paragraph["context"] for paragraph in held_out)]:
        assert not runs(text) & known
    names = {
        answer for row in questions for answer in json.loads(row)["answers"] if len(re.findall(r"\b[A-Z]", answer)) > 1
    }
    everything = " ".join(paragraph["context"] for paragraph in learnt)
    assert [name for name in names if name in everything] == []
