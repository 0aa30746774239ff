"""Every word that the app shows, in English and Chinese: `words.toml`, a table a text. Knows no page."""

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

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


def closest(locale: str | None) -> str:
    """The language that suits a browser's, such as `zh-TW`; English where none does."""
    wanted = (locale or "").lower().split("-")[0]
    return wanted if wanted in LANGUAGES else "en"
