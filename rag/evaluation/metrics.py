"""Metrics of one answer against the accepted ones: small pure functions, 0 to 1. The only module that uses sacrebleu.

Normalisation is SQuAD's (Rajpurkar et al. 2016): lower case, no ASCII punctuation, no English article, single blanks.
Chinese, Japanese and Korean characters count as words of their own, and in a text with any no punctuation counts.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from string import punctuation
from unicodedata import category

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_CJK = re.compile(r"([぀-ヿ㐀-䶿一-鿿豈-﫿가-힣])")


def words(text: str) -> list[str]:
    """The normalised words of a text."""
    # Curly quotes and dashes stay in other texts, as in SQuAD's own script: its published figures count them.
    wide = bool(_CJK.search(text))
    kept = "".join(c for c in text.lower() if c not in punctuation and not (wide and category(c)[0] == "P"))
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


def rouge_l(text: str, answers: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words, against the answer that fits best (Lin 2004, beta 1)."""
    return _best(lambda answer: _rouge_l(words(text), words(answer)), answers)


def bleu(text: str, answers: Sequence[str]) -> float:
    """Sentence BLEU against all answers together, by n-grams as long as the text has any (Post 2018, sacrebleu)."""
    if not answers:
        return 0.0
    from sacrebleu import sentence_bleu  # 0.1 s that only an evaluation needs

    tokenizer = "zh" if any(map(_CJK.search, answers)) else "13a"
    text, *answers = (_CJK.sub(r" \1 ", one) for one in (text, *answers))  # "zh" leaves kana and Korean together
    return min(float(sentence_bleu(text, answers, tokenize=tokenizer).score) / 100, 1.0)


def _best(score: Callable[[str], float], answers: Sequence[str]) -> float:
    return max((score(answer) for answer in answers), default=0.0)


def _f1(predicted: list[str], expected: list[str]) -> float:
    """2 PR / (P + R), which is 2 common / (predicted + expected)."""
    if not predicted or not expected:
        return float(predicted == expected)
    common = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * common / (len(predicted) + len(expected))


def _rouge_l(predicted: list[str], expected: list[str]) -> float:
    """2 PR / (P + R), which is 2 LCS / (predicted + expected)."""
    if not predicted or not expected:
        return float(predicted == expected)
    row = [0] * (len(expected) + 1)  # row[j]: the LCS of the words so far and the first j expected ones
    for word in predicted:
        diagonal = 0
        for j, other in enumerate(expected, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return 2 * row[-1] / (len(predicted) + len(expected))
