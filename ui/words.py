"""Every word that the app shows, in English and Chinese: `words.toml`, a table a text. Knows no page."""

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from string import Formatter

LANGUAGES = {"en": "English", "zh": "中文"}
Words = Callable[..., str]  # (key, **values) -> text


@cache
def texts() -> Mapping[str, Mapping[str, str]]:
    """Each key's text by language."""
    return tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))


def words(language: str) -> Words:
    """The texts in a language, with values in their {places}. An unknown key is a `KeyError`."""

    def text(key: str, **values: object) -> str:
        return texts()[key][language].format(**values)

    return text


def in_words(sentence: str, t: Words) -> str:
    """The sentence of an error in the words of a page; as it is where they have none for it."""
    for key, form in _errors():
        if found := form.fullmatch(sentence):
            return t(key, **found.groupdict())
    return sentence


@cache
def _errors() -> list[tuple[str, re.Pattern[str]]]:
    """The English forms of the errors' sentences, each with its key."""
    return [(key, _form(text["en"])) for key, text in texts().items() if key.startswith("error-")]


def _form(text: str) -> re.Pattern[str]:
    parts = Formatter().parse(text)
    return re.compile("".join(re.escape(s) + (f"(?P<{name}>.*)" if name else "") for s, name, _, _ in parts), re.DOTALL)


def closest(locale: str | None) -> str:
    """The language that suits a browser's, such as `zh-TW`; English where none does."""
    wanted = (locale or "").lower().split("-")[0]
    return wanted if wanted in LANGUAGES else "en"
