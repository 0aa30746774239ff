"""The app's words: both languages say the same things, each is used, and none is missing."""

import ast
import re
import string
from pathlib import Path

import pytest
import streamlit
from streamlit.elements.exception import _GENERIC_UNCAUGHT_EXCEPTION_TEXT

from ui.widget_words import PREFIX
from ui.words import LANGUAGES, closest, in_words, texts, words

_VALUE = re.compile(r"\\{\w+\\}")  # {n}, as it stands in a pattern
UI = Path(__file__).parents[1] / "ui"
SOURCES = "\n".join(p.read_text(encoding="utf-8") for p in UI.rglob("*.py"))


def places(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("key", texts())
def test_both_languages_say_it_with_the_same_values(key):
    text = texts()[key]
    assert set(text) == set(LANGUAGES)
    assert all(line.strip() for line in text.values())
    assert places(text["en"]) == places(text["zh"])


def test_each_text_is_used_and_each_used_one_is_there():
    asked_for = set(re.findall(r'\bt\(\s*"([a-z0-9-]+)"', SOURCES))
    assert asked_for <= set(texts())
    assert {key for key in texts() if not key.startswith(("error-", PREFIX))} <= asked_for | set(
        re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', SOURCES)
    )


def test_values_stand_in_their_places():
    with pytest.raises(KeyError):
        words("en")("no-such-text")


@pytest.mark.parametrize(("locale", "language"), [("zh-CN", "zh"), ("ZH", "zh"), ("de-DE", "en"), (None, "en")])
def test_the_browser_chooses_the_language(locale, language):
    assert closest(locale) == language


def raised():
    """Every text in the program, with {} for each value in it."""
    root = Path(__file__).parents[1]
    for path in (path for package in ("rag", "ingest", "ui") for path in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)


def test_each_error_that_has_words_is_raised_somewhere():
    known = set(raised())
    errors = {key: text["en"] for key, text in texts().items() if key.startswith("error-")}
    assert errors
    assert {key for key, text in errors.items() if re.sub(r"{\w+}", "{}", text) not in known} == set()


def test_an_error_is_said_in_the_pages_words_with_its_values():
    sentence = "There is no collection 'a (b)' in /x/y; make it with: rag ingest PATH"
    assert in_words(sentence, words("en")) == sentence
    assert in_words(sentence, words("zh")) == "/x/y 中没有文档库 'a (b)'；可用 rag ingest PATH 建立。"
    assert in_words("Something else {happened}.", words("zh")) == "Something else {happened}."


def test_the_words_of_streamlit_are_those_that_its_scripts_hold():
    scripts = (Path(streamlit.__file__).parent / "static" / "static" / "js").glob("*.js")
    held = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    composed = {  # from these parts
        "Press Enter to apply": ("`Press Enter to ${", "`apply`"),
        "Press Enter to submit form": ("`Press Enter to ${", "`submit form`"),
        "Press {key}+Enter to apply": ("`Press ${", "}+Enter to ${"),
        "Press {key}+Enter to submit form": ("`Press ${", "}+Enter to ${"),
        "File must be {size} or smaller.": ("`File must be ${", "} or smaller.`"),
        "Help for {label}": ("`Help for ${",),
        "Chat message from user": ("`Chat message from ${",),
        "Chat message from assistant": ("`Chat message from ${",),
    }
    own = [text["en"] for key, text in texts().items() if key.startswith(PREFIX)]
    own.remove(_GENERIC_UNCAUGHT_EXCEPTION_TEXT)  # which Streamlit's Python writes
    assert set(composed) <= set(own)
    parts = [part for text in own for part in composed.get(text, [f"`{text}`".replace("{", "${")])]
    assert [part for part in parts if not re.search(_VALUE.sub(r"\\{[^`]+\\}", re.escape(part)), held)] == []


def test_each_of_them_has_a_part_of_the_page():
    places = re.findall(r"^  (\w+): named\(", (UI / "widget_words.js").read_text(encoding="utf-8"), re.MULTILINE)
    assert {key.split("-")[1] for key in texts() if key.startswith(PREFIX)} == set(places)
