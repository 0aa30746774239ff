"""The examples are what they say: every answer stands in its document, on its page."""

import json
import subprocess
import sys

import pytest

from ingest.parsing import parse
from rag.evaluation.datasets import read_questions
from tests.conftest import EXAMPLES

ROWS = [
    json.loads(line)
    for name in ("questions.jsonl", "follow_ups.jsonl")
    for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
]


def squeezed(text):
    return " ".join(text.split())


def test_there_are_forty_questions_ten_of_them_without_an_answer():
    questions = read_questions(EXAMPLES / "questions.jsonl").questions
    assert (len(questions), sum(not q.answerable for q in questions)) == (40, 10)
    assert all(bool(q.answers) == q.answerable for q in questions)
    assert sum(len(q.answers[0].split()) >= 4 for q in questions if q.answers) >= 8


@pytest.mark.parametrize("row", [r for r in ROWS if r["answerable"]], ids=lambda r: r["id"])
def test_the_answer_stands_in_its_passage(row):
    assert row["relevant"]
    for relevant in row["relevant"]:
        document = parse(EXAMPLES / "documents" / relevant["document"])
        text = document.text
        if page := relevant.get("page"):
            starts = [at for at, _ in document.places]
            text = text[starts[page - 1] : [*starts, None][page]]
        assert squeezed(relevant["quote"]) in squeezed(text)
    assert row["answers"][0] in row["relevant"][0]["quote"]


def test_two_dozen_second_questions_lean_on_their_first_and_ten_do_not():
    rows = [row for row in ROWS if "history" in row]
    assert len(read_questions(EXAMPLES / "follow_ups.jsonl").questions) == len(rows) == 34
    assert sum(row["leans"] for row in rows) == 24
    assert all(set(turn) == {"question", "answer"} for row in rows for turn in row["history"])


def test_every_kind_of_document_is_there():
    found = {path.suffix for path in (EXAMPLES / "documents").rglob("*") if path.is_file()}
    assert found == {".md", ".html", ".txt", ".pdf"}
    assert len(parse(EXAMPLES / "documents" / "annual-report-2024.pdf").places) >= 4


def test_the_pdf_is_what_its_script_makes(tmp_path):
    """By its text: another version of the PDF writer may write other bytes."""
    made = tmp_path / "report.pdf"
    subprocess.run([sys.executable, str(EXAMPLES / "make_report_pdf.py"), str(made)], check=True, timeout=60)
    assert parse(made).text == parse(EXAMPLES / "documents" / "annual-report-2024.pdf").text
