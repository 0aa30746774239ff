"""Answers for the terminal and as data. Knows the types of `rag` and rich."""

import dataclasses
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rag.evidence import Citation
from rag.reasons import closest_sentence
from rag.schema import Answer, Contrast, Prompt, RetrievedPassage, TokenStep
from rag.templates import is_refusal

UNCALIBRATED = (
    "Confidence is not calibrated for this model and prompt (`rag eval calibrate` does it). "
    "The model may be wrong, the bundled one often is: check the sources."
)
INSTEAD = "The model would have declined. Its best answer is likely enough to be shown:"
REREAD = "Read one by one, the passages give a better answer:"
_ADVICE = {
    "answer": "",
    "warn": " Check the sources.",
    "decline": " What was written stands above as a guess; read the passages instead.",
}
_LITTLE = 0.05  # nats: a factor of 1.05
# Probability bands: name, lower bound, style. The number stands beside every colour.
_BANDS = ((0.9, "green"), (0.5, "yellow"), (0.1, "dark_orange"), (0.0, "red"))


def as_data(value: Any) -> Any:
    """A value of `rag.schema` as JSON data; minus infinity, a token that was filtered out, becomes null."""
    data = dataclasses.asdict(value)
    if isinstance(value, Contrast):
        data |= {"lift": list(value.lift), "total": value.total}
    if changed := getattr(value, "contrast", None):
        data["contrast"] = as_data(changed)
    if isinstance(value, Answer):
        data |= {
            "logprob": value.logprob,
            "finish_reason": value.finish_reason,
            "calibrated": value.calibrated_on is not None,
        }
    plain: dict[str, Any] = _plain(data)
    return plain


def printable(text: str) -> str:
    """Text of documents, models and file names without what a terminal would obey."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_answer(
    console: Console,
    events: Iterator[Prompt | TokenStep | Answer],
    support: Callable[[Answer], Sequence[Citation]] = lambda answer: (),
) -> Answer:
    """Print an answer as it is written, then how far to trust it, what it leans on, its sources and its tokens."""
    return last(_shown(console, events, support))


def last(events: Iterator[Prompt | TokenStep | Answer]) -> Answer:
    """The answer that a stream ends with."""
    *_, answer = events
    if not isinstance(answer, Answer):
        raise TypeError("a stream ends with its answer")
    return answer


def _shown(
    console: Console,
    events: Iterator[Prompt | TokenStep | Answer],
    support: Callable[[Answer], Sequence[Citation]],
) -> Iterator[Prompt | TokenStep | Answer]:
    streamed = ""
    for event in events:
        if isinstance(event, Prompt):
            console.print(Text(f"\n{printable(event.question)}", style="bold"))
            if event.search_question not in (None, event.question):
                console.print(f"searched for: {printable(event.search_question or '')}", style="dim", markup=False)
        elif isinstance(event, TokenStep):
            streamed += event.text
            console.print(Text(printable(event.text), style=_style(event.logprob)), end="")
        else:
            if event.text != streamed.strip():
                console.print(f"\n{INSTEAD if is_refusal(streamed.strip()) else REREAD}\n ", end="")
                for step in event.steps:
                    console.print(Text(printable(step.text), style=_style(step.logprob)), end="")
            _show_end(console, event, support)
        yield event


def _show_end(console: Console, answer: Answer, support: Callable[[Answer], Sequence[Citation]]) -> None:
    console.print("" if answer.text else "(no answer)")
    for sentence in trust(answer):
        console.print(printable(sentence), markup=False)
    if answer.abstained and (closest := closest_sentence(answer.prompt)):
        rank, start, end = closest
        text = next(p.passage.text for p in answer.prompt.passages if p.rank == rank)
        console.print(f"\nFits best\n[{rank}] {printable(' '.join(text[start:end].split()))}", markup=False)
    if citations := support(answer):
        console.print("\nLeans on", style="bold")
        show_citations(console, answer, citations)
    if answer.prompt.passages:
        console.print("\nSources", style="bold")
        show_passages(console, best_first(answer.prompt.passages))
    for sentence in left_out(answer.prompt):
        console.print(sentence)
    if answer.steps:
        console.print("\nTokens", style="bold")
        console.print(_token_table(answer.steps))
        console.print(
            f"log-probability {answer.logprob:.2f} over {len(answer.steps)} tokens, seed {answer.params.seed}, "
            f"first token after {answer.timings.first_token:.1f} s, all after {answer.timings.total:.1f} s",
            style="dim",
        )


def trust(answer: Answer) -> list[str]:
    """Whether and how far an answer can be trusted, and why not, as sentences."""
    sentences = [f"Not answered: {answer.abstained}."] if answer.abstained else []
    if answer.contrast and not answer.abstained:
        sentences.append(lift_in_words(answer.contrast))
    if answer.reason:
        sentences.append(f"{'Why' if answer.abstained else 'Mind'}: {answer.reason}.")
    if answer.finish_reason == "cancelled":
        sentences.append("It was stopped before it could be judged.")
    elif answer.calibrated_on is None:
        sentences.append(UNCALIBRATED)
    elif answer.confidence is not None and answer.advice is None:
        sentences.append(
            f"Its best answer would have had a confidence of {answer.confidence:.2f}: about "
            f"{answer.confidence * 100:.0f} in 100 like it were right (fitted on {answer.calibrated_on})."
        )
    elif answer.confidence is not None and answer.advice is not None:
        sentences.append(
            f"Confidence {answer.confidence:.2f}: about {answer.confidence * 100:.0f} in 100 answers like this one "
            f"were right (fitted on {answer.calibrated_on}).{_ADVICE[answer.advice]}"
        )
    return sentences


def lift_in_words(changed: Contrast) -> str:
    """The lift of an answer's text as a sentence."""
    total = changed.total
    if abs(total) < max(_LITTLE, changed.noise_floor * changed.written):
        return "The documents hardly changed how probable this answer is."
    factor = math.exp(min(abs(total), 700))
    times = f"10^{abs(total) / math.log(10):.0f}" if factor >= 1e6 else f"{factor:,.{0 if factor >= 100 else 1}f}"
    if total > 0:
        effect = f"more probable: {times} times as probable as without them"
    else:
        effect = f"less probable: without them it is {times} times as probable"
    return f"The documents made this answer {abs(total):.1f} nats {effect}."


def show_citations(console: Console, answer: Answer, citations: Sequence[Citation]) -> None:
    """Print each sentence of an answer that leans on a passage, with that passage's sentence."""
    texts = {passage.rank: passage.passage.text for passage in answer.prompt.passages}
    for citation in citations:
        said = answer.text[citation.start : citation.end]
        quoted = " ".join(texts[citation.rank][citation.passage_start : citation.passage_end].split())
        console.print(Text.assemble((printable(said), "bold"), f"  [{citation.rank}] ", (printable(quoted), "italic")))
        console.print(
            f"    passage {citation.rank} gave {citation.value:+.1f} nats; "
            f"alone and without this sentence it gives {citation.loss:.1f} less",
            style="dim",
        )


def left_out(prompt: Prompt) -> list[str]:
    """What was found or said before, but was not read for want of room, as sentences."""
    sentences = []
    read, found = len(prompt.passages), len(prompt.passages) + len(prompt.left_out)
    cut = ", one of them only in part" if any(p.read is not None for p in prompt.passages) else ""
    if found > read or cut:
        sentences.append(f"{read} of {found} matching passages read{cut}.")
    if prompt.turns_left_out:
        turns = len(prompt.history)
        sentences.append(f"{turns} of {turns + prompt.turns_left_out} earlier turns read.")
    return sentences


def best_first(passages: Sequence[RetrievedPassage]) -> list[RetrievedPassage]:
    """Passages as a person reads them; the prompt has its own order."""
    return sorted(passages, key=lambda passage: passage.rank)


def show_passages(console: Console, passages: Sequence[RetrievedPassage]) -> None:
    """Print passages, best first, with every score named for what it is."""
    for retrieved in passages:
        passage = retrieved.passage
        place = f", {passage.place}" if passage.place else ""
        title, source = escape(printable(passage.title)), escape(printable(passage.source))
        console.print(f"[bold]\\[{retrieved.rank}][/bold] {title}{place}  [dim]{source}[/dim]")
        console.print(f"    {scores(retrieved)}", style="dim", markup=False)
        for note in notes(retrieved):
            console.print(f"    {printable(note)}", style="yellow", markup=False)
        text = " ".join(passage.text[: retrieved.read].split()) + ("" if retrieved.read is None else " ...")
        console.print(f"    {printable(text)}", markup=False)


def scores(retrieved: RetrievedPassage) -> str:
    """Every score with its name, `-` for a stage that did not see the passage."""
    dense = "-" if retrieved.dense is None else f"{retrieved.dense:.2f}"
    lexical = "-" if retrieved.lexical is None else f"{retrieved.lexical:.1f}"
    rerank = "" if retrieved.rerank is None else f"{retrieved.reranked_by} {retrieved.rerank:.2f}, "
    return f"{rerank}fused {retrieved.fused:.2f}, cosine {dense}, BM25 {lexical}"


def notes(retrieved: RetrievedPassage) -> list[str]:
    """What is known of other versions and of copies."""
    found = []
    if retrieved.newest is not None:
        which = "the newest of several versions" if retrieved.newest else "an older version; a newer one differs"
        found.append(f"{which} ({retrieved.passage.date})")
    if retrieved.read is not None:
        size = len(retrieved.passage.text)
        found.append(f"cut for want of room: the model read the first {retrieved.read} of {size} characters")
    if retrieved.copies:
        found.append(f"nearly the same in: {', '.join(retrieved.copies)}")
    return found


def _token_table(steps: Sequence[TokenStep]) -> Table:
    """A row a token: the model's own probability, the one it was drawn with, rank and the alternatives."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("token", "model", "drawn", "rank"):
        table.add_column(heading, justify="left" if heading == "token" else "right")
    table.add_column("the model's alternatives", overflow="fold")
    for step in steps:
        chosen = next((a.text for a in step.alternatives if a.token_id == step.token_id), step.text)
        others = [a for a in step.alternatives if a.token_id != step.token_id][:3]
        table.add_row(
            Text(repr(chosen)[1:-1], style=_style(step.logprob)),
            f"{math.exp(step.logprob):.3f}",
            f"{math.exp(step.sampled_logprob):.3f}",
            str(step.rank),
            Text("  ".join(f"{repr(a.text)[1:-1]} {math.exp(a.logprob):.3f}" for a in others)),
        )
    return table


def _style(logprob: float) -> str:
    return next(style for bound, style in _BANDS if math.exp(logprob) >= bound)
