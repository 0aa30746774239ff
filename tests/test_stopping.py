"""Where text ends: characters across tokens, stop strings, sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.stopping import StopRule, TextIncrements, sentence_end


def decode(ids):
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text())
def test_increments_concatenate_to_the_whole(text):
    ids = text.encode("utf-8")
    increments = TextIncrements(decode)
    parts = [increments.add(i, last=n == len(ids)) for n, i in enumerate(ids, start=1)]
    assert "".join(parts) == text


@given(st.binary(min_size=1))
def test_even_bytes_that_are_no_text_concatenate(ids):
    increments = TextIncrements(decode)
    parts = [increments.add(i, last=n == len(ids)) for n, i in enumerate(ids, start=1)]
    assert "".join(parts) == decode(ids)


def stopped(pieces, stop=(), sentence=False):
    """(text, reason) after feeding pieces as a token stream."""
    rule, text, held = StopRule(stop, sentence), "", ""
    for piece in pieces:
        held += piece
        verdict = rule.check(held)
        if verdict.reason:
            return text + held[: verdict.keep], verdict.reason
        if verdict.keep:
            text, held = text + held, ""
    return text + held, None


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        (["one", " two\n", "three"], ("\n",), "one two"),
        (["a b", "c\n", "\nd"], ("\n\n",), "a bc"),  # straddles tokens
        (["ab", "ab", "abc"], ("abc",), "abab"),  # a beginning that turned out not to be one
        (["答案", "是三", "个。\n问", "题"], ("。\n问题",), "答案是三个"),
        (["xSTOPyEND"], ("END", "STOP"), "x"),  # the first in the text, not in the list
        (["stop me"], ("stop",), ""),
    ],
)
def test_stop_strings_end_the_text_before_them(pieces, stop, expected):
    assert stopped(pieces, stop) == (expected, "stop_string")


@given(st.text("ab", min_size=1, max_size=30), st.text("ab", min_size=1, max_size=4), st.integers(1, 5))
def test_a_stop_string_is_found_however_the_text_is_cut(text, stop, size):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    released, reason = stopped(pieces, (stop,))
    assert released == text.split(stop)[0]
    assert (reason == "stop_string") == (stop in text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("It is 3.5 m. Next", 12),
        ("Ask Dr. Lee first. Then", 18),
        ("J. R. Reed built it. He", 20),
        ("See p. 4 and No. 7! Yes", 19),
        ("It said “stop.” And", 15),
        ("三点半。然后", 4),
        ("他说：“好。”然后", 7),
        ("他说：“好。", None),
        ("1. Switch it off. Then", 17),
        ("No end in sight.", None),  # nothing follows yet
        ("Really?! Yes", 8),
    ],
)
def test_sentence_ends(text, end):
    assert sentence_end(text) == end


def test_a_sentence_may_end_between_tokens():
    assert stopped(["It costs", " 3", ".", "5 euros", ".", " More"], sentence=True) == (
        "It costs 3.5 euros.",
        "sentence_end",
    )
