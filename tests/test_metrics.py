"""Metrics by hand, their intervals, and the scorer against a published result."""

import json
from pathlib import Path

import pytest

from rag.evaluation import metrics
from rag.evaluation.bootstrap import interval

SCORER = Path(__file__).parents[2] / "shared" / "data" / "scorer"


@pytest.mark.parametrize(
    ("text", "answers", "em", "f1", "contained"),
    [
        ("The Cat.", ["cat"], 1, 1, 1),  # case, article and punctuation do not count
        ("a black cat", ["the black dog", "cat"], 0, 2 / 3, 1),  # the best of the accepted answers
        ("in the year 1987", ["1987"], 0, 2 * (1 / 3) / (1 + 1 / 3), 1),  # P 1/3, R 1
        ("concatenate", ["cat"], 0, 0, 0),  # whole words only
        ("", ["x"], 0, 0, 0),
        ("$40", ["40"], 1, 1, 1),
        ("six six six", ["six"], 0, 0.5, 1),  # a word counts as often as it is expected
        ("三十六把桨。", ["三十六把"], 0, 2 * 4 / (5 + 4), 1),  # characters are words
        ("“Resign", ["Resign"], 0, 0, 0),  # as SQuAD's own script has it
        ("the", ["an"], 1, 1, 1),  # nothing is left of either
    ],
)
def test_metrics_worked_by_hand(text, answers, em, f1, contained):
    assert metrics.exact_match(text, answers) == em
    assert metrics.f1(text, answers) == pytest.approx(f1)
    assert metrics.contained(text, answers) == contained


def test_no_accepted_answer_is_no_match():
    assert metrics.f1("anything", []) == metrics.bleu("anything", []) == metrics.rouge_l("anything", []) == 0


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("police killed gunman", ["police kill gunman"], 2 * 2 / 6),  # Lin 2004's example, without its articles
        ("gunman kill police", ["police kill gunman"], 2 * 1 / 6),  # the order counts, unlike in F1
        ("x k y b z", ["b", "k b"], 2 * 2 / 7),  # gaps do not; the best answer does
        ("The cat!", ["cat"], 1),
        ("", ["cat"], 0),
        ("a", ["the"], 1),
    ],
)
def test_rouge_l_by_hand(text, answers, expected):
    assert metrics.rouge_l(text, answers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("Paris", ["Paris"], 1),  # a single word has no pairs: they do not count against it
        ("the cat sat", ["the cat sat", "nothing like it"], 1),
        (
            "a b c d",
            ["a b x d"],
            (3 / 4 * 1 / 3 * 1 / (2 * 2) * 1 / (4 * 1)) ** 0.25,
        ),  # smoothed: no triple is 1/2 of one, no four 1/4
        ("Paris", ["Paris is it"], 2.718281828459045 ** (1 - 3)),  # too short: exp(1 - r / c)
        ("", ["x"], 0),
        ("三十六把", ["三十六把"], 1),
        ("ひらがなだ", ["ひらがなです"], (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * 2.718281828459045 ** (1 - 6 / 5)),
        ("나무 배", ["나무배"], 1),  # characters are words
    ],
)
def test_bleu_by_hand(text, answers, expected):
    assert metrics.bleu(text, answers) == pytest.approx(expected)


def test_the_interval_of_a_mean():
    assert interval([0.5] * 9) == (0.5, 0.5)
    values = [0.0, 1.0] * 200
    low, high = interval(values)
    assert (low, high) == interval(values)
    # The mean of 400 coins has a deviation of 0.025: 95 % lie within 1.96 of these.
    assert low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert high == pytest.approx(0.5 + 0.049, abs=0.006)


@pytest.mark.skipif(not SCORER.is_dir(), reason="the published predictions are not here")
def test_the_scorer_gives_what_was_published():
    predictions = json.loads((SCORER / "bert-ensemble-predictions.json").read_text(encoding="utf-8"))
    gold = json.loads((SCORER / "squad-v1.1-dev-answers.json").read_text(encoding="utf-8"))
    scored = [(predictions.get(name, ""), row["answers"]) for name, row in gold.items()]
    em, f1 = (100 * sum(score(*one) for one in scored) / len(scored) for score in (metrics.exact_match, metrics.f1))
    assert (round(em, 3), round(f1, 3)) == (86.206, 92.196)
