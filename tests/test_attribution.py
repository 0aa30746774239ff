"""Laws of attribution: the values of a game, and what they say of answers of tiny models and of the bundled one."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from rag.assistant import Assistant
from rag.attribution import SHAPLEY_UP_TO, attribute, coalitions, first_and_last, shapley, support
from rag.contrast import NOISE_FLOOR, answer_sentences, contrast, row
from rag.evaluation.asking import given
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.schema import SamplingParams, Timings
from tests.conftest import byte_tokenizer, tiny_model
from tests.counting import Counting

PARAMS = SamplingParams(max_new_tokens=12, temperature=1.3, seed=3)
TEXTS = ["Ann rows. She is old.", "Bob sails at noon.", "Cy swims.\nHe is ten.", "Di waits.", "Ed left."]
KINDS = ["llama", "qwen", "gpt2"]


def answered(generator, texts, template="plain", params=PARAMS, question="Who rows?"):
    """(answer, its template) from these passages."""
    assistant = Assistant(None, None, generator, "embedded", template)
    params = assistant.complete(params)
    prompt = assistant.prompt(question, params, passages=given(texts))
    steps = list(generator.stream(prompt.token_ids, params))
    return assistant.answer(prompt, steps, params, Timings(0, 0, 0)), assistant.template


@pytest.fixture(scope="session")
def loud(tmp_path_factory):
    """kind -> a tiny model with larger weights, whose tokens depend on the passages by nats, not by thousandths."""
    made = {}

    def make(kind="llama"):
        if kind not in made:
            folder, model = tmp_path_factory.mktemp(kind), tiny_model(kind)
            with torch.no_grad():
                for weights in model.parameters():
                    weights.mul_(10 if weights.ndim == 2 else 1)
            model.save_pretrained(folder)
            byte_tokenizer().save_pretrained(folder)
            made[kind] = LanguageModel(folder, "cpu")
        return made[kind]

    return make


# the game, whatever its worth is


def games(n):
    return st.lists(st.floats(-9, 9), min_size=2**n, max_size=2**n).map(
        lambda worth: {mask: np.array([x, -2 * x]) for mask, x in enumerate(worth)}
    )


any_game = st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), games(n), games(n)))


@for_all(any_game)
def test_values_sum_to_the_worth_of_all_and_add_up_over_games(drawn):
    n, game, other = drawn
    values = shapley(game, n)
    assert np.allclose(values.sum(axis=0), game[2**n - 1] - game[0], atol=1e-9)
    both = {mask: game[mask] + other[mask] for mask in game}
    assert np.allclose(shapley(both, n), values + shapley(other, n), atol=1e-9)
    assert np.allclose(values[:, 1], -2 * values[:, 0], atol=1e-9), "each token is a game of its own"


@for_all(any_game)
def test_players_that_do_the_same_get_the_same_and_who_does_nothing_gets_nothing(drawn):
    n, game, _ = drawn
    a, b = 0, n - 1
    swapped = {m: game[m & ~(1 << a) & ~(1 << b) | (m >> a & 1) << b | (m >> b & 1) << a] for m in game}
    symmetric = {m: (game[m] + swapped[m]) / 2 for m in game}
    assert np.allclose(shapley(symmetric, n)[a], shapley(symmetric, n)[b], atol=1e-9)
    idle = {m: game[m & ~(1 << b)] for m in game}
    assert np.allclose(shapley(idle, n)[b], 0, atol=1e-9)
    assert np.allclose(first_and_last(idle, n)[b], 0, atol=1e-9)


def test_two_passages_that_both_hold_the_fact_share_it_where_leaving_one_out_shows_none():
    both_hold = {0: 0.0, 1: 8.0, 2: 8.0, 3: 8.0}
    values = shapley({m: np.array([x]) for m, x in both_hold.items()}, 2)
    assert values.tolist() == [[4.0], [4.0]]


@pytest.mark.parametrize("n", [1, 2, 5, 6, 9])
def test_beyond_five_passages_few_coalitions_are_scored(n):
    masks = coalitions(n)
    assert masks[0] == 2**n - 1
    assert 0 in masks
    assert len(set(masks)) == len(masks) == (2**n if n <= SHAPLEY_UP_TO else 2 * n + 2)


# answers of real models


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_passages_values_sum_to_the_lift_of_every_token(loud, kind, n):
    generator = LocalGenerator(loud(kind))
    answer, template = answered(generator, TEXTS[:n])
    evidence = attribute(answer, template, generator)
    lift = contrast(answer, template, LocalGenerator(loud(kind))).lift  # computed by itself, nothing shared
    assert max(map(abs, lift)) > 0.1, "a model that reads"
    assert np.allclose(np.sum([p.values for p in evidence.passages], axis=0), lift, atol=1e-4)
    assert evidence.method == "shapley"
    assert sum(p.total for p in evidence.passages) == pytest.approx(evidence.contrast.total, abs=1e-3)
    assert [p.total for p in evidence.passages] == sorted((p.total for p in evidence.passages), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_beside_its_original_gets_the_same(loud, kind):
    # Neighbours, and without [n] before them: only then is the prompt with the one that with the other, token for
    # token, in every coalition. A copy elsewhere stands nearer to the question or farther from it, and may get more.
    generator = LocalGenerator(loud(kind))
    answer, template = answered(generator, [TEXTS[0], TEXTS[1], TEXTS[1]])
    values = {p.rank: p.values for p in attribute(answer, template, generator).passages}
    assert np.allclose(values[2], values[3], atol=1e-4)
    assert not np.allclose(values[1], values[2], atol=1e-2)


def test_what_changes_nothing_gets_nothing(tmp_path):
    model = tiny_model("llama")
    with torch.no_grad():  # a model whose layers see no token but the last: all passages are dummies
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    generator = LocalGenerator(LanguageModel(tmp_path, "cpu"))
    answer, template = answered(generator, TEXTS[:3])
    evidence = attribute(answer, template, generator)
    assert max(abs(x) for p in evidence.passages for x in p.values) < 1e-5
    assert evidence.citations == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_passage_gets_no_more_than_it_ever_changes(loud, kind):
    generator = LocalGenerator(loud(kind))
    answer, template = answered(generator, TEXTS[:3])
    passages = answer.prompt.passages
    rows = [row(answer, [p for i, p in enumerate(passages) if m >> i & 1], template, generator) for m in range(8)]
    worth = generator.score(rows)
    for i, passage in enumerate(passages):
        changes = np.array([worth[m | 1 << i] - worth[m] for m in range(8) if not m >> i & 1])
        (own,) = (p for p in attribute(answer, template, generator).passages if p.rank == passage.rank)
        assert (changes.min(axis=0) - 1e-4 <= own.values).all()
        assert (own.values <= changes.max(axis=0) + 1e-4).all()
        assert np.allclose(own.alone, worth[1 << i], atol=1e-4)
        assert np.allclose(own.left_out, worth[7 - (1 << i)], atol=1e-4)


def test_beyond_five_passages_what_each_gives_alone_and_what_is_lost_without_it_count(loud):
    generator = LocalGenerator(loud())
    answer, template = answered(generator, [*TEXTS, "Flo rows too."])
    evidence = attribute(answer, template, generator)
    changed = evidence.contrast
    assert evidence.method == "first and last"
    for p in evidence.passages:
        ends = np.subtract(p.alone, changed.without) + np.subtract(changed.logprobs, p.left_out)
        assert np.allclose(p.values, ends / 2, atol=1e-6)


@settings(max_examples=15)
@for_all(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_citations_are_places_in_the_answer_and_in_what_was_read(loud, texts, seed):
    generator = LocalGenerator(loud())
    likely = tuple((i, 4.0) for i in generator.model.encode("A. ", False))  # so that there are several sentences
    params = SamplingParams(max_new_tokens=30, temperature=1.5, seed=seed, logit_bias=likely)
    answer, template = answered(generator, texts, params=params)
    evidence = attribute(answer, template, generator)
    parts = {(start, end): tokens for start, end, tokens in answer_sentences(answer)}
    values = {p.rank: np.array(p.values) for p in evidence.passages}
    for citation in evidence.citations:
        tokens = parts[citation.start, citation.end]
        best = max(values, key=lambda rank: values[rank][tokens].sum())
        assert values[citation.rank][tokens].sum() == pytest.approx(values[best][tokens].sum())
        assert citation.value == pytest.approx(values[best][tokens].sum())
        text = texts[citation.rank - 1]
        quoted = text[citation.passage_start : citation.passage_end]
        assert quoted == text or quoted in ("Ann rows.", "She is old.", "Cy swims.", "He is ten.")


# work


def test_what_it_reads_is_counted_and_little_of_it_twice(loud):
    model = Counting(loud())
    generator = LocalGenerator(model)
    answer, template = answered(generator, TEXTS[:3])
    before = model.count
    evidence = attribute(answer, template, generator)
    assert evidence.tokens_read == model.count - before
    passages, tail = len("".join(TEXTS[:3])) + 3 * 3, len("\nQuestion: Who rows?\nAnswer:") + len(answer.steps)
    # After the answer a second passage is read once anew and a third three times; seven coalitions end anew; then the
    # question alone, and two prompts with a sentence less.
    assert evidence.tokens_read < 4 * passages / 3 + 11 * tail + 60


def test_the_lift_after_an_answer_reads_the_question_and_the_answer_only(loud):
    model = Counting(loud())
    generator = LocalGenerator(model)
    answer, template = answered(generator, TEXTS)
    before = model.count
    contrast(answer, template, generator)
    tail = len("\n\nQuestion: Who rows?\nAnswer:") + len(answer.steps)
    assert model.count - before <= 2 * tail


@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_it_can_be_cancelled_and_then_stops(loud, after):
    model, cancelled, seen = Counting(loud()), threading.Event(), []
    generator = LocalGenerator(model)
    answer, template = answered(generator, TEXTS[:3])

    def advance(done, total, what):
        seen.append((done, total, what))
        if len(seen) == after:
            cancelled.set()
            model.given.clear()

    if after == 0:
        cancelled.set()
    before = model.count
    assert attribute(answer, template, generator, cancelled, advance) is None
    assert len(seen) == after
    assert model.count == (before if after == 0 else 0)


def test_progress_counts_to_the_end(loud):
    generator, seen = LocalGenerator(loud()), []
    answer, template = answered(generator, TEXTS[:3])
    attribute(answer, template, generator, advance=lambda *step: seen.append(step))
    assert seen[:9] == [(n, 9, "passages") for n in range(1, 10)]
    assert all(step == (n, len(seen) - 9, "sentences") for n, step in enumerate(seen[9:], start=1))


# the bundled model, which reads


def test_the_passage_and_the_sentence_that_hold_the_answer_are_found(generator):
    texts = [
        "The tea room opens at nine. It sells scones. Dogs are welcome.",
        "The safety officer is Maud Fennick. She keeps the first-aid box. The box is green.",
        "High tide is at noon on Sundays. Boats are launched an hour before.",
    ]
    question = "Who is the safety officer?"
    answer, template = answered(generator, texts, "examples", SamplingParams(max_new_tokens=12, seed=0), question)
    assert "Maud Fennick" in answer.text
    evidence = attribute(answer, template, generator)
    best, *others = evidence.passages
    assert best.rank == 2
    assert max(abs(p.total) for p in others) < 0.2 * best.total
    citation = evidence.citations[0]
    assert texts[1][citation.passage_start : citation.passage_end] == "The safety officer is Maud Fennick."
    assert evidence.contrast.noise_floor == NOISE_FLOOR["float32"]


@pytest.mark.parametrize("n", [1, 3, 6])
def test_what_an_answer_leans_on_is_found_for_less(loud, n):
    generator = LocalGenerator(loud())
    answer, template = answered(generator, [*TEXTS, "Fay rows. She is new."][:n])
    whole = attribute(answer, template, generator)
    gave = {p.rank: np.array(p.alone) - whole.contrast.without for p in whole.passages}
    floor = whole.contrast.noise_floor
    for start, end, tokens in answer_sentences(answer):
        best = max(gave, key=lambda rank: gave[rank][tokens].sum())
        (citation,) = [c for c in support(answer, template, generator) if c.start == start] or [None]
        if citation is None:
            assert gave[best][tokens].sum() <= floor * len(tokens) + 1e-3
        else:
            assert (citation.rank, citation.end) == (best, end)
            assert citation.value == pytest.approx(gave[best][tokens].sum(), abs=1e-3)
    cancelled = threading.Event()
    cancelled.set()
    assert support(answer, template, generator, cancelled) is None
