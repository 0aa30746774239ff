"""Reading each passage by itself: which answer is chosen, what is kept of the choice, and when it is left alone."""

import io
import threading
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from rag.assistant import SAID_SO, Assistant
from rag.contrast import row
from rag.evaluation.asking import given
from rag.generation import LocalGenerator
from rag.rereading import WEIGHT, may_not_decline, reread
from rag.schema import SamplingParams, Timings
from rag.templates import REFUSAL, as_answer, is_refusal
from tests.test_attribution import TEXTS, answered, loud  # noqa: F401 - a fixture
from ui.terminal import REREAD, show_answer

GREEDY = SamplingParams(max_new_tokens=6, seed=0)
QUESTIONS = [f"Who rows {n} boats?" for n in range(8)]


@pytest.fixture
def generator(loud):  # noqa: F811
    return LocalGenerator(loud())


def by_hand(answer, template, generator):
    """Text, score and margins of each answer that can be chosen, from single prompts that share nothing."""
    again = LocalGenerator(generator.model, prefix_bytes=0, drafts=False)
    alone = [row(answer, [p], template, generator)[0] for p in answer.prompt.passages]
    params = may_not_decline(answer.params, template, generator)
    refusal = generator.model.encode(as_answer(REFUSAL, template), False)
    found = {}
    for steps in (answer.steps, *(list(again.stream(prompt, params)) for prompt in alone)):
        text = "".join(step.text for step in steps).strip()
        tokens = [step.token_id for step in steps]
        if text and text not in found:
            sums = [float(a.sum()) for a in again.score([(p, tokens) for p in (answer.prompt.token_ids, *alone)])]
            declines = [float(a.sum()) for a in again.score([(p, refusal) for p in alone])]
            margins = [one - other for one, other in zip(sums[1:], declines, strict=True)]
            found[text] = sums[0] + WEIGHT * max(margins), margins
    return found


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_best_of_all_is_chosen_with_what_each_passage_says_of_it(generator, question):
    answer, template = answered(generator, TEXTS[:3], params=GREEDY, question=question)
    expected = by_hand(answer, template, generator)
    best, alone = reread(answer, template, generator)
    text = max(expected, key=lambda one: expected[one][0])
    assert best.text == text
    assert np.allclose(alone, expected[text][1], atol=1e-3)


def test_some_answers_are_replaced_and_some_stay(generator):
    changed = set()
    for question in QUESTIONS:
        for texts in (TEXTS[:1], TEXTS[:3]):
            answer, template = answered(generator, texts, params=GREEDY, question=question)
            changed.add(reread(answer, template, generator)[0].text != answer.text)
    assert changed == {True, False}


def asked(generator, question, params=GREEDY, **options):
    assistant = Assistant(None, None, generator, "embedded", "plain", **options)
    params = assistant.complete(params)
    prompt = assistant.prompt(question, params, passages=given(TEXTS[:3]))
    steps = list(generator.stream(prompt.token_ids, params))
    return assistant, assistant.answer(prompt, steps, params, Timings(0, 0, 0))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_kept_as_the_model_sees_it_with_all_passages(generator, question):
    assistant, first = asked(generator, question, read_each=True)
    answer = assistant.judged(first)
    assert answer.prompt == first.prompt
    assert answer.at_first == (None if answer.text == first.text else first.text)
    (logprobs,) = LocalGenerator(generator.model, prefix_bytes=0).score(
        [(answer.prompt.token_ids, [step.token_id for step in answer.steps])]
    )
    assert np.allclose(logprobs, [step.logprob for step in answer.steps], atol=1e-3)
    assert "".join(step.text for step in answer.steps).strip() == answer.text
    assert len(answer.alone) == 3
    assert answer.timings.total > first.timings.total
    assert answer.contrast is not None


@pytest.mark.parametrize(
    "params", [replace(GREEDY, temperature=0.7), replace(GREEDY, beams=2)], ids=["drawn", "searched"]
)
def test_only_greedy_answers_are_reread(generator, params):
    assistant, first = asked(generator, QUESTIONS[0], params, read_each=True)
    answer = assistant.judged(first)
    assert (answer.text, answer.alone, answer.at_first) == (first.text, None, None)


def test_the_beginning_of_an_answer_does_not_win_by_being_short(generator):
    answer, template = answered(generator, TEXTS[:3], params=GREEDY)
    best, _ = reread(answer, template, generator)
    assert len(best.token_ids) == GREEDY.max_new_tokens, "the tiny model never ends: a shorter one would be a part"


def test_an_empty_answer_is_none(generator):
    assistant, first = asked(generator, QUESTIONS[0], read_each=True)
    empty = replace(first, text="", steps=(replace(first.steps[0], text="", finish_reason="end_token"),))
    assert reread(empty, assistant.template, generator)[0].text != ""


def test_it_can_be_switched_off(generator):
    assistant, first = asked(generator, QUESTIONS[0])
    assert assistant.judged(first).alone is None


def test_without_a_confidence_a_refusal_stands(generator):
    assistant, first = asked(generator, QUESTIONS[0], read_each=True)
    refusal = replace(first, text=REFUSAL, abstained=SAID_SO)
    assert assistant.judged(refusal).abstained == SAID_SO
    best = assistant.best(refusal)
    assert (best.abstained, best.at_first) == (None, REFUSAL)
    assert not is_refusal(best.text)


def test_what_was_stopped_is_left_as_it_was(generator):
    assistant, first = asked(generator, QUESTIONS[0], read_each=True)
    cut = replace(first, steps=(*first.steps[:-1], replace(first.steps[-1], finish_reason="cancelled")))
    assert assistant.judged(cut) == cut
    stopped = threading.Event()
    stopped.set()
    assert reread(first, assistant.template, generator, stopped) is None


def test_nothing_is_read_again_where_no_passage_was(generator):
    assistant = Assistant(None, None, generator, "embedded", "plain", read_each=True)
    prompt = assistant.prompt("Who rows?", GREEDY, passages=[])
    answer = assistant.judged(assistant.answer(prompt, [], GREEDY, Timings(0, 0, 0)))
    assert (answer.alone, answer.text) == (None, "")


def test_the_terminal_shows_both_answers(generator):
    assistant, first = next(
        (a, f) for a, f in (asked(generator, q, read_each=True) for q in QUESTIONS) if a.judged(f).at_first
    )
    console = Console(file=io.StringIO(), width=100)
    answer = show_answer(console, iter([first.prompt, *first.steps, assistant.judged(first)]))
    shown = console.file.getvalue()
    assert shown.index(REREAD) < shown.index("Tokens")
    assert answer.at_first == first.text
