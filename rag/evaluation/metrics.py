"""Metrics of one answer against the accepted ones: small pure functions, 0 to 1.

Normalisation is SQuAD's (Rajpurkar et al. 2016): lower case, no punctuation, no English article, single blanks.
Chinese, Japanese and Korean characters count as words of their own.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_CJK = re.compile(r"([぀-ヿ㐀-䶿一-鿿豈-﫿가-힣])")


def words(text: str) -> list[str]:
    """The normalised words of a text."""
    # Every Unicode punctuation mark and, as SQuAD does, the ASCII symbols such as $ and +.
    kept = "".join(c for c in text.lower() if not (unicodedata.category(c)[0] == "P" or c in "$+<=>^`|~"))
    return _CJK.sub(r" \1 ", _ARTICLE.sub(" ", kept)).split()


def exact_match(text: str, answers: Sequence[str]) -> float:
    """1 where the normalised text equals an accepted answer's."""
    return _best(lambda answer: float(words(text) == words(answer)), answers)


def f1(text: str, answers: Sequence[str]) -> float:
    """Harmonic mean of the precision and recall of words, against the accepted answer that fits best."""
    return _best(lambda answer: _f1(words(text), words(answer)), answers)


def contained(text: str, answers: Sequence[str]) -> float:
    """1 where the words of an accepted answer stand in the text in a row."""
    return _best(lambda answer: float(f" {' '.join(words(answer))} " in f" {' '.join(words(text))} "), answers)


def _best(score: Callable[[str], float], answers: Sequence[str]) -> float:
    return max((score(answer) for answer in answers), default=0.0)


def _f1(predicted: list[str], expected: list[str]) -> float:
    """2 PR / (P + R), which is 2 common / (predicted + expected)."""
    if not predicted or not expected:
        return float(predicted == expected)
    common = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * common / (len(predicted) + len(expected))
