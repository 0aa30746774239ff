"""Where text ends: characters across tokens, stop strings, sentences."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.stopping import StopRule, TextIncrements, sentence_end, sentences


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


def spaced(tokens):
    """As a sentencepiece decoder: a blank before each word is part of its token, and the text's first one is stripped.

    The token "<s>" is special and has no text.
    """
    text = "".join(token for token in tokens if token != "<s>").replace("▁", " ")
    return text[1:] if text.startswith(" ") else text


@given(st.lists(st.sampled_from(["▁", "▁a", "b", "▁▁", "<s>", "。", "\n"]), min_size=1))
def test_a_decoder_that_strips_the_first_blank_concatenates_too(tokens):
    increments = TextIncrements(spaced)
    assert "".join(increments.add(token) for token in tokens) == spaced(tokens)


def test_a_long_text_is_decoded_piece_by_piece():
    decoded = []

    def counting(ids):
        decoded.append(len(ids))
        return decode(ids)

    increments, text = TextIncrements(counting), "Nine. 工坊 🚤 " * 100
    assert "".join(increments.add(i) for i in text.encode()) == text
    assert max(decoded) <= 8  # two characters of four bytes


def stopped(pieces, stop=(), sentence=False, min_tokens=0):
    """(text, reason) after feeding pieces as a token stream."""
    rule, text, held = StopRule(stop, sentence, min_tokens), "", ""
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
    ("min_tokens", "expected"),
    [
        (0, ("a", "stop_string")),
        (2, ("a", "stop_string")),  # the second token completes it
        (3, ("a.b", "stop_string")),
        (4, ("a.b", "stop_string")),
        (5, ("a.b.c", None)),
    ],
)
def test_a_stop_string_counts_from_the_minimum_on(min_tokens, expected):
    assert stopped(["a", ".", "b", ".", "c"], (".",), min_tokens=min_tokens) == expected


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=12), st.integers(0, 12))
def test_a_stop_string_counts_where_a_late_enough_token_completes_it(pieces, min_tokens):
    text, early = "".join(pieces), "".join(pieces[: max(min_tokens - 1, 0)])
    for stop in ("a", "ab", "aab", "bab"):
        at = next((i for i in range(len(text)) if text[i:].startswith(stop) and i + len(stop) > len(early)), None)
        expected = (text, None) if at is None else (text[:at], "stop_string")
        assert stopped(pieces, (stop,), min_tokens=min_tokens) == expected


def test_a_sentence_counts_from_the_minimum_on():
    pieces = ["Yes", ".", " At", " nine", ".", " No", " later", "."]
    assert stopped(pieces, sentence=True)[0] == "Yes."
    assert stopped(pieces, sentence=True, min_tokens=2)[0] == "Yes."
    assert stopped(pieces, sentence=True, min_tokens=3) == ("Yes. At nine.", "sentence_end")
    assert stopped(pieces, sentence=True, min_tokens=6) == ("".join(pieces), None)


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
        ("The U.S. Army built it. Then", 23),
        ("U.S. troops left. Then", 17),
        ("At 3 p.m. on Monday. Then", 20),
        ("It closes at 3 p.m. Then", 19),
        ("In St. Mary's church. Then", 21),
        ("Is it? No. It is not", 6),
        ("The answer is No. It is shut", 17),
        ("On Jan. 5 it shuts. Then", 19),
        ("Oars, rope etc. are there. Then", 26),
        ("Well... maybe at nine. Then", 22),
        ("... The tide turns. Then", 19),
        ("It turns… Then", 9),
        ("“Is it?” he asked. Then", 18),
        ("(It is shut.) Then", 13),
        ("**Nine.** Then", 9),
        ("It is nine.\n", 11),
        ("It is nine. \nthen", 11),
        ("It is nine. ", None),  # what follows may be a small letter
        ("（见第3页。）然后", 7),
        ("《门开了。》然后", 6),
        ("真的吗？！是", 5),
    ],
)
def test_sentence_ends(text, end):
    assert sentence_end(text) == end
    released, reason = stopped(list(text), sentence=True)  # as well where it is written one character a token
    assert (released, reason) == ((text, None) if end is None else (text[:end], "sentence_end"))


def test_a_sentence_may_end_between_tokens():
    assert stopped(["It costs", " 3", ".", "5 euros", ".", " More"], sentence=True) == (
        "It costs 3.5 euros.",
        "sentence_end",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann rows. Dr. Lee sails!  Bob waits", ["Ann rows.", "Dr. Lee sails!", "Bob waits"]),
        (" name: Ann\nage: 9\n\n", ["name: Ann", "age: 9"]),  # a table's rows
        ("三点开门。五点关门。", ["三点开门。", "五点关门。"]),
        (" \n", []),
        ("", []),
    ],
)
def test_a_text_is_its_sentences(text, expected):
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(st.lists(st.sampled_from(["Ann", ".", " ", "\n", "!", "。", "9", '"']), max_size=20).map("".join))
def test_sentences_leave_out_nothing_but_blanks(text):
    spans = sentences(text)
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
