"""Laws of the sampling loop, on the bundled model, on tiny random models of three architectures, and on scripts."""

import threading

import numpy as np
import pytest
import torch

from rag.errors import PromptError
from rag.generation import LocalGenerator
from rag.kv_cache import KVCache
from rag.schema import SamplingParams

ARCHITECTURES = ("llama", "qwen", "gpt2")
PROMPT = "The workshop opens at nine. Question: When does the workshop open? Answer:"


def steps_of(model, prompt, **params):
    return list(LocalGenerator(model).stream(model.encode(prompt, True), SamplingParams(**params)))


def ids(steps):
    return [step.token_id for step in steps]


def greedy_by_transformers(transformers_model, prompt_ids, n):
    given = torch.tensor([prompt_ids])
    knobs = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "max_new_tokens": n}
    made = transformers_model.generate(given, attention_mask=torch.ones_like(given), **knobs)
    return made[0, given.shape[1] :].tolist()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_greedy_equals_transformers_generate_on_tiny_models(tiny, tiny_folder, transformers_model, kind):
    model = tiny(kind)
    theirs = greedy_by_transformers(transformers_model(tiny_folder(kind)), model.encode(PROMPT, True), 60)
    assert ids(steps_of(model, PROMPT, max_new_tokens=60)) == theirs


@pytest.mark.parametrize("prompt", [PROMPT, "The capital of France is", "<|im_start|>user\nName a boat.<|im_end|>\n"])
def test_greedy_equals_transformers_generate_on_the_bundled_model(
    language_model, bundled_folder, transformers_model, prompt
):
    theirs = greedy_by_transformers(transformers_model(bundled_folder), language_model.encode(prompt, True), 24)
    assert ids(steps_of(language_model, prompt, max_new_tokens=24)) == theirs


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_stepwise_logprobs_equal_one_forced_pass(tiny, kind):
    model = tiny(kind)
    steps = steps_of(model, PROMPT, max_new_tokens=40, temperature=1.5, seed=3)
    (forced,) = LocalGenerator(model).score([(model.encode(PROMPT, True), ids(steps))])
    assert np.abs(forced - [step.logprob for step in steps]).max() < 1e-4


def test_stepwise_logprobs_equal_one_forced_pass_on_the_bundled_model(generator):
    prompt = generator.model.encode(PROMPT, True)
    steps = list(generator.stream(prompt, SamplingParams(max_new_tokens=16, temperature=1, seed=5)))
    (forced,) = generator.score([(prompt, ids(steps))])
    assert np.abs(forced - [step.logprob for step in steps]).max() < 1e-4


def test_same_seed_same_tokens_and_another_seed_others(tiny):
    runs = [ids(steps_of(tiny(), PROMPT, max_new_tokens=30, temperature=2, seed=seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_the_global_random_state_has_no_say(tiny):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = ids(steps_of(tiny(), PROMPT, max_new_tokens=10, temperature=2, seed=7))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert first == ids(steps_of(tiny(), PROMPT, max_new_tokens=10, temperature=2, seed=7))


def test_temperature_changes_the_drawn_distribution_and_never_the_raw_one(tiny):
    # The first step sees the same prompt whatever the temperature.
    cool, hot = (
        steps_of(tiny(), PROMPT, max_new_tokens=1, temperature=t, seed=0, alternatives=258)[0] for t in (0.3, 3)
    )
    assert [(a.token_id, a.logprob) for a in cool.alternatives] == [(a.token_id, a.logprob) for a in hot.alternatives]
    assert cool.entropy == hot.entropy
    assert cool.alternatives[0].sampled_logprob > cool.alternatives[0].logprob > hot.alternatives[0].sampled_logprob


def test_what_a_step_records(tiny):
    steps = steps_of(tiny(), PROMPT, max_new_tokens=20, temperature=1, top_k=20, seed=4, alternatives=258)
    for step in steps:
        by_id = {a.token_id: a for a in step.alternatives}
        assert sum(np.exp(a.logprob) for a in step.alternatives) == pytest.approx(1, abs=1e-4)
        kept = [a for a in step.alternatives if a.sampled_logprob > -np.inf]
        assert len(kept) == 20
        assert sum(np.exp(a.sampled_logprob) for a in kept) == pytest.approx(1, abs=1e-4)
        assert step.logprob == by_id[step.token_id].logprob
        assert step.rank == 1 + sum(a.logprob > step.logprob for a in step.alternatives)
        assert step.entropy == pytest.approx(-sum(np.exp(a.logprob) * a.logprob for a in step.alternatives), abs=1e-4)


def test_greedy_draws_the_first_rank_with_certainty(tiny):
    assert {(step.rank, step.sampled_logprob) for step in steps_of(tiny(), PROMPT, max_new_tokens=20)} == {(1, 0.0)}


class Scripted:
    """A model that writes a given text, whatever it reads: one-hot logits over the byte tokenizer's tokens."""

    context_window = 512
    draft_cost = 0.1
    precision = "float32"

    def __init__(self, model, text):
        self.end_tokens = model.end_tokens
        self.script = [*model.encode(text, False), min(model.end_tokens)]
        self.decode, self.token_text = model.decode, model.token_text

    def new_cache(self, rows=1):
        self.start = None
        return KVCache(1, rows, "cpu")

    @torch.inference_mode()
    def read(self, ids, cache, first=0, keep=1):
        (row,) = ids
        at = cache.begin(len(row), first, 1)
        cache.write(0, *torch.zeros(2, 1, 1, len(row), 1), at)
        cache.commit(ids, first)
        if self.start is None:
            self.start = at.end
        logits = torch.full((1, keep, 258), -20.0)
        for n in range(keep):
            place = max(at.end - keep + n + 1 - self.start, 0)
            logits[0, n, self.script[min(place, len(self.script) - 1)]] = 20.0
        return logits


TEXTS = ["Nine o'clock sharp.", "工坊在早上九点开门。", "Yes 👩‍🔧🚤 naïve café — ok", "mixed 船 and 🛶\nnew line"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stop", [(), ("never in it",), ("<|",)])
def test_texts_of_the_steps_concatenate_to_the_decoded_answer(tiny, text, stop):
    model = Scripted(tiny(), text)
    steps = list(LocalGenerator(model).stream([1], SamplingParams(max_new_tokens=200, stop=stop)))
    assert "".join(step.text for step in steps) == text == model.decode(ids(steps))
    assert [step.finish_reason for step in steps] == [None] * (len(steps) - 1) + ["end_token"]
    assert all(step.text == "" or "�" not in step.text for step in steps)


@pytest.mark.parametrize("text", TEXTS)
def test_the_bundled_tokenizer_concatenates_too(language_model, text):
    from rag.stopping import TextIncrements

    token_ids = language_model.encode(text, False)
    increments = TextIncrements(language_model.decode)
    parts = [increments.add(i, last=n == len(token_ids)) for n, i in enumerate(token_ids, start=1)]
    assert "".join(parts) == text == language_model.decode(token_ids)
    assert len(token_ids) > len([p for p in parts if p]) or text.isascii()


def test_random_bytes_concatenate_as_well(tiny):
    model = tiny()
    steps = steps_of(model, PROMPT, max_new_tokens=100, temperature=5, seed=9)
    assert "".join(step.text for step in steps) == model.decode(ids(steps))


@pytest.mark.parametrize(
    ("params", "text", "reason"),
    [
        ({"stop": ("clock",)}, "Nine o'", "stop_string"),
        ({"stop": ("p.",)}, "Nine o'clock shar", "stop_string"),
        ({"max_new_tokens": 4}, "Nine", "max_new_tokens"),
        ({"max_new_tokens": 12, "stop": ("clock",)}, "Nine o'", "stop_string"),
        ({"stop_at_sentence_end": True}, "Nine o'clock sharp.", "sentence_end"),
    ],
)
def test_how_an_answer_ends(tiny, params, text, reason):
    model = Scripted(tiny(), "Nine o'clock sharp. Not later.")
    steps = list(LocalGenerator(model).stream([1], SamplingParams(**{"max_new_tokens": 99} | params)))
    assert ("".join(step.text for step in steps), steps[-1].finish_reason) == (text, reason)


def test_the_minimum_holds_off_every_end(tiny):
    model = Scripted(tiny(), "One. Two. Three")
    least = {"max_new_tokens": 15, "min_new_tokens": 8, "stop_at_sentence_end": True}
    assert "".join(s.text for s in LocalGenerator(model).stream([1], SamplingParams(**least))) == "One. Two."
    steps = list(LocalGenerator(Scripted(tiny(), "")).stream([1], SamplingParams(max_new_tokens=1, min_new_tokens=1)))
    assert steps[0].token_id not in model.end_tokens
    assert steps[0].sampled_logprob == 0


def test_no_token_comes_twice_where_that_is_asked_for(tiny):
    written = ids(steps_of(tiny(), PROMPT, max_new_tokens=60, no_repeat_ngram=1))
    assert len(set(written)) == len(written)


def test_a_cut_inside_a_character_still_shows_what_was_written(tiny):
    model = Scripted(tiny(), "船")
    steps = list(LocalGenerator(model).stream([1], SamplingParams(max_new_tokens=2)))
    assert "".join(step.text for step in steps) == model.decode(ids(steps)) == "�"


def test_a_full_context_ends_the_answer(tiny):
    model = tiny("gpt2")
    steps = list(LocalGenerator(model).stream([1] * 510, SamplingParams(max_new_tokens=50)))
    assert (len(steps), steps[-1].finish_reason) == (2, "context_full")


@pytest.mark.parametrize("prompt", [[], [1] * 512])
def test_a_prompt_that_cannot_be_read_is_refused(tiny, prompt):
    with pytest.raises(PromptError, match="context window"):
        next(LocalGenerator(tiny("gpt2")).stream(prompt, SamplingParams()))


def test_cancelling_ends_the_stream_within_a_step(tiny):
    cancelled = threading.Event()
    model = tiny()
    stream = LocalGenerator(model).stream(model.encode(PROMPT, True), SamplingParams(max_new_tokens=400), cancelled)
    for _ in range(3):
        next(stream)
    cancelled.set()
    rest = list(stream)
    assert len(rest) == 1
    assert rest[0].finish_reason == "cancelled"


def test_the_chosen_token_is_among_the_alternatives(tiny):
    steps = steps_of(tiny(), PROMPT, max_new_tokens=30, temperature=3, seed=2, alternatives=3)
    assert any(step.rank > 3 for step in steps)
    for step in steps:
        assert step.token_id in {a.token_id for a in step.alternatives}
        assert [a.logprob for a in step.alternatives] == sorted((a.logprob for a in step.alternatives), reverse=True)


def test_the_smallest_temperature_is_nearly_greedy(tiny):
    cold = ids(steps_of(tiny(), PROMPT, max_new_tokens=10, temperature=1e-38, seed=1))
    assert cold == ids(steps_of(tiny(), PROMPT, max_new_tokens=10))
