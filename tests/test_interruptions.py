"""What stops a request: a cancellation, a context too long, a model without numbers, no memory; and what remains."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from rag.errors import GenerationError, PromptError
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.schema import SamplingParams
from tests.conftest import byte_tokenizer, tiny_model
from tests.counting import Counting, rows_of, sampled


class Slow(Counting):
    """A model that waits before its nth reading until another thread has cancelled."""

    draft_cost = 0.0

    def __init__(self, model, at):
        super().__init__(model)
        self.at = at
        self.reached, self.cancelled = threading.Event(), threading.Event()

    def read(self, ids, cache, first=0, keep=1):
        self.at -= 1
        if self.at == 0:
            self.reached.set()
            assert self.cancelled.wait(10)
        return super().read(ids, cache, first, keep)

    def cancel_when_reached(self):
        def work():
            assert self.reached.wait(10)
            self.cancelled.set()

        thread = threading.Thread(target=work)
        thread.start()
        return thread


def test_a_stream_is_cancelled_within_a_step(tiny):
    model = Slow(tiny(), 5)
    thread = model.cancel_when_reached()
    steps = list(LocalGenerator(model, drafts=False).stream([1] * 9, sampled(400), model.cancelled))
    thread.join()
    assert (len(steps), steps[-1].finish_reason) == (5, "cancelled")
    assert len(model.given) == 5


def test_a_batch_is_cancelled_within_a_step(tiny):
    model = Slow(tiny(), 3 + 4)
    thread = model.cancel_when_reached()
    params = [sampled(400, seed=n) for n in range(3)]
    rows = rows_of(LocalGenerator(model).batch([[1] * 9, [2] * 30, [3]], params, model.cancelled))
    thread.join()
    assert [(len(row), row[-1].finish_reason) for row in rows.values()] == [(5, "cancelled")] * 3


def test_a_long_prompt_is_cancelled_while_it_is_read(tiny):
    model = Slow(tiny(), 2)
    thread = model.cancel_when_reached()
    assert list(LocalGenerator(model).stream([1] * 4000, sampled(9), model.cancelled)) == []
    thread.join()
    assert model.count == 1024


def test_inside_a_draft_a_cancellation_is_heard_too(tiny):
    model = Slow(tiny(), 10**9)
    a, b, c = tiny().encode("abc", True)
    params = SamplingParams(max_new_tokens=300, logit_bias=((a, 100.0),))
    stream = LocalGenerator(model).stream([b, *([a] * 30), c, b], params, model.cancelled)
    for _ in range(3):
        next(stream)
    assert len(model.given[1]) == 16  # more of the draft would come
    model.cancelled.set()
    assert [step.finish_reason for step in stream] == ["cancelled"]


def test_who_was_cancelled_before_the_first_step_reads_nothing(tiny):
    model = Counting(tiny())
    cancelled = threading.Event()
    cancelled.set()
    generator = LocalGenerator(model)
    assert list(generator.stream([1] * 9, sampled(9), cancelled)) == []
    assert list(generator.batch([[1] * 9] * 2, [sampled(9)] * 2, cancelled)) == []
    assert generator.beam([1] * 9, 2, 9, cancelled=cancelled) == []
    assert model.count == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda g, ids: list(g.stream(ids, SamplingParams())),
        lambda g, ids: list(g.batch([[1], ids], [SamplingParams()] * 2)),
        lambda g, ids: list(g.from_prefix(ids, [], [1], SamplingParams())),
        lambda g, ids: g.beam(ids, 2, 3),
        lambda g, ids: g.score([(ids, [1])]),
        lambda g, ids: g.choose(ids, ["a"]),
        lambda g, ids: g.next_token(ids),
    ],
    ids=["stream", "batch", "from_prefix", "beam", "score", "choose", "next_token"],
)
class TestRefusals:
    def test_a_context_that_is_too_long(self, tiny, use):
        with pytest.raises(PromptError, match="context window"):
            use(LocalGenerator(tiny("gpt2")), [1] * 512)

    def test_an_empty_prompt(self, tiny, use):
        with pytest.raises(PromptError):
            use(LocalGenerator(tiny()), [])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_logits_that_are_no_numbers(self, broken, use, value):
        with pytest.raises(GenerationError, match=r"highest logit is (nan|inf).*rag models verify"):
            use(LocalGenerator(broken(value)), [1] * 9)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """value -> a model with this value among its weights."""
    made = {}

    def make(value):
        if value not in made:
            folder = tmp_path_factory.mktemp("broken")
            model = tiny_model("llama")
            with torch.no_grad():
                model.lm_head.weight[7:9, 7] = torch.tensor([value, -value])
            model.save_pretrained(folder)
            byte_tokenizer().save_pretrained(folder)
            made[value] = LanguageModel(folder, "cpu")
        return made[value]

    return make


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path

from rag.errors import GenerationError
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.schema import SamplingParams

generator = LocalGenerator(LanguageModel(Path(sys.argv[1]), "cpu"))
params = SamplingParams(max_new_tokens=4, seed=1, temperature=1.0)
before = [s.token_id for s in generator.stream([1] * 9, params)]
long = [2] * 4000
list(generator.stream(long, params))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20,) * 2)
for use in (
    lambda: list(generator.batch([[1] * 4000] * 200, [params] * 200)),  # where a prompt is read
    lambda: generator.beam([1] * 4000, 200, 3),
    lambda: list(generator.batch([[*long, n] for n in range(200)], [params] * 200)),  # where what was read is copied
):
    try:
        use()
    except GenerationError as error:
        print(error)
    assert [s.token_id for s in generator.stream([1] * 9, params)] == before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit of address space that is kept")
def test_out_of_memory_is_said_and_the_generator_goes_on(tiny_folder):
    child = [sys.executable, "-c", OUT_OF_MEMORY, str(tiny_folder("llama"))]
    done = subprocess.run(child, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    sentence = "There is not enough memory to read on; use fewer passages, a smaller batch or a smaller model."
    assert done.stdout.splitlines() == [sentence] * 3
