"""Laws of the line above an answer: words for every answer in both languages, and no figure without its meaning."""

import dataclasses
import itertools
import math
import re
import typing

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from rag import reasons
from rag.assistant import FOREIGN, NOTHING_FOUND, SAID_SO
from rag.judging import UNSURE
from rag.schema import Advice, Answer, FinishReason
from tests.token_answers import answer_of, step
from tests.told_answers import lifted, read_from, told_of
from ui.told import UNREADABLE, remains
from ui.trust import lift, trust
from ui.words import LANGUAGES, texts, words

EN, ZH = words("en"), words("zh")
DATA = "9 answers about boats"
WHY = [value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)] + [UNREADABLE]
ANSWERS = [
    dataclasses.replace(
        answer_of([step("Ten", finish_reason=finish)] if finish else []),
        abstained=abstained,
        advice=advice,
        reason=reason,
        confidence=confidence,
        calibrated_on=data,
        contrast=lifted(2.0) if contrasted else None,
    )
    for finish, abstained, advice, reason, (confidence, data), contrasted in itertools.product(
        [*typing.get_args(FinishReason), None],
        [None, NOTHING_FOUND, FOREIGN, SAID_SO, UNSURE],
        [*typing.get_args(Advice), None],
        [*WHY, None],
        [(0.42, DATA), (0.42, None), (None, DATA), (None, None)],
        [True, False],
    )
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_answer_has_words_and_every_percentage_the_data_it_was_fitted_on(language):
    assert len(WHY) >= 6
    t, other = words(language), words("zh" if language == "en" else "en")
    for answer in ANSWERS:
        found = trust(answer, t)
        said = [*found.line, *found.meanings, *filter(None, (found.declined, found.reason))]
        assert all(text.strip() for text in said)
        assert "None" not in "".join(said)
        assert (found.declined is None) == (answer.abstained is None)
        assert (found.reason is None) == (answer.reason is None)
        assert {found.declined, found.reason} <= {None, *(text[language] for text in texts().values())}
        assert (answer.advice == "warn") == (t("trust-warn") in found.line)
        shown = any("42" in part for part in found.line)
        assert shown == any(DATA in meaning and "42" in meaning for meaning in found.meanings)
        assert not shown or answer.calibrated_on
        assert not re.search(r"correct|true|hallucinat|准确", " ".join(said).casefold())
        twin = trust(answer, other)
        assert [len(found.line), len(found.meanings)] == [len(twin.line), len(twin.meanings)]


def test_nothing_is_claimed_of_what_was_stopped():
    for stopped in ([step("Te", finish_reason="cancelled")], []):
        found = trust(dataclasses.replace(answer_of(stopped), confidence=0.9, calibrated_on=DATA), EN)
        assert (found.line, found.meanings) == ((EN("ask-stopped"),), ())


def test_without_a_calibration_it_says_so():
    assert trust(told_of().answer, EN).line == ("Uncalibrated",)
    assert trust(dataclasses.replace(told_of().answer, confidence=0.9), EN).line == ("Uncalibrated",)


def test_what_cannot_be_read_says_so_and_no_more():
    found = trust(remains("q", "Ten", "papers").answer, EN)
    assert (found.line, found.meanings, found.declined) == (("Kept in part",), (), None)
    assert "cannot be read" in found.reason


def test_words_of_another_version_are_shown_as_they_were_stored():
    found = trust(told_of(abstained="the moon was full", reason="tides").answer, ZH)
    assert (found.declined, found.reason) == ("the moon was full", "tides")


# figures


@pytest.mark.parametrize(
    ("confidence", "percent"), [(0.0, 1), (0.004, 1), (0.5, 50), (0.876, 88), (0.996, 99), (1.0, 99)]
)
@pytest.mark.parametrize("advice", [*typing.get_args(Advice), None])
def test_a_confidence_in_percent_is_never_certain(confidence, percent, advice):
    answer = told_of(confidence=confidence, calibrated_on=DATA, advice=advice).answer
    for t in (EN, ZH):
        found = trust(answer, t)
        assert re.findall(r"\d+", found.line[0]) == [str(percent)]
        assert f"{percent} in 100" in found.meanings[0] or f"约有 {percent} 个" in found.meanings[0]
    assert ("best answer" in trust(answer, EN).line[0]) == (advice is None)


@pytest.mark.parametrize(
    ("factor", "shown"),
    [
        (1.06, "1.1"),
        (1.5, "1.5"),
        (9.94, "9.9"),
        (9.96, "10"),
        (10.4, "10"),
        (44.4, "44"),
        (99.9, "100"),
        (1234.0, "1,200"),
        (98_765.0, "99,000"),
        (949_000.0, "950,000"),
        (1e6, "10^6"),
        (4e6, "10^7"),
        (1e30, "10^30"),
    ],
)
def test_a_factor_has_two_digits_or_a_power_of_ten(factor, shown):
    nats = math.log(factor) + 1e-12
    assert lift(lifted(nats), EN) == f"the documents made it {shown} times as probable"
    assert lift(lifted(-nats), EN) == f"the documents made it less probable, by a factor of {shown}"
    assert f" {shown} 倍" in lift(lifted(nats), ZH)
    assert lift(lifted(-nats), ZH).endswith(f" 1/{shown}")


@settings(max_examples=60)
@for_all(st.floats(-1e6, 1e6))
def test_a_factor_is_right_to_its_digits(nats):
    said = lift(lifted(nats), EN)
    if abs(nats) < 0.05:
        assert "hardly" in said
        return
    assert ("less" in said) == (nats < 0)
    (power, plain) = re.search(r"10\^(\d+)|(\d[\d.,]*)", said).groups()
    found = float(power) if power else math.log10(float(plain.replace(",", "")))
    assert found == pytest.approx(abs(nats) / math.log(10), abs=0.501 if power else 0.025)


def test_what_is_below_the_noise_is_nothing():
    assert lift(lifted(0.3, floor=0.31), EN) == lift(lifted(-0.3, floor=0.31), EN) == EN("trust-lift-none")
    assert "1.3 times" in lift(lifted(0.3, floor=0.29), EN)
    many = dataclasses.replace(lifted(0.3, floor=0.1), written=4)
    assert lift(many, EN) == EN("trust-lift-none"), "noise grows with the tokens"


def test_the_meaning_of_a_lift_has_its_nats_and_its_sign():
    for nats, said in ((2.345, "+2.3 nats"), (-7.0, "-7.0 nats")):
        found = trust(told_of(contrast=lifted(nats)).answer, EN)
        assert said in found.meanings[-1]
        assert "not that it is right" in found.meanings[-1]
    assert len(trust(told_of(contrast=lifted(2.0), abstained=UNSURE).answer, EN).line) == 2, "none of a guess"


def test_what_was_not_read_is_said():
    read = read_from("a", "b")
    answer = told_of(passages=read).answer

    def said(**changes):
        return trust(dataclasses.replace(answer, prompt=dataclasses.replace(answer.prompt, **changes)), EN).line[1:]

    turn = (typing.cast(Answer, "a turn"),)
    assert said() == ()
    assert said(left_out=read) == ("2 of 4 matching passages read",)
    cut = (dataclasses.replace(read[0], read=1), read[1])
    assert said(passages=cut) == ("2 of 2 matching passages read, one of them only in part",)
    assert said(history=turn, turns_left_out=3) == ("1 of 4 earlier turns read",)
    assert said(history=turn) == ()
