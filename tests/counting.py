"""A real model that writes down what it is given to read, and short ways to run the loop."""

from rag.generation import LocalGenerator
from rag.schema import SamplingParams

PROMPT = "The workshop opens at nine. Question: When does the workshop open? Answer:"


class Counting:
    """A loaded model, and the tokens that it was given: one list for each row of each reading."""

    def __init__(self, model):
        self._model = model
        self.given = []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def read(self, ids, cache, first=0, keep=1):
        self.given += [list(row) for row in ids]
        return self._model.read(ids, cache, first, keep)

    @property
    def count(self):
        return sum(len(row) for row in self.given)


def ids(steps):
    return [step.token_id for step in steps]


def alone(model, prompt_ids, params):
    """What a generator that has seen nothing before makes of one request, a token at a time."""
    return list(LocalGenerator(model, drafts=False, prefix_bytes=0).stream(prompt_ids, params))


def agree(steps, others, tolerance=1e-4):
    """The same tokens, texts and reasons, and nearly the same log-probabilities."""
    assert [(s.token_id, s.text, s.finish_reason) for s in steps] == [
        (s.token_id, s.text, s.finish_reason) for s in others
    ]
    assert max((abs(a.logprob - b.logprob) for a, b in zip(steps, others, strict=True)), default=0) < tolerance
    return True


def rows_of(pairs):
    """(number, step) pairs as a list of steps for each number."""
    rows = {}
    for number, step in pairs:
        rows.setdefault(number, []).append(step)
    return rows


def sampled(n=30, seed=1, **more):
    """Parameters of a random answer of a tiny model, which ends by itself now and then."""
    return SamplingParams(**({"max_new_tokens": n, "temperature": 1.3, "seed": seed} | more))
