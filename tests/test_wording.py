"""Words compared: what counts as one, as the same, and as standing in a text."""

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from rag.wording import content, mostly_latin, share, stands, words


@pytest.mark.parametrize(
    ("said", "text", "found"),
    [
        ("85", "It costs 85 euros.", True),
        ("85", "Built in 1850.", False),
        ("ann ROWS", "Then Ann, rows!", True),
        ("Ann", "Annual report", False),
        ("三四", "一三四五", True),
        ("", "Ann", False),
        ("...", "Ann ...", False),
    ],
)
def test_an_answer_stands_in_a_text_as_whole_words(said, text, found):
    assert stands(said, text) is found


@for_all(st.text(max_size=30), st.text(max_size=30))
def test_a_text_stands_in_itself_and_in_what_surrounds_it_with_blanks(said, around):
    alone = stands(said, said)
    assert stands(said, f"{around} {said} {around}") >= alone
    assert not alone or words(said)


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        *(("Wer zahlt für Ärger?", True), ("42?", True), ("", True), ("Who is 王小明?", True)),
        *(("船什么时候开?", False), ("Кто платит?", False), ("عدد", False)),
    ],
)
def test_latin_letters_are_told_from_others(text, latin):
    assert mostly_latin(text) is latin


def test_small_words_and_endings_do_not_count():
    assert content("When was the boat launched?") == content("launching of a boat") == {"boat", "launc"}
    assert content("号码 7") == {"号", "码", "7"}
    assert content("of it") == set()


@for_all(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_a_share_is_whole_where_all_are_there(of, among):
    of, among = set(map(str, of)), set(map(str, among))
    assert 0 <= share(of, among) <= 1
    assert share(of, of | among) == (1 if of else 0)
    assert share(of, among - of) == 0
