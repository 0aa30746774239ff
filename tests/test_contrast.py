"""Laws of the contrast: prompts without some passages, what is compared, and which tokens wrote which sentence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from rag.assistant import Assistant
from rag.contrast import NOISE_FLOOR, answer_sentences, check, contrast, noise, row
from rag.errors import PromptError
from rag.evaluation.asking import given
from rag.generation import LocalGenerator
from rag.schema import Answer, Prompt, SamplingParams, Timings, TokenStep, Turn
from rag.templates import TEMPLATES, choose_template
from tests.test_attribution import KINDS, TEXTS, answered, loud  # noqa: F401 - a fixture

READING = [f"{n}:{form}" for n, t in TEMPLATES.items() if t.reads_passages for form in ("plain", "chat")]
PIECES = ["", " ", "Ann", " rows", ".", " Bob", ". Cy", "\n", "三。", "四", "!", '"', "e.g."]
LABELLED = [name for name in READING if name.endswith("chat")]


@pytest.mark.parametrize("name", READING)
def test_with_all_passages_the_prompt_is_the_answers(tiny, name):
    generator = LocalGenerator(tiny())
    assistant = Assistant(None, None, generator, "tiny", name)
    params = SamplingParams(max_new_tokens=3, seed=0)
    history = [Turn("Who is Ann?", "A rower."), Turn("Is she old?", "")]
    prompt = assistant.prompt("When does she row?", params, history=history, passages=given(TEXTS))
    answer = assistant.answer(prompt, list(generator.stream(prompt.token_ids, params)), params, Timings(0, 0, 0))
    assert row(answer, prompt.passages, assistant.template, generator)[0] == prompt.token_ids
    check(answer, assistant.template, generator)


def test_a_passage_that_was_read_in_part_is_read_in_part_again(tiny):
    generator = LocalGenerator(tiny("gpt2"))
    answer, template = answered(generator, ["Short. " * 20, "Long words. " * 30])
    assert any(passage.read for passage in answer.prompt.passages)
    assert row(answer, answer.prompt.passages, template, generator)[0] == answer.prompt.token_ids


@pytest.mark.parametrize("name", LABELLED)
def test_the_passages_that_stay_keep_their_order_and_their_numbers(tiny, name):
    generator = LocalGenerator(tiny())
    answer, template = answered(generator, TEXTS[:3], name)
    third, second, first = answer.prompt.passages
    ids, tokens = row(answer, [third, first], template, generator)
    text = generator.model.decode(ids)
    assert tokens == tuple(step.token_id for step in answer.steps)
    assert TEXTS[1] not in text
    assert text.rindex("[3]") < text.index("Cy swims") < text.rindex("[1]") < text.index("Ann rows")
    assert second.passage.text == TEXTS[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_lift_is_what_the_documents_add(loud, kind):  # noqa: F811
    generator = LocalGenerator(loud(kind))
    answer, template = answered(generator, TEXTS[:3])
    found = contrast(answer, template, generator)
    empty = (
        "Answer from the passages, in a few words. If they do not hold the answer, say: The documents do not say.\n\n"
    )
    alone = "Question: Who rows?\nAnswer:"
    tokens = [step.token_id for step in answer.steps]
    prompts = [generator.model.encode(text, False) for text in (f"{empty}\n{alone}", alone)]
    without, closed = LocalGenerator(loud(kind)).score([(prompt, tokens) for prompt in prompts])
    assert np.allclose(found.without, without, atol=1e-4)
    assert np.allclose(found.closed_book, closed, atol=1e-4)
    assert np.allclose(found.lift, np.subtract([step.logprob for step in answer.steps], without), atol=1e-4)
    for n, rank in enumerate(found.ranks_without[:4]):
        distribution = generator.next_token([*prompts[0], *tokens[:n]])
        assert rank == (distribution > distribution[tokens[n]]).sum() + 1


def test_what_ended_the_answer_is_no_part_of_its_lift(tiny):
    generator = LocalGenerator(tiny())
    likely = tuple((i, 12.0) for i in generator.model.encode("az", False))
    params = SamplingParams(max_new_tokens=20, seed=0, temperature=1, stop=("zz",), logit_bias=likely)
    answer, template = answered(generator, TEXTS[:2], params=params)
    found = contrast(answer, template, generator)
    assert answer.finish_reason == "stop_string"
    assert len(found.lift) == len(answer.steps) > found.written
    assert "".join(s.text for s in answer.steps[: found.written]).strip() == answer.text
    assert found.total == pytest.approx(sum(found.lift[: found.written]))


def test_another_template_or_no_passage_is_refused(tiny):
    generator = LocalGenerator(tiny())
    answer, _ = answered(generator, TEXTS[:2])
    with pytest.raises(PromptError, match="template examples"):
        contrast(answer, choose_template("examples", None), generator)
    bare = replace(answer, prompt=replace(answer.prompt, passages=()))
    with pytest.raises(PromptError, match="No passage was read"):
        contrast(bare, choose_template("plain", None), generator)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_read_again_are_as_probable_as_when_they_were_written(loud, kind):  # noqa: F811
    generator = LocalGenerator(loud(kind))
    answer, _ = answered(generator, TEXTS)
    assert noise(answer, LocalGenerator(loud(kind), prefix_bytes=0)) < NOISE_FLOOR["float32"]
    wrong = [replace(answer.steps[0], logprob=answer.steps[0].logprob - 0.5), *answer.steps[1:]]
    assert noise(replace(answer, steps=tuple(wrong)), generator) > 0.4


# which tokens wrote which sentence


@settings(max_examples=200)
@for_all(
    st.lists(
        st.sampled_from(["", " ", "Ann", " rows", ".", " Bob", ". Cy", "\n", "三。", "四", "!", '"', "e.g."]),
        max_size=12,
    )
)
def test_every_token_that_wrote_something_belongs_to_one_sentence_and_they_follow_each_other(pieces):
    answer = made_of(pieces)
    parts = list(answer_sentences(answer))
    tokens = [n for _, _, own in parts for n in own]
    last = max((n for n, piece in enumerate(pieces) if piece), default=-1)
    assert tokens == (list(range(last + 1)) if answer.text else [])
    assert [(s, e) for s, e, _ in parts] == sorted((s, e) for s, e, _ in parts)
    assert all(answer.text[s:e] == answer.text[s:e].strip() != "" for s, e, _ in parts)
    assert "".join(answer.text[s:e] for s, e, _ in parts).split() or not answer.text


def test_a_token_in_two_sentences_belongs_to_the_one_it_ends_in():
    parts = list(answer_sentences(made_of([" Ann", " rows", ". Bob", " sa", "ils", ".", ""])))
    assert parts == [(0, 9, [0, 1]), (10, 20, [2, 3, 4, 5])]
    assert list(answer_sentences(made_of(["Ann rows.", " Bob sails."]))) == [(0, 9, [0]), (10, 20, [1])]


def made_of(pieces):
    """An answer whose steps have these texts."""
    steps = tuple(TokenStep(n, piece, -1.0, -1.0, 1, 0.5, ()) for n, piece in enumerate(pieces))
    prompt = Prompt("Who?", "plain", (), (), "Who?", (1,))
    return Answer(prompt, "".join(pieces).strip(), steps, SamplingParams(), "none", Timings(0, 0, 0))
