"""What question sets are read from: JSON lines, SQuAD-format files and BEIR folders."""

import json

import pytest

from rag.errors import InputError
from rag.evaluation.datasets import Relevant, read_questions


def squad(file, *rows):
    paragraphs = [{"context": "boats float", "qas": rows}, {"context": "oars row", "qas": []}]
    file.write_text(json.dumps({"version": "2", "data": [{"title": "x", "paragraphs": paragraphs}]}), encoding="utf-8")
    return read_questions(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no question;"),
        ("{", "line 1"),
        ('{"id": 1}', "line 1: 'question' is missing"),
        ('["list"]', "line 1: a JSON object"),
        ('{"data": [{"paragraphs": [{}]}]}', "no SQuAD-format file"),
        ('{"data": []}', "holds no question;"),
    ],
)
def test_a_file_without_any_question_is_refused(tmp_path, content, says):
    file = tmp_path / "q.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match=says):
        read_questions(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_questions(tmp_path / "missing.jsonl")


def test_lines_say_what_is_known(tmp_path):
    file = tmp_path / "q.jsonl"
    rows = [
        {"id": 1, "question": "a?", "answers": ["x", "y"], "context": "p"},
        {"id": "2", "question": "b\ud800?", "relevant": [{"document": "d", "quote": "q"}, "e", 7]},
        {"id": "3", "question": "c?", "answerable": True, "choices": ["m", "n"], "context": ["p", "q"]},
        {"id": "4", "question": "d?", "answers": []},
    ]
    file.write_text("\n\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    data = read_questions(file)
    one, two, three, four = data.questions
    assert (one.id, one.answers, one.answerable, one.context) == ("1", ("x", "y"), True, ("p",))
    assert (two.question, two.context) == ("b??", None)  # half a character is none
    assert (two.answerable, four.answerable) == (True, False)  # nobody said that the second has no answer
    assert two.relevant == (Relevant("d", "q"), Relevant("e"), Relevant("7"))
    assert (three.answerable, three.choices, three.context) == (True, ("m", "n"), ("p", "q"))
    assert data.needs_passages
    assert not read_questions(file, 1).needs_passages
    assert (data.passages, data.limit, len(read_questions(file, 2).questions)) == (None, None, 2)


def test_the_mark_that_windows_puts_first_is_no_part_of_a_line(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": 1, "question": "a?"}\r\n', encoding="utf-8-sig")
    assert [q.error for q in read_questions(tmp_path / "q.jsonl").questions] == [None]


def test_a_folder_that_is_no_set_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "boats"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "which?"}\n')
    with pytest.raises(InputError, match="neither a BEIR folder"):  # without judgements
        read_questions(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("[" * 100_000)
    with pytest.raises(InputError, match="neither a BEIR folder"):
        read_questions(tmp_path)


def test_squad_brings_its_paragraphs_and_its_impossible_questions(tmp_path):
    data = squad(
        tmp_path / "squad.json",
        {"id": "a", "question": "Do they?", "answers": [{"text": "yes", "answer_start": 0}, {"text": "yes"}]},
        {"id": "b", "question": "Or not?", "answers": [], "is_impossible": True, "plausible_answers": []},
        {"id": "c"},
    )
    assert sorted(data.passages.values()) == ["boats float", "oars row"]
    yes, impossible, bad = data.questions
    assert (yes.answers, yes.answerable) == (("yes",), True)
    assert (impossible.answers, impossible.answerable) == ((), False)
    assert [data.passages[relevant.name] for relevant in yes.relevant] == ["boats float"]
    assert bad.error == "question 3: 'question' is missing."
    elsewhere = data.elsewhere()
    assert (elsewhere.passages, {q.relevant for q in elsewhere.questions}) == (None, {None})


def test_beir_brings_its_passages(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "boats"}\n{"_id": "2", "text": "oars"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "which?"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t2\t1\n")
    data = read_questions(tmp_path)
    assert [(q.id, q.question, q.relevant) for q in data.questions] == [("q", "which?", (Relevant("2", own=True),))]
    before = data.sha256
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "boat"}\n{"_id": "2", "text": "oars"}\n')
    assert read_questions(tmp_path).sha256 != before
