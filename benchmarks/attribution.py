"""How often each method finds the passage that an answer came from, and what it costs.

    python -m benchmarks.attribution ROWS.jsonl [--limit N] [--adapter auto|none|ADAPTER]

ROWS are `{id, question, answers, answerable, context}`, a JSON object a line. Each answerable question is asked with
its own passage among four retrieved ones that do not hold an accepted answer, in the order of the retrieval. Counted
are the questions that are answered right (F1 of 0.5 or more, or an accepted answer contained). `--limit` asks a sample,
always the same. What each method costs, and the noise, are measured on the first 20 right answers. Device, precision
and the rest are those of the settings, such as RAG_DEVICE.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.reading import DEPTH, sample
from rag.assistant import Assistant, load_embedder, load_language_model, load_template, model_name, reads_each
from rag.attribution import attribute, coalitions, members
from rag.contrast import noise, row, score_all
from rag.evaluation.collection import make_collection
from rag.evaluation.datasets import Question, read_questions
from rag.evaluation.metrics import contained, f1
from rag.evidence import PassageValues
from rag.generation import LocalGenerator
from rag.index import LocalIndex
from rag.models import embedder_identity, resolve_embedder
from rag.retrieval import retrieve
from rag.schema import Answer, RetrievedPassage, SamplingParams, Timings
from rag.settings import load_settings
from rag.templates import closed_book

N = 5  # passages that are read
FULL = (1 << N) - 1
WITHOUT_ONE, ALONE = [FULL - (1 << i) for i in range(N)], [1 << i for i in range(N)]
COSTED = 20  # answers on which the cost of each method is measured; its verdict follows from the Shapley values' sets
# name: (the sets that it has to score, a passage's worth by it)
METHODS: dict[str, tuple[list[int], Callable[[PassageValues, slice], float]]] = {
    "Shapley": (coalitions(N), lambda p, text: sum(p.values[text])),
    "first and last": ([FULL, *WITHOUT_ONE, *ALONE, 0], lambda p, text: sum(p.alone[text]) - sum(p.left_out[text])),
    "each left out": ([FULL, *WITHOUT_ONE], lambda p, text: -sum(p.left_out[text])),
    "each alone": ([*ALONE, 0], lambda p, text: sum(p.alone[text])),
}
LIFT, SENTENCE = "(the lift alone)", "(the sentence shown holds the answer)"


def with_distractors(question: Question, index: LocalIndex, embed) -> list[RetrievedPassage] | None:
    """The right passage among the four best that hold no accepted answer, as retrieved; None where these are fewer."""
    (own,) = question.context
    found = [replace(p, copies=(), newest=None) for p in retrieve(index, embed, question.question, DEPTH)]
    right = [p for p in found if p.passage.text == own]
    wrong = [p for p in found if p.passage.text != own and not contained(p.passage.text, question.answers)][: N - 1]
    if not right:  # not among the best: it stands behind them
        passage = replace(found[0].passage, text=own, source="", start=0, end=len(own))
        right = [replace(found[0], passage=passage, rank=DEPTH + 1)]
    if len(wrong) < N - 1:
        return None
    kept = sorted([*right, *wrong], key=lambda p: p.rank)
    return [replace(p, rank=n) for n, p in enumerate(kept, start=1)]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): unlike the bootstrap's it has a width where every one is a hit."""
    z2 = 1.96**2
    middle, half = hits + z2 / 2, 1.96 * (hits * (n - hits) / n + z2 / 4) ** 0.5
    return (middle - half) / (n + z2), (middle + half) / (n + z2)


class Tally:
    """For each method: whether it found the right passage, and for some answers seconds and tokens."""

    def __init__(self) -> None:
        self.hits: dict[str, list[bool]] = {}
        self.costs: dict[str, list[tuple[float, int]]] = {}

    def hit(self, name: str, found: bool) -> None:
        self.hits.setdefault(name, []).append(found)

    def cost(self, name: str, seconds: float, tokens: int) -> None:
        self.costs.setdefault(name, []).append((seconds, tokens))

    def show(self) -> None:
        print(f"| method | right passage | 95 % | n | seconds, median | tokens read, median |\n|{'---|' * 6}")
        for name in dict.fromkeys([*self.hits, *self.costs]):
            hits, costs = self.hits.get(name, []), self.costs.get(name, [])
            low, high = wilson(sum(hits), len(hits)) if hits else (0, 0)
            share = f"{np.mean(hits):.3f} | {low:.3f} to {high:.3f} | {len(hits)}" if hits else " | | "
            seconds, tokens = np.median(costs, axis=0) if costs else (0, 0)
            cost = f"{seconds:.2f} | {tokens:.0f}" if costs else " | "
            print(f"| {name} | {share} | {cost} |")


def explain(tally: Tally, answer: Answer, reader: Assistant, answers: Sequence[str], own: str) -> None:
    """Add every method's verdict on one answer."""
    began = time.perf_counter()
    evidence = attribute(answer, reader.template, reader.generator)
    tally.cost(SENTENCE, time.perf_counter() - began, evidence.tokens_read)
    right = next(p.rank for p in answer.prompt.passages if p.passage.text == own)
    for name, (_, worth) in METHODS.items():
        best = max(evidence.passages, key=lambda p: worth(p, slice(evidence.contrast.written)))
        tally.hit(name, best.rank == right)
    texts = {p.rank: p.passage.text for p in answer.prompt.passages}
    quotes = [texts[c.rank][c.passage_start : c.passage_end] for c in evidence.citations]
    tally.hit(SENTENCE, any(contained(quote, answers) for quote in quotes))
    tally.hit("the top retrieved passage", right == 1)


def cost(tally: Tally, answer: Answer, reader: Assistant) -> None:
    """Add what every method costs right after an answer."""
    template, generator, passages = reader.template, reader.generator, answer.prompt.passages
    sets = {
        name: [row(answer, members(passages, mask), template, generator) for mask in masks]
        for name, (masks, _) in METHODS.items()
    }
    sets[LIFT] = [row(answer, (), form, generator) for form in (template, closed_book(template))]
    for name, rows in sets.items():
        began = time.perf_counter()
        scored = score_all(generator, rows)
        tally.cost(name, time.perf_counter() - began, sum(one.read for one in scored))


def cite(tally: Tally, citing: Assistant, question: str, passages: Sequence[RetrievedPassage], own: str) -> None:
    """Add what the model cites when it is asked to: the first [n] of its answer."""
    params = citing.complete(SamplingParams(max_new_tokens=32, seed=0, alternatives=0))
    prompt = citing.prompt(question, params, passages=passages)
    began = time.perf_counter()
    steps = list(citing.generator.stream(prompt.token_ids, params))
    seconds = time.perf_counter() - began
    named = re.search(r"\[(\d+)\]", "".join(step.text for step in steps))
    rank = next(p.rank for p in passages if p.passage.text == own)
    tally.hit("cited by the model", named is not None and int(named[1]) == rank)
    tally.cost("cited by the model", seconds, len(prompt.token_ids) + len(steps))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("--adapter", default="auto", help="auto, none or an adapter's folder")
    parser.add_argument("--limit", type=int, help="so many questions")
    options = parser.parse_args()

    settings = load_settings({"adapter": options.adapter})
    embedder, generator = load_embedder(settings), load_language_model(settings)
    citing = replace(settings, template="cited")  # which no adapter serves
    other = generator if model_name(citing) == model_name(settings) else load_language_model(citing)
    questions = [question for question in read_questions(options.rows).questions if question.context]
    texts = dict.fromkeys(question.context[0] for question in questions)
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    identity = embedder_identity(settings.embedder, folder, settings.embedder_precision)
    params = SamplingParams(max_new_tokens=32, seed=0)
    tally, noises, asked, right = Tally(), [], 0, 0
    with tempfile.TemporaryDirectory() as place:
        names = {f"{n}": text for n, text in enumerate(texts)}
        index = make_collection(Path(place) / "rows", names, embedder, identity=identity)
        template, each = load_template(settings, generator), reads_each(settings)
        reader = Assistant(index, embedder, generator, model_name(settings), template, read_each=each)
        writer = Assistant(index, embedder, other, model_name(citing), load_template(citing, other))
        print(f"{reader.language_model} on {generator.model.device}, template {reader.template.name}", flush=True)
        for question in sample([q for q in questions if q.answerable], options.limit):
            passages = with_distractors(question, index, embedder.embed_question)
            if passages is None:
                continue
            complete = reader.complete(params)
            prompt = reader.prompt(question.question, complete, passages=passages)
            if len(prompt.passages) < N or any(p.read for p in prompt.passages):
                continue  # they do not fit
            asked += 1
            steps = list(generator.stream(prompt.token_ids, complete))
            text = "".join(step.text for step in steps).strip()
            if not text or (f1(text, question.answers) < 0.5 and not contained(text, question.answers)):
                continue
            right += 1
            answer = reader.answer(prompt, steps, complete, Timings(0.0, None, 0.0))
            (own,) = question.context
            if right <= COSTED:
                cost(tally, answer, reader)
                noises.append(noise(answer, LocalGenerator(generator.model, prefix_bytes=0)))
            explain(tally, answer, reader, question.answers, own)
            cite(tally, writer, question.question, passages, own)
    print(f"{right} of {asked} questions answered right\n")
    tally.show()
    if noises:
        print(f"\nnoise, nats a token: {max(noises):.2g} at most, {np.median(noises):.2g} in the median answer")


if __name__ == "__main__":
    main()
