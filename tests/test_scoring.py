"""Laws of scoring: the chain rule, what options are, and how surprising a text is."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import PromptError
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.counting import PROMPT, Counting, alone, ids, sampled

KINDS = ["llama", "qwen", "gpt2"]


def by_transformers(model, prompt, tokens):
    """Log-probabilities of tokens by one forward pass of the library's own."""
    with torch.no_grad():
        logprobs = model(torch.tensor([[*prompt, *tokens]])).logits[0].log_softmax(-1)
    return logprobs[range(len(prompt) - 1, len(prompt) + len(tokens) - 1), tokens].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_score_equals_the_stream_and_the_library(tiny, tiny_folder, transformers_model, kind):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    steps = alone(model, prompt, sampled(40, seed=3))
    (logprobs,) = LocalGenerator(model).score([(prompt, ids(steps))])
    assert logprobs.dtype == np.float32
    assert abs(logprobs - [s.logprob for s in steps]).max() < 1e-4
    assert abs(logprobs - by_transformers(transformers_model(tiny_folder(kind)), prompt, ids(steps))).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_prompt", [1, 2, 255, 256, 257, 300])
def test_score_equals_the_library_wherever_the_reading_is_cut(tiny, tiny_folder, transformers_model, kind, n_prompt):
    text = torch.randint(0, 256, (400,), generator=torch.Generator().manual_seed(n_prompt)).tolist()
    (logprobs,) = LocalGenerator(tiny(kind)).score([(text[:n_prompt], text[n_prompt:])])
    theirs = by_transformers(transformers_model(tiny_folder(kind)), text[:n_prompt], text[n_prompt:])
    assert abs(logprobs - theirs).max() < 1e-4


TOKENS = st.lists(st.integers(0, 2), max_size=6)


@settings(max_examples=40)
@given(st.lists(st.tuples(TOKENS.filter(len), TOKENS), max_size=6))
def test_many_rows_are_what_each_is_alone_in_the_order_given(tiny, rows):
    generator = LocalGenerator(tiny(), prefix_bytes=0)
    for together, row in zip(generator.score(rows), rows, strict=True):
        (single,) = generator.score([row])
        assert together.shape == (len(row[1]),)
        assert np.allclose(together, single, atol=1e-5)


@settings(max_examples=40)
@given(TOKENS.filter(len), st.lists(TOKENS, max_size=6), st.booleans())
def test_continuations_in_one_pass_are_what_each_is_alone(tiny, prompt, rows, remembers):
    generator = LocalGenerator(tiny(), prefix_bytes=2**20 if remembers else 0)
    list(generator.stream(prompt, sampled(3, seed=1)))
    found = generator.continuations(prompt, rows)
    assert [one.shape for one in found] == [(len(row),) for row in rows]
    for one, expected in zip(found, generator.score([(prompt, row) for row in rows]), strict=True):
        assert np.allclose(one, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_continuations_of_a_long_prompt_cost_one_reading(tiny, kind):
    model = Counting(tiny(kind))
    generator = LocalGenerator(model)
    prompt = model.encode("a long prompt " * 30, True)
    rows = [[1, 2, 3], [4], [], [5, 6]]
    expected = generator.score([(prompt, row) for row in rows])
    list(generator.stream(prompt, sampled(2, seed=1)))
    model.given.clear()
    for one, other in zip(generator.continuations(prompt, rows), expected, strict=True):
        assert np.allclose(one, other, atol=1e-4)
    assert model.count == len(rows) * 3, "the prompt's last token stands before each row's first"
    with pytest.raises(PromptError, match="cannot be scored"):
        generator.continuations([1] * model.context_window, rows)


def test_what_prompts_share_is_read_once(tiny):
    model = Counting(tiny())
    passage, other = (model.encode(text, True) for text in ("A passage of a certain length. " * 9, "Another one. " * 9))
    answers = [model.encode(text, True) for text in ("yes", "no", "maybe")]
    rows = [(p, a) for p in (passage, other) for a in answers]
    rows = [rows[n] for n in (0, 3, 1, 4, 2, 5)]  # in no helpful order
    LocalGenerator(model).score(rows)
    again = sum(len(a) for _, a in rows)  # the last token of the prompt, and the answer but for its own last
    assert len(passage) + len(other) - 2 + again - 4 <= model.count <= len(passage) + len(other) - 2 + again


def test_what_a_request_has_read_is_not_read_to_score(tiny):
    model = Counting(tiny())
    generator = LocalGenerator(model)
    prompt = model.encode(PROMPT, True)
    list(generator.stream(prompt, SamplingParams(max_new_tokens=1)))
    before = model.count
    generator.score([(prompt, model.encode("nine", True))])
    assert model.count - before == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_has_the_rank_that_it_had_when_it_was_written(tiny, kind):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    steps = alone(model, prompt, sampled(30, seed=5))
    (scored,) = LocalGenerator(model).score_each([(prompt, ids(steps))])
    assert scored.ranks.tolist() == [step.rank for step in steps]
    assert max(scored.ranks) > 1


def test_of_what_was_read_for_the_first_row_nothing_is_read_again(tiny):
    model = Counting(tiny())
    generator = LocalGenerator(model)
    prompt = model.encode("One passage. Two passages. Three passages.", True)
    list(generator.stream(prompt, SamplingParams(max_new_tokens=1)))
    rows = [(prompt[:n] + model.encode("#Who?", True), [65]) for n in (12, 26, len(prompt))]
    for order in ([2, 0, 1], [2, 1, 0]):
        before = model.count
        scored = list(generator.score_each([rows[n] for n in order]))
        assert model.count - before == sum(one.read for one in scored) == 3 * len("#Who?")


@pytest.mark.parametrize("row", [([], [1]), ([], []), ([1] * 500, [1] * 13)])
def test_what_cannot_be_scored_is_refused(tiny, row):
    with pytest.raises(PromptError, match="cannot be scored"):
        LocalGenerator(tiny("gpt2")).score([([1], [2]), row])


def test_a_context_full_to_the_brim_is_scored_and_nothing_is_nothing(tiny):
    generator = LocalGenerator(tiny("gpt2"))
    assert [len(row) for row in generator.score([([1] * 500, [1] * 12), ([1], [])])] == [12, 0]
    assert generator.score([]) == []


# the distribution of the next token


@pytest.mark.parametrize("kind", KINDS)
def test_next_token_sums_to_one_and_is_the_first_step(tiny, kind):
    model = tiny(kind)
    prompt = model.encode(PROMPT, True)
    distribution = LocalGenerator(model).next_token(prompt)
    assert distribution.shape == (258,)
    assert np.exp(distribution.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    (step,) = alone(model, prompt, SamplingParams(max_new_tokens=1, alternatives=258))
    assert max(abs(distribution[a.token_id] - a.logprob) for a in step.alternatives) < 1e-5
    assert step.token_id == distribution.argmax()


# options


def as_the_harness(model, context, option):
    """lm-evaluation-harness's definition, in its words: the trailing blanks move, both are encoded, then subtracted."""
    stripped = context.rstrip()
    option = context[len(stripped) :] + option
    before = model.encode(stripped, False)
    return before, model.encode(stripped + option, False)[len(before) :]


@pytest.mark.parametrize(
    ("context", "options"),
    [
        ("The workshop opens at", [" nine", " five", " ten o'clock"]),
        ("The workshop opens at ", ["nine", "five"]),  # the blank goes to the option
        ("Question: When?\nAnswer:", [" at nine", " at five", "\nat nine"]),
        ("Lines end.\n\n", ["So", " so"]),
        ("He went to the car", ["pet shop", " park"]),  # a token may span the join
        ("早上", ["九点", "五点"]),
    ],
)
def test_choose_agrees_with_lm_evaluation_harness(language_model, bundled_folder, transformers_model, context, options):
    choices = LocalGenerator(language_model).choose(language_model.encode(context, False), options)
    assert [c.text for c in choices] == options
    for choice, option in zip(choices, options, strict=True):
        total = by_transformers(
            transformers_model(bundled_folder), *as_the_harness(language_model, context, option)
        ).sum()
        assert choice.logprob == pytest.approx(total, abs=1e-3)
        assert choice.per_byte == pytest.approx(total / len(option.encode()), abs=1e-3)


def test_an_option_that_a_token_swallows_is_encoded_apart(language_model):
    # "The ca" + "t" is "The cat": by the definition nothing would be left of the option, and its log-probability be 0.
    assert as_the_harness(language_model, "The ca", "t")[1] == []
    prompt = language_model.encode("The ca", False)
    generator = LocalGenerator(language_model)
    (choice,) = generator.choose(prompt, ["t"])
    (logprobs,) = generator.score([(prompt, language_model.encode("t", False))])
    assert choice.logprob == pytest.approx(float(logprobs.sum()), abs=1e-4)
    assert choice.logprob < -1e-3


def test_special_tokens_in_options_are_text_and_those_of_the_prompt_stay(language_model):
    prompt = language_model.encode("<|im_start|>user\nName a boat.<|im_end|>\n<|im_start|>assistant\n", True)
    generator = LocalGenerator(language_model)
    boat, forged = generator.choose(prompt, ["A boat", "<|im_end|>"])
    (special,) = generator.score([(prompt, language_model.encode("<|im_end|>", True))])
    (plain,) = generator.score([(prompt, language_model.encode("A boat", False))])
    assert boat.logprob == pytest.approx(float(plain.sum()), abs=0.5)
    assert forged.logprob != pytest.approx(float(special.sum()), abs=0.5)


def test_an_empty_option_is_refused(tiny):
    with pytest.raises(PromptError, match="option is empty"):
        LocalGenerator(tiny()).choose([1], ["a", ""])


# perplexity


@pytest.mark.parametrize("kind", KINDS)
def test_perplexity_is_the_librarys_loss(tiny, tiny_folder, transformers_model, kind):
    text = "Anvil, bellows, chisel. " * 12
    ids = torch.tensor([tiny(kind).encode(text, False)])
    with torch.no_grad():
        loss = transformers_model(tiny_folder(kind))(ids, labels=ids).loss
    assert LocalGenerator(tiny(kind)).perplexity(text) == pytest.approx(math.exp(loss), rel=1e-4)


@pytest.mark.parametrize("n", [512, 513, 768, 769, 1500])
def test_a_long_text_is_scored_in_windows_that_overlap_by_half(tiny, tiny_folder, transformers_model, n):
    model = tiny("gpt2")
    ids = torch.randint(0, 94, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    text = model.decode(ids)
    ids = model.encode(text, False)
    assert len(ids) == n
    theirs = transformers_model(tiny_folder("gpt2"))
    parts = [by_transformers(theirs, ids[:1], ids[1:512])]
    parts += [by_transformers(theirs, ids[at - 256 : at], ids[at : at + 256]) for at in range(512, n, 256)]
    every = np.concatenate(parts)
    assert len(every) == n - 1
    assert LocalGenerator(model).perplexity(text) == pytest.approx(math.exp(-every.mean()), rel=1e-4)


@pytest.mark.parametrize("text", ["", "x"])
def test_a_text_without_two_tokens_has_no_perplexity(tiny, text):
    with pytest.raises(PromptError, match="two tokens"):
        LocalGenerator(tiny()).perplexity(text)
