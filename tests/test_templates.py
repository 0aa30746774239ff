"""Templates by name, and the user's own files: each wrong one is refused in one sentence that says why."""

import json

import pytest

from rag.errors import InputError, SettingsError
from rag.template_files import read_examples, read_own, read_template
from rag.templates import REFUSAL, TEMPLATES, check_template, choose_template
from tests.conftest import EXAMPLES

FRAME = ("<|start|>", "<|end|>")
GOOD = 'text = """\nBe brief.\n\n{passages}\n\nQuestion: {question}\nAnswer:"""\n'


@pytest.mark.parametrize(
    ("name", "frame", "prefers_chat", "full_name"),
    [
        ("auto", FRAME, True, "chat"),
        ("auto", FRAME, False, "examples"),
        ("auto", None, True, "examples"),
        ("cited", FRAME, True, "cited:chat"),
        ("cited", FRAME, False, "cited:plain"),
        ("cited", None, True, "cited:plain"),
        ("cited:chat", FRAME, False, "cited:chat"),
        ("examples", FRAME, True, "examples"),
        ("examples:chat", FRAME, False, "examples:chat"),
    ],
)
def test_a_name_is_a_template_in_the_form_that_suits_the_model(name, frame, prefers_chat, full_name):
    template = choose_template(name, frame, prefers_chat)
    assert (template.name, template.chat) == (full_name, full_name.endswith("chat"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_plain_answers_end_somewhere_and_chat_needs_a_chat_template(name):
    assert choose_template(f"{name}:plain", None).stops
    with pytest.raises(SettingsError, match="needs a model with a chat template"):
        choose_template(f"{name}:chat", None)


@pytest.mark.parametrize("name", TEMPLATES)
def test_our_own_templates_keep_the_rules_for_files(name, tmp_path):
    if TEMPLATES[name].reads_passages:
        file = tmp_path / "same.toml"
        file.write_text(f"text = '''\n{TEMPLATES[name].text}'''")
        assert read_template(file).text == TEMPLATES[name].text


def test_the_language_is_put_in():
    assert "into Māori, and" in choose_template("translation", None, language="Māori").text


@pytest.mark.parametrize("name", ["poem", "", "cited:song", "examples "])
def test_unknown_names_are_refused(name):
    with pytest.raises(SettingsError, match=r"use one of: auto, examples, .* or a template file"):
        check_template(name)


def test_a_file_is_a_template(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(GOOD + 'form = "chat"\nlabels = true\nstop = ["END"]\n', encoding="utf-8")
    own, none = read_own(f"{file}:plain", None)
    assert none is None
    template = choose_template(f"{file}:plain", None, own=own)
    assert (template.chat, template.labels, template.stops) == (False, True, ("END",))
    assert template.text.startswith("Be brief.")
    assert template.name == f"{file}:plain"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no text"),
        ("text = ' '", "has no text"),
        ("text = 3", "needs a str for 'text'"),
        ("text = 'unclosed", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        ("text = 'Question: {question}'", r"must hold the slot \{passages\} once, not 0 times"),
        ("text = '''\n{passages}\n'''", r"must hold the slot \{question\} once, not 0 times"),
        ("text = '''\n{passages}\n{question} {question}'''", r"\{question\} once, not 2 times"),
        ("text = '''\n{question}\n{passages}\n'''", "put the passages first"),
        ("text = '''\nRead {passages}\n{question}'''", "on a line of its own"),
        ("text = '''\n{passages}\n{question} {answer}'''", r"unknown slot \{answer\}"),
        (GOOD + "colour = 'red'", "unknown key 'colour'"),
        (GOOD + "form = 'song'", "use plain or chat"),
        (GOOD + "stop = ['']", "not empty"),
        (GOOD + "stop = 'x'", "needs a list"),
        (GOOD + "labels = 'yes'", "needs a bool"),
    ],
)
def test_a_wrong_template_file_says_what_is_wrong(tmp_path, content, says):
    file = tmp_path / "mine.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=says) as refused:
        read_own(str(file), None)
    assert str(file) in str(refused.value)


def test_a_missing_template_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_own(str(tmp_path / "no.toml"), None)


def test_examples_come_from_question_sets(tmp_path):
    rows = [
        {"question": "Who?", "answers": ["Ann", "Anna"], "passages": ["Ann came.", "Bea went."]},
        {"question": "Why?", "answer": "rain", "context": "It rained."},
        {"question": "When?", "answers": [], "answerable": False, "context": "It rained."},
    ]
    file = tmp_path / "examples.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    first, second, third = read_examples(file)
    assert (first.passages, first.question, first.answer) == (("Ann came.", "Bea went."), "Who?", "Ann")
    assert (second.passages, second.answer, third.answer) == (("It rained.",), "rain", REFUSAL)
    assert len(read_examples(EXAMPLES / "questions.jsonl")) == 40


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: this is no worked example"),
        ("[]", "a JSON object is needed"),
        ('{"answers": ["x"]}', "question must be text"),
        ('{"question": "", "answers": ["x"]}', "question must be text"),
        ('{"question": "x"}', "an answer is needed"),
        ('{"question": "x", "answers": "y"}', "answers must be text"),
        ('{"question": "x", "answers": [3]}', "answers must be text"),
        ('{"question": "x", "answer": "y", "passages": "z"}', "passages must be text"),
        ('{"question": "x", "answer": "\\ud800"}', "line 2"),
    ],
)
def test_a_bad_line_of_examples_is_named(tmp_path, line, says):
    file = tmp_path / "examples.jsonl"
    file.write_text('{"question": "Who?", "answer": "Ann"}\n' + line)
    with pytest.raises(InputError, match=says):
        read_examples(file)


def test_no_examples_are_refused(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(InputError, match="holds no example"):
        read_examples(empty)
    with pytest.raises(InputError, match="cannot be read"):
        read_examples(tmp_path)
