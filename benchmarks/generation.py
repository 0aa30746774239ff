"""The generator's speed: against `transformers.generate`, against itself without what makes it fast, and llama.cpp.

    python -m benchmarks.generation [--rounds 5] [--rows decode copying ...] [--data ROWS.jsonl] [--peers PYTHON]

Prompts of 600 to 1,000 tokens with passages, as the assistant builds them; the same tokens are asserted wherever both
sides compute in float32. ROWS are `{question, context, answers}`, a JSON object a line; by default the examples.
PYTHON is an environment with xllamacpp, for the row `llama.cpp`.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
import transformers

from benchmarks import generation_llama, generation_profile
from benchmarks.generation_cases import (
    LEAST,
    Case,
    Run,
    by_transformers,
    copying_cases,
    free_cases,
    in_turns,
    one_by_one,
    prompt_of,
    question_prompts,
    read_items,
    run,
    run_batch,
    spread,
    spread_out,
)
from rag import sampling
from rag.generation import LocalGenerator
from rag.kv_cache import shared_prefix
from rag.language_model import LanguageModel, convert_gguf
from rag.models import resolve_language_model
from rag.schema import SamplingParams
from rag.settings import default_home

LENGTH = 48  # new tokens of an answer that is not cut short


class Bench:
    """The models, loaded when first needed, and the prompts."""

    def __init__(self, data: Path | None, rounds: int, peers: Path | None) -> None:
        self.items = read_items(data)
        self.rounds = rounds
        self.peers = peers
        self.folder = resolve_language_model("embedded", default_home() / "models", convert_gguf)

    @cached_property
    def model(self) -> LanguageModel:
        return self.loaded("float32")

    @cached_property
    def int8(self) -> LanguageModel:
        return self.loaded("int8")

    def loaded(self, precision: str) -> LanguageModel:
        """A model whose first, slower call is behind it."""
        model = LanguageModel(self.folder, "cpu", precision)
        model.read([[1] * 600], model.new_cache())
        return model

    @cached_property
    def generate(self) -> Callable[[Case], Run]:
        peer = transformers.AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        by_transformers(peer, Case([1] * 600, SamplingParams(max_new_tokens=2)))
        return partial(by_transformers, peer)

    def plain(self, model: LanguageModel) -> LocalGenerator:
        """Without drafts, and with nothing kept between requests."""
        return LocalGenerator(model, drafts=False, prefix_bytes=0)

    def drafting(self, model: LanguageModel) -> LocalGenerator:
        return LocalGenerator(model, prefix_bytes=0)

    def questions(self, n: int, length: int = LENGTH) -> list[Case]:
        prompts = question_prompts(self.model, self.items, n)
        return [Case(prompt, SamplingParams(max_new_tokens=length)) for prompt in prompts]

    def compare(
        self, cases: Sequence, ours: Callable[..., Run], other: Callable[..., Run], same: bool = True
    ) -> tuple[list[Run], list[Run]]:
        a, b = in_turns(self.rounds, cases, [ours, other])
        assert not same or all(x.answers == y.answers for x, y in zip(a, b, strict=True)), "not the same tokens"
        return a, b


def show(what: str, ours: Sequence[float], other: Sequence[float], unit: str, targets: str, names: str) -> None:
    """A line of the table; the ratio says how many times faster ours is."""
    faster = [b / a if unit == "s" else a / b for a, b in zip(ours, other, strict=True)]
    medians = f"{statistics.median(ours):.2f} {unit} | {statistics.median(other):.2f} {unit}"
    print(f"| {what} | {names} | {medians} | {spread(faster)} | {targets} |", flush=True)


def rates(runs: Sequence[Run]) -> list[float]:
    """Tokens a second after the first token."""
    return [r.decoded / r.rest for r in runs]


def decode(b: Bench) -> None:
    a, o = b.compare(b.questions(4), partial(run, b.plain(b.model)), b.generate)
    show("decode, one stream, fp32, no drafts", rates(a), rates(o), "tokens/s", "1.0, 1.2", "ours, generate")
    show("the same, first token", [r.first for r in a], [r.first for r in o], "s", "", "ours, generate")


def copying(b: Bench) -> None:
    cases = copying_cases(b.model, b.items, 8)
    a, o = b.compare(cases, partial(run, b.drafting(b.model)), b.generate)
    lengths = [case.params.max_new_tokens for case in cases]
    what = f"decode with drafts, {len(cases)} answers that copy, {min(lengths)} to {max(lengths)} tokens"
    show(what, rates(a), rates(o), "tokens/s", "1.5, 2", "ours, generate")


def free(b: Bench) -> None:
    """Sampled, so a token that falls on a boundary of float32's rounding may differ: how many answers do is shown."""
    cases = free_cases(b.model, b.items, 8, LENGTH)
    a, o = b.compare(cases, partial(run, b.drafting(b.model)), partial(run, b.plain(b.model)), same=False)
    same = sum(x == y for x, y in zip(a[0].answers, o[0].answers, strict=True))
    what = f"drafts on {len(cases)} answers that do not copy, {same} of them the same with and without"
    show(what, rates(a), rates(o), "tokens/s", "0.95, 1.0", "with, without drafts")


def batch(b: Bench) -> None:
    one = partial(one_by_one, partial(run, b.plain(b.model)))
    a, o = b.compare([b.questions(8)], partial(run_batch, b.plain(b.model)), one)
    show("decode phase, batch of 8", rates(a), rates(o), "tokens/s", "3, 4", "batch, 8 calls")


def whole(b: Bench) -> None:
    end_to_end(b, f"answers of {LENGTH} tokens", b.questions(8))


def short(b: Bench) -> None:
    """Answers as long as they are by themselves, to the end of the line."""
    asked = [Case(case.prompt, SamplingParams(stop=("\n",))) for case in b.questions(8)]
    lengths = [len(answer) for answer in run_batch(b.plain(b.model), asked).answers]
    cases = [Case(c.prompt, SamplingParams(max_new_tokens=n)) for c, n in zip(asked, lengths, strict=True)]
    end_to_end(b, f"answers of {statistics.mean(lengths):.0f} tokens on average", cases)


def end_to_end(b: Bench, what: str, cases: list[Case]) -> None:
    """Each time with a new generator, so that nothing is left from the round before."""
    calls = {
        "batch": lambda cs: run_batch(LocalGenerator(b.model), cs),
        "calls of generate": lambda cs: one_by_one(b.generate, cs),
        "calls, prefix reuse": lambda cs: one_by_one(partial(run, LocalGenerator(b.model, drafts=False)), cs),
        "calls, prefix reuse and drafts": lambda cs: one_by_one(partial(run, LocalGenerator(b.model)), cs),
    }
    made = in_turns(b.rounds, [cases], list(calls.values()))
    assert all(runs[0].answers == made[0][0].answers for runs in made), "not the same tokens"
    totals = [[r.total for r in runs] for runs in made]
    for name, other in list(zip(calls, totals, strict=True))[1:]:
        show(f"end to end, batch of 8, {what}", totals[0], other, "s", "1.5, 2", f"batch, 8 {name}")


def second(b: Bench) -> None:
    """Pairs of questions beside both of which the same passages fit."""
    pairs = []
    for item, other in itertools.pairwise(spread_out(b.items)):
        pair = [prompt_of(b.model, question, item.passages) for question in (item.question, other.question)]
        if len(pair[0]) >= LEAST and shared_prefix(*pair) >= LEAST - 50:
            pairs.append(pair)
    firsts, seconds = [], []
    for pair in pairs[:6] * b.rounds:
        generator = LocalGenerator(b.model)
        for prompt, times in zip(pair, (firsts, seconds), strict=True):
            times.append(run(generator, Case(prompt, SamplingParams(max_new_tokens=2))).first)
    show("first token, second question, same passages", seconds, firsts, "s", "5, 10", "second, first question")


def int8(b: Bench) -> None:
    a, o = b.compare(b.questions(4), partial(run, b.plain(b.int8)), partial(run, b.plain(b.model)), same=False)
    show("int8, prefill", [r.first for r in a], [r.first for r in o], "s", "1.3, 1.5", "int8, fp32")
    show("int8, decode", rates(a), rates(o), "tokens/s", "1.4, 2", "int8, fp32")


def recording(b: Bench) -> None:
    a, o = b.compare(b.questions(4), partial(run, b.plain(b.model)), partial(only_draw, b.model))
    show("recording all token data", rates(a), rates(o), "tokens/s", "0.95, 0.99", "recorded, only drawn")


def only_draw(model: LanguageModel, case: Case) -> Run:
    """The least that makes the same tokens."""
    generator = torch.Generator().manual_seed(0)
    cache, answer = model.new_cache(), []
    began = time.perf_counter()
    for start in range(0, len(case.prompt), 512):
        logits = model.read([case.prompt[start : start + 512]], cache)[0, 0]
    first = 0.0
    while True:
        distribution = sampling.sampling_logprobs(logits, case.params)
        answer.append(sampling.draw(distribution, generator))
        first = first or time.perf_counter() - began
        if answer[-1] in model.end_tokens or len(answer) == case.params.max_new_tokens:
            return Run(first, time.perf_counter() - began - first, [answer])
        logits = model.read([[answer[-1]]], cache)[0, 0]


def llama(b: Bench) -> None:
    if b.peers is None:
        print("llama.cpp: left out, no --peers")
        return
    cases, copies = b.questions(4), copying_cases(b.model, b.items, 4)
    generation_llama.compare(b.peers, b.rounds, cases, copies, b.plain(b.int8), b.drafting(b.int8))


def profile(b: Bench) -> None:
    prompt = b.questions(1)[0].prompt
    for name, model in (("fp32", b.model), ("int8", b.int8)):
        generation_profile.profile(name, model, prompt)
    generation_profile.bandwidth(b.model, (b.folder / "model.safetensors").stat().st_size, prompt)


ROWS = {
    "decode": decode,
    "copying": copying,
    "free": free,
    "batch": batch,
    "whole": whole,
    "short": short,
    "second": second,
    "int8": int8,
    "recording": recording,
    "llama.cpp": llama,
    "profile": profile,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    print(
        "| what | sides | first | second | times as fast, median (range) | at least, aim |\n|---|---|---|---|---|---|"
    )
    bench = Bench(given.data, given.rounds, given.peers)
    for row in given.rows:
        ROWS[row](bench)


if __name__ == "__main__":
    main()
