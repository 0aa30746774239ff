"""Laws of exports: in Markdown every text stays text, in JSON nothing is missing, and feedback serves two commands."""

import dataclasses
import json
import math
import re

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rag.assistant import FOREIGN, NOTHING_FOUND, SAID_SO
from rag.evaluation.datasets import read_questions
from rag.judging import UNSURE
from rag.schema import SamplingParams
from rag.training_data import read_rows, short_answer
from tests.token_answers import explained
from tests.told_answers import HOSTILE, anything_told, citing, read_from, told_of, turn_of
from ui.conversation_export import as_json, as_markdown, escaped, feedback_rows, training_rows
from ui.store import Conversation, Feedback
from ui.told import Told, remains
from ui.words import LANGUAGES, words

EN = words("en")
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
BLOCKS = {"heading_open", "heading_close", "paragraph_open", "paragraph_close", "blockquote_open", "blockquote_close"}
INLINE = {"text", "text_special", "softbreak", "hardbreak", "em_open", "em_close", "strong_open", "strong_close"}
# A reader makes U+FFFD of NUL, as browsers do: it is no text that can come back.
texts = st.one_of(
    st.text("\\*`[]()<>!a", max_size=30),
    st.text("`*_{}[]()<>#+-.!|~:$^&=\\/\"'ab1 \n\t", max_size=30),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30),
    st.sampled_from([text.replace("\x00", "") for text in HOSTILE]),
)


def one_line(text):
    return " ".join(text.split())


def blocks(markdown):
    """(what it is, its text, how much of it is strong) of each block; fails where a text became markup."""
    found, inside = [], []
    for token in READER.parse(markdown):
        if token.type != "inline":
            assert token.type in BLOCKS, token.type
            inside = [*inside, token.tag] if token.nesting == 1 else inside[:-1]
            continue
        text, strong, bold = "", "", False
        for part in token.children:
            assert part.type in INLINE, part.type
            bold = {"strong_open": True, "strong_close": False}.get(part.type, bold)
            ends = "break" in part.type
            said = "\n" if ends else part.content
            text, strong = text + said, strong + said * (bold or ends)
        found.append((inside[0], text, strong))
    return found


@settings(max_examples=100)
@for_all(texts, texts, texts, st.lists(texts, max_size=2), st.lists(st.integers(0, 40), max_size=3))
def test_in_markdown_every_text_stays_text(title, question, text, passages, ends):
    told = told_of(text, question, read_from(*passages), [citing(1, end) for end in ends])
    markdown = as_markdown(Conversation(1, title, "papers", 0.0), [turn_of(told)], EN)
    assert not re.search(r"https?://|ftp://|www\.", markdown), "what readers make links of"
    found = blocks(markdown)
    assert [text for kind, text, _ in found if kind == "h1"] == [one_line(title)]
    assert [text for kind, text, _ in found if kind == "h2"] == [one_line(question)]
    quoted = [one_line(line) for passage in passages for line in passage.splitlines()]
    assert "\n".join(text for kind, text, _ in found if kind == "blockquote").split() == " ".join(quoted).split()
    bold = [strong for kind, _, strong in found if kind == "p" and strong.strip()]
    said = told.answer.text
    for end in sorted((min(end, len(said)) for end in ends), reverse=True):
        said = f"{said[:end]} [1]{said[end:]}"
    assert "".join(bold).split() == said.split()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_markup_wherever_it_stands(text):
    passages = [dataclasses.replace(one, passage=_named(one.passage, text)) for one in read_from(text, text)]
    told = told_of(text, text, tuple(passages), [citing(1, 5), citing(2, 9)], language_model=text)
    found = blocks(as_markdown(Conversation(1, text, text, 0.0), [turn_of(told)] * 2, EN))
    assert [kind for kind, _, _ in found].count("h2") == 2


def _named(passage, text):
    return dataclasses.replace(passage, title=text, source=text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_markdown_tells_question_trust_answer_and_sources(language):
    read = read_from("The tea room opens at ten.", "No.")
    told = told_of("At ten. 十点。", "When?", read, [citing(1, 7)], abstained=UNSURE)
    markdown = as_markdown(Conversation(1, "When?", "papers", 0.0), [turn_of(told)], words(language))
    assert "**At ten\\. [1] 十点。**" in markdown
    for part in (
        "# When?",
        "## When?",
        "> The tea room opens at ten",
        f"{words(language)('token-page-seed')} 11",
        "T\\=0\\.7",
        "[2]",
    ):
        assert part in markdown
    assert escaped(words(language)("trust-declined")) in markdown
    assert escaped(words(language)("trust-unsure")) in markdown
    empty = as_markdown(Conversation(1, "When?", "papers", 0.0), [turn_of(told_of(""))], words(language))
    assert escaped(words(language)("ask-no-answer")) in empty


# JSON


def holds(data, value):
    """Whether JSON data says the same as a value: fields by name, and null for what is no finite number."""
    if dataclasses.is_dataclass(value):
        return all(holds(data[f.name], getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, tuple):
        return len(data) == len(value) and all(map(holds, data, value))
    if isinstance(value, float) and not math.isfinite(value):
        return data is None
    return data == value


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


@settings(max_examples=30)
@for_all(anything_told)
def test_json_holds_everything(told):
    talk = Conversation(3, "When?", "papers", 0.5)
    data = json.loads(as_json(talk, [turn_of(told), turn_of(told_of())]), parse_constant=no_constant)
    assert (data["id"], data["title"], data["collection"], len(data["turns"])) == (3, "When?", "papers", 2)
    turn = data["turns"][0]
    for name in ("answer", "citations", "branches", "evidence"):
        assert holds(turn[name], getattr(told, name))
    assert turn["settings"] == dict(told.settings)


def test_json_holds_probabilities_settings_and_seed():
    answer, evidence = explained()
    answer = dataclasses.replace(answer, params=SamplingParams(seed=5, logit_bias=((3, -math.inf),), temperature=0.5))
    told = Told(answer, evidence.citations, {"passages": 3}, evidence, (answer,))
    (turn,) = json.loads(as_json(Conversation(1, "q", "c", 0.0), [turn_of(told)]))["turns"]
    steps = turn["answer"]["steps"]
    assert [step["logprob"] for step in steps] == [step.logprob for step in answer.steps]
    assert steps[0]["alternatives"][1]["sampled_logprob"] is None, "a filter removed it"
    assert (turn["answer"]["params"]["seed"], turn["answer"]["params"]["temperature"]) == (5, 0.5)
    assert turn["settings"] == {"passages": 3}
    assert turn["evidence"]["contrast"]["lift"] == list(evidence.contrast.lift)
    assert turn["branches"][0]["steps"] == steps


# feedback

READ = read_from("The boat is red. # 1\n[x](http://e.example)", "The tea room opens at ten.\u2028Every day.")
RIGHT = told_of("at ten", "When does it open?", READ)
SAID = {
    "right": (RIGHT, Feedback(True)),
    "wrong": (RIGHT, Feedback(False)),
    "wrong, with a note": (RIGHT, Feedback(False, note="no")),
    "only a note": (RIGHT, Feedback(note="hm")),
    "blank correction": (RIGHT, Feedback(False, "  ")),
    "corrected": (RIGHT, Feedback(False, "Every day", "see 2")),
    "right and corrected": (RIGHT, Feedback(True, "The tea room")),
    "corrected in other words": (RIGHT, Feedback(None, "at 10 o'clock")),
    "declined, rightly": (told_of("no", "Who?", READ, abstained=SAID_SO), Feedback(True)),
    "declined, corrected": (told_of("no", "What is red?", READ, abstained=UNSURE), Feedback(False, "The boat")),
    "nothing found, rightly": (told_of("", "Who?", (), abstained=NOTHING_FOUND), Feedback(True)),
    "a guess, called right": (told_of("no", "Who?", READ, abstained=UNSURE), Feedback(True)),
    "another language, called right": (told_of("", "谁？", READ, abstained=FOREIGN), Feedback(True)),
    "nothing written": (told_of("", "Who?", READ), Feedback(True)),
    "cannot be read": (remains("Who?", "Ann", "papers"), Feedback(True)),
}
ROWS = {
    "right": (["at ten"], True),
    "corrected": (["Every day"], True),
    "right and corrected": (["The tea room", "at ten"], True),
    "corrected in other words": (["at 10 o'clock"], True),
    "declined, rightly": ([], False),
    "declined, corrected": (["The boat"], True),
    "nothing found, rightly": ([], False),
    "cannot be read": (["Ann"], True),
}
TRAINING = ["right", "corrected", "right and corrected", "declined, rightly", "declined, corrected"]
TURNS = {name: (turn_of(told, n), feedback) for n, (name, (told, feedback)) in enumerate(SAID.items(), start=1)}


def test_feedback_is_a_question_set(tmp_path):
    file = tmp_path / "feedback.jsonl"
    file.write_text(feedback_rows(list(TURNS.values())), encoding="utf-8")
    asked = {question.id: question for question in read_questions(file).questions}
    assert not any(question.error for question in asked.values())
    assert {name for name, (turn, _) in TURNS.items() if f"turn-{turn.id}" in asked} == set(ROWS)
    for name, (answers, answerable) in ROWS.items():
        turn, _ = TURNS[name]
        question = asked[f"turn-{turn.id}"]
        assert (list(question.answers), question.answerable) == (answers, answerable), name
        assert question.question == turn.told.answer.prompt.question
        read = tuple(one.passage.text for one in turn.told.answer.prompt.passages)
        assert question.context == (read or None), "best first; without any it is looked for"


@pytest.mark.parametrize("name", SAID)
def test_feedback_trains_where_a_passage_holds_the_answer_to_the_letter(tmp_path, name):
    file = tmp_path / "training.jsonl"
    file.write_text(training_rows([TURNS[name]]), encoding="utf-8")
    if name not in TRAINING:
        assert file.read_text() == ""
        return
    (row,) = read_rows(file)
    answers, answerable = ROWS[name]
    assert row.question == TURNS[name][0].told.answer.prompt.question
    assert list(row.answers) == answers
    assert row.passage in [one.passage.text for one in READ]
    assert (short_answer(row.answers, row.passage) is not None) == answerable, "what it teaches"


def test_all_feedback_together_can_be_read_by_both(tmp_path):
    for rows, read, many in ((feedback_rows, lambda f: read_questions(f).questions, 8), (training_rows, read_rows, 5)):
        file = tmp_path / "rows.jsonl"
        file.write_text(rows(list(TURNS.values())), encoding="utf-8")
        assert len(read(file)) == many
    assert feedback_rows([]) == training_rows([]) == ""


def test_it_trains_on_the_passage_that_is_cited_and_on_what_was_read_of_it():
    read = read_from("It opens at ten.", "At ten it opens at ten.")
    for cited, expected in ((), 1), ([citing(2, 6)], 2), ([citing(1, 6)], 1):
        rows = training_rows([(turn_of(told_of("at ten", passages=read, citations=cited)), Feedback(True))])
        assert json.loads(rows)["passage"] == read[expected - 1].passage.text
    cut = (dataclasses.replace(read[0], read=8), read[1])
    rows = training_rows([(turn_of(told_of("at ten", passages=cut)), Feedback(True))])
    assert json.loads(rows)["passage"] == read[1].passage.text


@settings(max_examples=40)
@for_all(texts.filter(str.strip), texts, texts)
def test_feedback_of_any_text_is_read(tmp_path_factory, question, text, corrected):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    turn = turn_of(told_of(text, question, read_from(text, f"{text} {corrected}")))
    said = [(turn, Feedback(True, corrected.strip()))]
    file.write_text(feedback_rows(said), encoding="utf-8")
    for asked in read_questions(file).questions if turn.told.answer.text or corrected.strip() else []:
        assert asked.error is None
        assert asked.answerable
    file.write_text(training_rows(said), encoding="utf-8")
    if file.read_text(encoding="utf-8"):
        assert read_rows(file)[0].answers
