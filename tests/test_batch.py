"""Laws of a batch: every row is what it would be alone; a request is untouched by others that run at the same time."""

import threading

import pytest
import torch

from rag.errors import PromptError
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.counting import PROMPT, Counting, agree, alone, ids, rows_of, sampled

TEXTS = [PROMPT, "x", "A much longer prompt. " * 9, "The workshop opens at noon.", PROMPT]
PARAMS = [
    sampled(40, seed=1, top_k=50),
    SamplingParams(max_new_tokens=5),
    sampled(25, seed=3, repetition_penalty=1.3, alternatives=0),
    sampled(33, seed=4, temperature=3.0, no_repeat_ngram=2),
    sampled(12, seed=5, stop=("a", "e")),
]


@pytest.mark.parametrize("kind", ["llama", "qwen", "gpt2"])
def test_batched_equals_single(tiny, kind):
    model = tiny(kind)
    prompts = [model.encode(text, True) for text in TEXTS]
    rows = rows_of(LocalGenerator(model).batch(prompts, PARAMS))
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert len({len(row) for row in rows.values()}) > 2  # they do end at different times
    for n, row in rows.items():
        assert agree(row, alone(model, prompts[n], PARAMS[n]))


def test_batched_equals_single_on_the_bundled_model(language_model):
    prompts = [language_model.encode(text, True) for text in (PROMPT, "Name a boat:", "Nine o'clock. " * 12)]
    params = [SamplingParams(max_new_tokens=6), sampled(9, seed=2), sampled(4, seed=3)]
    rows = rows_of(LocalGenerator(language_model, prefix_bytes=0).batch(prompts, params))
    for n, row in rows.items():
        assert agree(row, alone(language_model, prompts[n], params[n]))


def test_memory_that_was_never_written_has_no_say(tiny):
    model = tiny()
    prompts = [model.encode(text, True) for text in TEXTS]
    before = [alone(model, *row) for row in zip(prompts, PARAMS, strict=True)]
    torch.use_deterministic_algorithms(True)  # fills what is not initialised with NaN
    try:
        rows = rows_of(LocalGenerator(model).batch(prompts, PARAMS))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(agree(row, before[n]) for n, row in rows.items())


def test_a_batch_of_one_and_of_none(tiny):
    model = tiny()
    prompt = model.encode(PROMPT, True)
    assert agree(rows_of(LocalGenerator(model).batch([prompt], [PARAMS[0]]))[0], alone(model, prompt, PARAMS[0]))
    assert list(LocalGenerator(model).batch([], [])) == []


def test_the_same_prompt_twice_is_read_once(tiny):
    model = Counting(tiny())
    prompt = model.encode(PROMPT, True)
    rows = rows_of(LocalGenerator(model).batch([prompt, prompt, prompt], [sampled(1, seed=s) for s in (1, 2, 1)]))
    assert model.count == len(prompt) + 2  # and the last token again, for its logits
    assert ids(rows[0]) == ids(rows[2])


def test_a_row_that_ends_at_once_leaves(tiny):
    model = Counting(tiny())
    prompts = [model.encode(text, True) for text in TEXTS[:3]]
    end = min(model.end_tokens)
    ends = SamplingParams(max_new_tokens=50, logit_bias=((end, 1e4),))
    goes_on = [SamplingParams(max_new_tokens=n, logit_bias=((end, -torch.inf),)) for n in (6, 9)]
    rows = rows_of(LocalGenerator(model).batch(prompts, [ends, *goes_on]))
    assert [(s.token_id, s.finish_reason) for s in rows[0]] == [(end, "end_token")]
    assert [len(rows[n]) for n in (1, 2)] == [6, 9]
    assert [len(row) for row in model.given].count(1) == 5 * 2 + 3 + 1  # row 0 in none of the steps; the prompt "x"


def test_a_batch_that_does_not_fit_is_refused_before_anything_is_read(tiny):
    model = Counting(tiny("gpt2"))
    with pytest.raises(PromptError, match="context window"):
        list(LocalGenerator(model).batch([[1], [1] * 512], [SamplingParams(), SamplingParams()]))
    assert model.count == 0


def test_rows_that_share_a_beginning_read_it_once(tiny):
    model = Counting(tiny())
    shared = model.encode("The same passage in front of every question. " * 4, True)
    prompts = [[*shared, *model.encode(text, True)] for text in ("Who?", "When was it?", "Why?")]
    rows = rows_of(LocalGenerator(model).batch(prompts, [sampled(1, seed=n) for n in range(3)]))
    assert model.count < len(shared) + sum(len(p) - len(shared) for p in prompts) + 3
    assert all(agree(row, alone(model, prompts[n], sampled(1, seed=n))) for n, row in rows.items())


def test_eight_at_once_are_what_each_is_alone(tiny):
    model = tiny()
    shared = model.encode("A passage that all of them begin with. " * 5, True)
    requests = [([*shared, *model.encode(f"Question {n % 5}?", True)], sampled(30, seed=n)) for n in range(24)]
    expected = [alone(model, *request) for request in requests]
    generator = LocalGenerator(model, prefix_bytes=400_000)
    together, failed = {}, []
    start = threading.Barrier(8)

    def work(first):
        start.wait()
        try:
            for n in range(first, 24, 8):
                together[n] = list(generator.stream(*requests[n]))
                generator.score([(requests[n][0], ids(together[n]))])
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(agree(together[n], expected[n]) for n in range(24))


def test_what_is_trusted_does_not_leak_from_one_thread_into_another(tiny):
    model = tiny()
    text = "a <|end|> b " * 20
    expected = {trusted: model.encode(text, trusted) for trusted in (True, False)}
    assert expected[True] != expected[False]
    wrong = []

    def work(trusted):
        wrong.extend(1 for _ in range(200) if model.encode(text, trusted) != expected[trusted])

    threads = [threading.Thread(target=work, args=(n % 2 == 0,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
