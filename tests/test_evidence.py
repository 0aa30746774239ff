"""What `rag ask --evidence` prints and gives as data."""

import io
import json
import math
import re

import pytest
from rich.console import Console

from rag.evidence import Citation, Evidence, PassageValues
from rag.schema import Answer, Contrast, Passage, Prompt, RetrievedPassage, SamplingParams, Timings, TokenStep
from ui.evidence import show_evidence
from ui.terminal import as_data, lift_in_words

FAST = ["--language-model", "TINY", "--template", "plain", "--max-new-tokens", "4", "--quiet"]


def contrast(*lift, written=None, floor=0.01):
    n = len(lift)
    without = tuple(-1.0 - x for x in lift)
    return Contrast((-1.0,) * n, without, without, (1,) * n, (2,) * n, n if written is None else written, floor)


@pytest.mark.parametrize(
    ("lift", "words"),
    [
        ([2.0, 0.3], "2.3 nats more probable: 10.0 times as probable as without them"),
        ([math.log(5000)], "8.5 nats more probable: 5,000 times"),
        ([30.0], "10^13 times"),
        ([9000.0], "10^3909 times"),
        ([-math.log(4)], "1.4 nats less probable: without them it is 4.0 times as probable"),
        ([0.01, -0.005], "hardly changed"),
        ([0.04], "hardly changed"),
        ([0.06] * 6, "0.4 nats more probable"),
        ([0.009] * 9, "hardly changed"),
        ([], "hardly changed"),
    ],
)
def test_the_lift_is_said_in_words(lift, words):
    assert words in lift_in_words(contrast(*lift))


def test_what_ended_the_answer_is_not_counted():
    assert "hardly changed" in lift_in_words(contrast(0.0, 8.0, written=1))


def printed(evidence, text="Ann rows.", passage="Bob sails. Ann rows\x1b[31m a boat. It is red."):
    passages = (
        RetrievedPassage(
            Passage(7, "d", "/d.txt", "T", passage, 0, len(passage), "page", None, None, ()), 2, 0.5, None, None
        ),
    )
    steps = tuple(TokenStep(n, word, -1.0, -1.0, 1, 0.5, ()) for n, word in enumerate(["Ann", " rows."]))
    prompt = Prompt("Who rows?", "plain", passages, (), "", (1,))
    console = Console(file=io.StringIO(), width=100)
    show_evidence(console, Answer(prompt, text, steps, SamplingParams(), "m", Timings(0, 0, 0)), evidence)
    return console.file.getvalue()


def evidence(lift, values, citations=(), floor=0.001):
    n = len(lift)
    rows = (PassageValues(2, tuple(values), (-1.0,) * n, (-2.0,) * n, sum(values)),)
    return Evidence(contrast(*lift, floor=floor), "shapley", rows, citations, 99)


def test_the_supporting_sentence_stands_with_its_passage_and_obeys_no_document():
    shown = printed(evidence([3.0, 1.5], [3.0, 1.5], (Citation(0, 9, 2, 11, 33, 4.5, 4.0),)))
    assert "Ann rows.  [2] Ann rows\ufffd[31m a boat." in shown
    assert "Bob sails" not in shown
    assert "\x1b" not in shown
    assert "+3.00" in shown
    assert "passage 2 gave +4.5 nats" in shown


def test_what_is_below_the_noise_is_not_shown():
    shown = printed(evidence([0.4, 2.0], [0.4, 2.0], floor=0.5))
    assert "+0.40" not in shown
    assert "+2.00" in shown
    assert "below 0.5 nats" in shown
    assert "No passage made it more probable." in shown


def test_evidence_is_data_too():
    data = as_data(evidence([3.0, 1.5], [3.0, 1.5], (Citation(0, 9, 2, 11, 28, 4.5, 4.0),)))
    assert data["contrast"]["lift"] == [3.0, 1.5]
    assert data["contrast"]["total"] == 4.5
    assert data["citations"][0]["rank"] == 2
    json.dumps(data, allow_nan=False)


def test_ask_shows_evidence_where_it_is_asked_for(rag):
    code, out, _ = rag("ask", "Who is the safety officer?", "--evidence", *FAST)
    assert code == 0
    assert "The documents " in out
    assert "values by shapley" in out
    assert "Evidence" not in rag("ask", "Who is the safety officer?", *FAST)[1]


def test_evidence_as_data_fits_its_answer(rag):
    answer = json.loads(rag("ask", "Who is the safety officer?", "--evidence", "--json", *FAST)[1])
    found = answer["evidence"]
    assert len(found["contrast"]["lift"]) == len(answer["steps"])
    assert {p["rank"] for p in found["passages"]} == {p["rank"] for p in answer["prompt"]["passages"]}
    assert sum(p["total"] for p in found["passages"]) == pytest.approx(found["contrast"]["total"], abs=1e-3)


def test_where_nothing_is_read_there_is_no_evidence(rag):
    translated = ["ask", "Bonjour", "--evidence", "--language-model", "TINY", "--template", "text-translation"]
    code, out, _ = rag(*translated, "--max-new-tokens", "4", "--quiet")
    assert code == 0
    assert "No passage was read" in out
    assert json.loads(rag(*translated, "--max-new-tokens", "4", "--json")[1])["evidence"] is None


def test_every_answer_says_what_the_documents_changed(rag):
    question = ["ask", "Who is the safety officer?", *FAST]
    assert re.search(r"^The documents (made|hardly changed)", rag(*question)[1], re.MULTILINE)
    answer = json.loads(rag(*question, "--evidence", "--json")[1])
    again = answer["evidence"]["contrast"]
    assert answer["contrast"]["lift"] == pytest.approx(again["lift"], abs=again["noise_floor"])
    assert answer["contrast"]["closed_book"] == pytest.approx(again["closed_book"], abs=again["noise_floor"])
