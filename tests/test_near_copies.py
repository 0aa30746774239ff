"""Near-copies say nothing new; versions differ in a number, a date, a name or a negation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.near_copies import Words, compare

BASE = (
    "The harbour office opens at nine in the morning and closes at five in the afternoon, and the fee for a berth is "
    "85 euros, payable to Ruth Calder before 3 March of each year or to the office by post."
)
CHINESE = "工坊的防火门每天晚上六点关闭，由值班人员张三检查并且签字。"


def relation(first, second):
    return compare(Words(first), Words(second))


@pytest.mark.parametrize(
    "other",
    [
        BASE,
        BASE.upper(),
        BASE.replace(",", ";").replace(" ", "\n"),
        BASE.replace("opens", "starts"),
        BASE.rsplit(" ", 5)[0],
        BASE.replace("by post", "by mail"),
    ],
)
def test_what_says_nothing_new_is_a_copy(other):
    assert relation(BASE, other) == "copy"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("85", "95"),
        ("3 March", "4 March"),
        ("March", "April"),
        ("Ruth Calder", "Ann Calder"),
        ("is 85", "is not 85"),
        ("before", "after"),
        ("85 euros", "-85 euros"),
        ("85", "8.5"),
        ("nine", "ten"),
        ("euros", "pounds"),
        ("85 euros", "85% of it"),
        ("85", "½"),
        ("payable", "non-payable"),
    ],
)
def test_what_differs_in_a_number_a_date_a_name_or_a_negation_is_a_version(before, after):
    assert relation(BASE, BASE.replace(before, after)) == "version"
    assert relation(BASE.replace(before, after), BASE) == "version"


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        (BASE.replace("85 euros", "€85"), "€", "$"),
        (BASE.replace("85 euros", "85%"), "%", ""),
        (BASE.replace("Ruth Calder", "ruth@calder.example"), "ruth", "anna"),
        (BASE.replace("fee", "included fee"), "included", "excluded"),
        (BASE.replace("3 March", "monday"), "monday", "tuesday"),
        (BASE.replace("3 March", "3 mars"), "mars", "avril"),
        (BASE.lower(), "ruth", "anna"),
        (
            "مكتب الميناء في التاسعة ويغلق في الخامسة والرسم ثمانون يورو يدفع إلى سالم قبل مارس",
            "سالم",
            "خالد",
        ),
        ("Die Gebühr ist am Ende des Jahres fällig und wird dann vom Amt am Hafen geprüft", "wird", "wird nicht"),
    ],
)
def test_units_addresses_opposites_and_names_without_capitals_make_a_version(text, before, after):
    assert text.replace(before, after) != text
    assert relation(text, text.replace(before, after)) == "version"
    assert relation(text.replace(before, after), text) == "version"


def test_what_holds_more_is_not_a_copy_but_what_holds_less_is():
    more = BASE + " In the year 2024 nobody paid anything, since the office burned down and all of its books with it."
    assert relation(BASE, more) is None
    assert relation(more, BASE) == "copy"
    assert relation(BASE, BASE + " Ask Ann.") is None


def test_other_texts_are_neither():
    assert relation(BASE, "Oak ribs are steamed for two hours before they are bent over the mould.") is None
    assert relation(BASE, " ".join(sorted(BASE.split()))) is None
    assert relation("", BASE) is relation(BASE, "") is None


def test_any_other_character_of_a_chinese_text_may_be_a_name():
    assert relation(CHINESE, CHINESE.replace("，", " ")) == "copy"
    assert relation(CHINESE, CHINESE.replace("张三", "李四")) == "version"
    assert relation(CHINESE, CHINESE.replace("六", "七")) == "version"


@given(st.text(max_size=80))
def test_every_text_is_a_copy_of_itself(text):
    assert relation(text, text) == "copy"


PIECES = st.sampled_from(["oak", "tea", "5", "7", "Ann", "Bob", "not", "门", "关"])


@given(st.lists(PIECES, max_size=40).map(" ".join), st.integers(0, 9))
def test_a_copy_never_holds_a_number_or_a_name_of_its_own(text, number):
    assert relation(text, f"{text} {number}0 tea") != "copy"
    assert relation(text, f"Carl {text}") != "copy"
