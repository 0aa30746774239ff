"""Laws of the beam search: its scores recompute, and it finds what transformers' finds."""

import threading

import pytest
import torch

from rag.errors import PromptError
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.counting import PROMPT, Counting, alone, ids

KINDS = ["llama", "qwen", "gpt2"]


class WithEnds(Counting):
    """The same model with other end tokens, so that beams do end."""

    def __init__(self, model, ends):
        super().__init__(model)
        self.end_tokens = frozenset(ends)


def by_transformers(model, prompt, ends, n_beams, limit, penalty):
    """(token ids, score) of the library's beams, best first."""
    given = torch.tensor([prompt])
    made = model.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=False,
        num_beams=n_beams,
        num_return_sequences=n_beams,
        length_penalty=penalty,
        early_stopping=False,
        max_new_tokens=limit,
        eos_token_id=ends or None,
        pad_token_id=300,
        return_dict_in_generate=True,
        output_scores=True,
    )
    rows = [[i for i in row[given.shape[1] :].tolist() if i != 300] for row in made.sequences]
    return list(zip(rows, made.sequences_scores.tolist(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n_beams", "limit", "penalty"), [(2, 8, 1.0), (4, 12, 1.0), (4, 12, 0.0), (3, 9, 2.0), (3, 9, -1.0)]
)
@pytest.mark.parametrize("n_ends", [0, 1, 40])
def test_parity_with_transformers(tiny, tiny_folder, transformers_model, kind, n_beams, limit, penalty, n_ends):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    likely = LocalGenerator(model).next_token(prompt).argsort()[::-1].tolist()
    ends = likely[1 : 1 + n_ends]
    theirs = by_transformers(transformers_model(tiny_folder(kind)), prompt, ends, n_beams, limit, penalty)
    ours = LocalGenerator(WithEnds(model, ends)).beam(prompt, n_beams, limit, penalty)
    assert [list(h.token_ids) for h in ours] == [row for row, _ in theirs]
    assert [h.score for h in ours] == pytest.approx([score for _, score in theirs], abs=1e-4)
    assert n_ends < 2 or penalty or any(h.token_ids[-1] in ends for h in ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.7])
def test_scores_recompute_and_the_best_comes_first(tiny, kind, penalty):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    generator = LocalGenerator(model)
    found = generator.beam(prompt, 5, 15, penalty)
    assert len(found) == len({h.token_ids for h in found}) == 5
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    for hypothesis, logprobs in zip(found, generator.score([(prompt, h.token_ids) for h in found]), strict=True):
        assert hypothesis.logprob == pytest.approx(float(logprobs.sum()), abs=1e-4)
        assert hypothesis.score == pytest.approx(hypothesis.logprob / len(hypothesis.token_ids) ** penalty)
        assert hypothesis.text == model.decode(hypothesis.token_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_one_beam_is_greedy(tiny, kind):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    steps = alone(model, prompt, SamplingParams(max_new_tokens=40))
    (found,) = LocalGenerator(model).beam(prompt, 1, 40)
    assert list(found.token_ids) == ids(steps)
    assert found.logprob == pytest.approx(sum(s.logprob for s in steps), abs=1e-3)


def test_beams_end_at_the_limit_and_at_the_windows_end(tiny):
    generator = LocalGenerator(WithEnds(tiny("gpt2"), []))
    assert {len(h.token_ids) for h in generator.beam([1] * 20, 3, 5)} == {5}
    assert {len(h.token_ids) for h in generator.beam([1] * 508, 3, 50)} == {4}
    with pytest.raises(PromptError, match="context window"):
        generator.beam([1] * 512, 3, 5)


def test_the_prompt_is_read_once_for_all_beams(tiny):
    model = WithEnds(tiny(), [])
    generator = LocalGenerator(model)
    generator.beam([1] * 100, 4, 6)
    assert model.count == 100 + 4 * 5


class Cancelling(Counting):
    """Somebody cancels while it reads for the nth time."""

    def __init__(self, model, at):
        super().__init__(model)
        self.at = at
        self.cancelled = threading.Event()

    def read(self, ids, cache, first=0, keep=1):
        self.at -= 1
        if self.at == 0:
            self.cancelled.set()
        return super().read(ids, cache, first, keep)


def test_cancelling_returns_what_there_is(tiny):
    model = Cancelling(tiny(), 4)
    found = LocalGenerator(model).beam([1] * 9, 3, 50, cancelled=model.cancelled)
    assert {len(h.token_ids) for h in found} == {4}
    early = Cancelling(tiny(), 1)
    assert LocalGenerator(early).beam([1] * 1500, 3, 50, cancelled=early.cancelled) == []
    assert early.count == 512


# as the way an answer is written


@pytest.mark.parametrize("drafts", [True, False])
def test_a_streamed_beam_search_is_its_best_hypothesis(tiny, drafts):
    model = tiny()
    generator = LocalGenerator(model, drafts=drafts)
    prompt = model.encode(PROMPT, True)
    best = generator.beam(prompt, 3, 12)[0]
    steps = list(generator.stream(prompt, SamplingParams(max_new_tokens=12, beams=3)))
    assert tuple(step.token_id for step in steps) == best.token_ids
    assert sum(step.logprob for step in steps) == pytest.approx(best.logprob, abs=1e-3)
    assert {step.sampled_logprob for step in steps} == {0.0}  # decided, not drawn
    assert "".join(step.text for step in steps) == best.text


def test_a_stop_string_ends_a_beam(tiny):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    whole = LocalGenerator(model).beam(prompt, 2, 12)[0].text
    stop = next(c for c in whole[2:] if c.isascii())  # not a character that is still to be completed
    steps = list(LocalGenerator(model).stream(prompt, SamplingParams(max_new_tokens=12, beams=2, stop=(stop,))))
    text = "".join(step.text for step in steps)
    assert stop not in text
    assert len(steps) <= 12
    assert LocalGenerator(model).beam(prompt, 2, 12, ends=lambda t: stop in t)[0].text.split(stop)[0] == text


@pytest.mark.parametrize("other", [{"temperature": 1.0}, {"repetition_penalty": 1.1}, {"min_new_tokens": 2}])
def test_beams_take_no_other_control(other):
    with pytest.raises(ValueError, match="beams draw nothing"):
        SamplingParams(beams=2, **other)
