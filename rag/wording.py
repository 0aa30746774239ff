"""Words of questions, answers and passages, compared. Knows text only, and no more of a language than its small words.

Words are told apart by blanks and punctuation; of Chinese characters each is one.
"""

import re

_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")
_BEGINNING = 5  # letters by which words count as the same: launch, launched, launching
_SMALL = frozenset(
    """
    the and for are was were has had have did does not its his her she him who how what when where which whose whom why
    that this these those with from into onto than then them they their there been being before after will would could
    should can may might must about also some any other such many much more most long often between during under over
    """.split()  # noqa: SIM905
)


def words(text: str) -> set[str]:
    """The distinct words of a text, whatever their case."""
    return set(_WORD.findall(text.casefold()))


def content(text: str) -> set[str]:
    """The beginnings of its words that name something: numbers, Chinese characters, and three letters or more."""
    named = {word for word in words(text) if len(word) > 2 or not word.isascii() or word.isdigit()}
    return {word[:_BEGINNING] for word in named - _SMALL}


def share(of: set[str], among: set[str]) -> float:
    """Which share of the first words the second hold; 0 where there are none."""
    return len(of & among) / max(len(of), 1)


def mostly_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin ones, accents included; so is a text without letters."""
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(letter < "\u0250" or "\u1e00" <= letter < "\u1f00" for letter in letters) >= len(letters)


def stands(said: str, text: str) -> bool:
    """Whether an answer's words stand in a text, in a row, whatever their case and punctuation."""
    # A number or a Latin word must be whole; in Chinese there is no blank to tell where a word begins.
    found = re.search(rf"(?<![a-z0-9]){re.escape(_plain(said))}(?![a-z0-9])", _plain(text))
    return bool(_plain(said)) and found is not None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())
