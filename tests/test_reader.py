"""The bundled model with its adapter: the sampling loop keeps its promises on it, and it has learnt what it should."""

import numpy as np
import pytest
import torch

from rag.assistant import Assistant, language_model_folder, load_template
from rag.errors import InputError
from rag.evaluation.asking import given
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.schema import SamplingParams, Timings
from rag.settings import Settings
from tests.counting import agree, alone, ids, rows_of, sampled

HARBOUR = (
    "The ferry Aurora leaves Port Hale at 7:40 and 16:15 on weekdays. It carries forty cars.",
    "The harbour of Port Hale was dug in 1874 by the engineer Ruth Calder and cost £31,000.",
)


@pytest.fixture(scope="module")
def folder():
    """The model with its adapter merged into it."""
    return language_model_folder(Settings())


@pytest.fixture(scope="module")
def tuned(folder):
    """The sampling loop over it."""
    return LocalGenerator(LanguageModel(folder, "cpu"))


@pytest.fixture(scope="module")
def reader(tuned):
    """An assistant that is given its passages."""
    return Assistant(None, None, tuned, "embedded + reader", load_template(Settings(), tuned))


def prompt(reader, question, passages=HARBOUR):
    return reader.prompt(question, reader.complete(SamplingParams(seed=0)), passages=given(passages))


def answer(reader, question, passages=HARBOUR):
    params = reader.complete(SamplingParams(seed=0))
    asked = prompt(reader, question, passages)
    steps = list(reader.generator.stream(asked.token_ids, params))
    return reader.answer(asked, steps, params, Timings(0.0, None, 0.0))


def test_greedy_equals_transformers_generate(reader, folder, transformers_model):
    token_ids = torch.tensor([prompt(reader, "Who dug the harbour?").token_ids])
    knobs = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "max_new_tokens": 12}
    made = transformers_model(folder).generate(token_ids, attention_mask=torch.ones_like(token_ids), **knobs)
    own = alone(reader.generator.model, token_ids[0].tolist(), SamplingParams(max_new_tokens=12))
    assert ids(own) == made[0, token_ids.shape[1] :].tolist()


def test_stepwise_logprobs_equal_one_forced_pass(reader):
    token_ids = prompt(reader, "When does the ferry leave?").token_ids
    steps = list(reader.generator.stream(token_ids, SamplingParams(max_new_tokens=16, temperature=1, seed=5)))
    (forced,) = reader.generator.score([(token_ids, ids(steps))])
    assert np.abs(forced - [step.logprob for step in steps]).max() < 1e-4


def test_batched_equals_single(reader, tuned):
    model = tuned.model
    prompts = [
        prompt(reader, question).token_ids for question in ("Who dug it?", "What did it cost?", "And the ferry?")
    ]
    params = [SamplingParams(max_new_tokens=6), sampled(9, seed=2), sampled(4, seed=3)]
    for n, row in rows_of(LocalGenerator(model, prefix_bytes=0).batch(prompts, params)).items():
        assert agree(row, alone(model, prompts[n], params[n]))


def test_int8_gives_the_same_short_answers(reader, folder):
    small = Assistant(None, None, LocalGenerator(LanguageModel(folder, "cpu", "int8")), "int8", reader.template)
    for question in ("Who dug the harbour of Port Hale?", "How many cars does the ferry carry?"):
        assert answer(small, question).text == answer(reader, question).text


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Who dug the harbour of Port Hale?", "Ruth Calder"),
        ("when was the harbour dug", "1874"),
        ("What did the harbour cost?", "£31,000"),
        ("How many cars does the ferry carry?", "forty"),
    ],
)
def test_it_answers_in_the_passages_words(reader, question, said):
    assert answer(reader, question).text == said


@pytest.mark.parametrize("question", ["Who wrote Hamlet?", "How long may a tool be borrowed?"])
def test_it_declines_where_the_passages_say_nothing(reader, question):
    assert answer(reader, question).abstained


def test_the_refusal_is_one_tokens_choice(reader):
    declined = answer(reader, "Who wrote Hamlet?")
    assert declined.steps[0].text == " The"
    assert min(np.exp(step.logprob) for step in declined.steps[1:]) > 0.9


def test_without_passages_and_collection_there_is_a_sentence(reader):
    with pytest.raises(InputError, match="no collection"):
        reader.ask("Who?")
