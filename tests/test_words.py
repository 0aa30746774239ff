"""The app's words: both languages say the same things, each is used, and none is missing."""

import re
import string
from pathlib import Path

import pytest

from ui.words import LANGUAGES, closest, texts, words

SOURCES = "\n".join(p.read_text(encoding="utf-8") for p in (Path(__file__).parents[1] / "ui").rglob("*.py"))


def places(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("key", texts())
def test_both_languages_say_it_with_the_same_values(key):
    text = texts()[key]
    assert set(text) == set(LANGUAGES)
    assert all(line.strip() for line in text.values())
    assert places(text["en"]) == places(text["zh"])


def test_each_text_is_used_and_each_used_one_is_there():
    used = set(re.findall(r'\bt\(\s*"([a-z0-9-]+)"', SOURCES)) | set(
        re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', SOURCES)
    )
    assert set(re.findall(r'\bt\(\s*"([a-z0-9-]+)"', SOURCES)) <= set(texts())
    assert set(texts()) <= used


def test_values_stand_in_their_places():
    with pytest.raises(KeyError):
        words("en")("no-such-text")


@pytest.mark.parametrize(
    ("locale", "language"), [("zh-CN", "zh"), ("zh", "zh"), ("de-DE", "en"), (None, "en"), ("EN", "en")]
)
def test_the_browser_chooses_the_language(locale, language):
    assert closest(locale) == language
