"""Answers for the terminal and as data. Knows `rag.schema` and rich."""

import dataclasses
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rag.schema import Answer, Prompt, RetrievedPassage, TokenStep

UNCALIBRATED = "Confidence is not calibrated yet. The model may be wrong, the bundled one often is: check the sources."
# Probability bands: name, lower bound, style. The number stands beside every colour.
_BANDS = ((0.9, "green"), (0.5, "yellow"), (0.1, "dark_orange"), (0.0, "red"))


def as_data(value: Any) -> Any:
    """A value of `rag.schema` as JSON data; minus infinity, a token that was filtered out, becomes null."""
    data = _plain(dataclasses.asdict(value))
    if isinstance(value, Answer):
        data |= {
            "logprob": value.logprob,
            "finish_reason": value.finish_reason,
            "calibrated": value.confidence is not None,
        }
    return data


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
    said_of: Callable[[Answer], str | None] = lambda answer: None,
) -> Answer:
    """Print an answer as it is written, a sentence of it, then its sources and its tokens."""
    return last(_shown(console, events, said_of))


def last(events: Iterator[Prompt | TokenStep | Answer]) -> Answer:
    """The answer that a stream ends with."""
    *_, answer = events
    if not isinstance(answer, Answer):
        raise TypeError("a stream ends with its answer")
    return answer


def _shown(
    console: Console, events: Iterator[Prompt | TokenStep | Answer], said_of: Callable[[Answer], str | None]
) -> Iterator[Prompt | TokenStep | Answer]:
    for event in events:
        if isinstance(event, Prompt):
            console.print(Text(f"\n{printable(event.question)}", style="bold"))
            if event.search_question not in (None, event.question):
                console.print(f"searched for: {printable(event.search_question or '')}", style="dim", markup=False)
        elif isinstance(event, TokenStep):
            console.print(Text(printable(event.text), style=_style(event.logprob)), end="")
        else:
            console.print("" if event.text else "(no answer)")
            _show_end(console, event, said_of(event))
        yield event


def _show_end(console: Console, answer: Answer, said: str | None) -> None:
    if answer.abstained:
        console.print(f"Not answered: {answer.abstained}.")
    if said:
        console.print(said)
    console.print(UNCALIBRATED, style="dim")
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
