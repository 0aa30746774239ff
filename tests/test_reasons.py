"""The rule that says why an answer failed: each reason from the figures that it stands for."""

from dataclasses import replace

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from rag.assistant import NOTHING_FOUND, SAID_SO
from rag.evidence import Evidence, PassageValues
from rag.reasons import BY_THE_MODEL, DISAGREE, NOT_FOUND, NOT_USED, closest_sentence, why
from rag.schema import Contrast
from tests.test_confidence import answer_of, lifted, step

LEANING = {"contrast": lifted(9.0)}
REASONS = (None, BY_THE_MODEL, DISAGREE, NOT_FOUND, NOT_USED)


def evidence_of(*totals):
    changed = Contrast((-1.0,), (-2.0,), (-2.0,), (1,), (1,), 1, 0.001)
    values = tuple(PassageValues(n, (x,), (x,), (x,), x) for n, x in enumerate(totals, start=1))
    return Evidence(changed, "shapley", values, (), 1)


def test_an_answer_that_leans_on_the_documents_has_none():
    answer = answer_of([step("Ann")], ["Ann rows."])
    assert why(replace(answer, **LEANING)) is None
    assert why(answer) is None, "nothing was measured"


def test_a_refusal_is_not_found_unless_the_model_gave_other_answers_more():
    sure = answer_of([step("The documents do not say.", -0.1)], ["Bob sails."], abstained=SAID_SO)
    torn = answer_of([step("The documents do not say.", -0.8)], ["Bob sails."], abstained=SAID_SO)
    assert why(sure) == NOT_FOUND
    assert why(torn) == NOT_USED
    assert why(answer_of([], abstained=NOTHING_FOUND)) == NOT_FOUND
    assert why(answer_of([step("Ann")])) is None, "a question that needs no passage"


def test_an_answer_less_probable_than_the_refusal_was_not_found():
    answer = answer_of([step("Ann", -3.0)], ["Bob sails."], **LEANING)
    assert why(answer, refusal=-2.0) == NOT_FOUND


@pytest.mark.parametrize(("text", "reason"), [("Cy rows daily.", NOT_USED), ("Bob sails.", BY_THE_MODEL)])
def test_without_lift_it_is_the_models_own_or_the_passage_was_not_used(text, reason):
    answer = answer_of([step("Ann")], [text])
    assert why(replace(answer, contrast=lifted(0.5)), refusal=-9.0) == reason
    assert why(replace(answer, contrast=lifted(1.5)), refusal=-9.0) is None


RULES = [
    (
        "The safety officer is Ann Lee, who can be reached on extension 17.",
        "In force from June. The safety officer is Bob Ray, who can be reached on extension 19.",
        "Ann Lee",
    ),
    ("| Largest batch of epoxy | 600 millilitres |", "| Largest batch of epoxy | 400 millilitres |", "600 millilitres"),
    ("安全负责人是王小明。", "安全负责人是李大山。", "王小明"),
]


@pytest.mark.parametrize(("one", "other", "said"), RULES)
def test_passages_disagree_where_one_has_another_answer_in_the_same_sentence(one, other, said):
    assert why(answer_of([step(said)], [one, other], **LEANING)) == DISAGREE
    assert why(answer_of([step(said)], [other, one], **LEANING)) == DISAGREE
    assert why(answer_of([step(said)], [one, one], **LEANING)) is None, "both say so"
    assert why(answer_of([step(said)], [f"{one} {other}"], **LEANING)) is None, "one passage means both"


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("The workshop was built in 1990.", "The slipway was built in 1985.", "1990"),
        ("Ann rows.", "Bob rows.", "Ann"),
        ("The safety officer is Ann Lee.", "Who is the safety officer and what does she do all day?", "Bob"),
    ],
)
def test_passages_do_not_disagree_where_they_speak_of_something_else(one, other, said):
    assert why(answer_of([step(said)], [one, other], **LEANING)) is None


@pytest.mark.parametrize(
    ("totals", "reason"), [((5.0, -3.0), DISAGREE), ((5.0, -1.0), None), ((1.0, -3.0), None), ((), None)]
)
def test_passages_disagree_where_one_speaks_clearly_for_and_one_clearly_against(totals, reason):
    answer = answer_of([step("Ann")], ["Ann rows.", "Bob rows."], **LEANING)
    assert why(answer, evidence=evidence_of(*totals)) == reason


def test_the_closest_sentence_has_most_of_the_questions_words():
    answer = answer_of([], ["Bob sails. Nobody rows here.", "Ann rows. Cy, who rows, is ten."])
    prompt = replace(answer.prompt, question="Which of them rows here?")
    assert closest_sentence(prompt) == (1, 11, 28)
    assert closest_sentence(replace(prompt, question="Why is it dark?")) is None
    assert closest_sentence(replace(prompt, question="rows")) == (1, 11, 28), "of equals the best passage's first"
    assert closest_sentence(replace(prompt, passages=(replace(prompt.passages[0], read=10),))) is None
    assert closest_sentence(answer_of([], ["# Who rows\nThe rows are long."]).prompt) == (1, 11, 29)
    chinese = answer_of([], ["一月有雨。船在三月开。"])
    assert closest_sentence(replace(chinese.prompt, question="船什么时候开?")) == (1, 5, 11)


nats = st.none() | st.floats(-100, 100)


@for_all(
    st.lists(st.sampled_from(["", "Ann", " rows"]), max_size=3),
    st.lists(st.sampled_from(["Ann rows.", "", "三四"]), max_size=3),
    st.none() | st.floats(-100, 100).map(lifted),
    nats,
    st.sampled_from([None, SAID_SO]),
)
def test_the_rule_never_fails(pieces, texts, changed, refusal, abstained):
    answer = answer_of([step(p) for p in pieces], texts, abstained=abstained, contrast=changed)
    assert why(answer, refusal) in REASONS
