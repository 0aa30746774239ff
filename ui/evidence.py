"""What an answer leans on, for the terminal and as data. Knows `rag.evidence` and rich; computes no evidence."""

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rag.evidence import Contrast, Evidence
from rag.schema import Answer
from ui.terminal import as_data, printable

if TYPE_CHECKING:
    from rag.assistant import Assistant

_LITTLE = 0.05  # nats: a factor of 1.05
NOTHING_READ = "No passage was read for this answer, so there is nothing that it could lean on."


def answer_data(assistant: "Assistant", answer: Answer) -> Any:
    """An answer as JSON data, with what the documents changed in it."""
    changed = assistant.contrast(answer)
    return as_data(answer) | {"contrast": changed and contrast_data(changed)}


def evidence_data(evidence: Evidence) -> Any:
    """Evidence as JSON data, with the lift of each token and of the text."""
    return as_data(evidence) | {"contrast": contrast_data(evidence.contrast)}


def contrast_data(changed: Contrast) -> Any:
    """A contrast as JSON data, with the lift of each token and of the text."""
    return as_data(changed) | {"lift": list(changed.lift), "total": changed.total}


def lift_sentence(assistant: "Assistant", answer: Answer) -> str | None:
    """What the documents changed in an answer; None where nothing was said from documents."""
    changed = assistant.contrast(answer)
    return None if changed is None else lift_in_words(changed)


def show_evidence(console: Console, answer: Answer, evidence: Evidence) -> None:
    """Print what the documents changed, the sentences that the answer leans on, and a row a passage and a token."""
    floor = evidence.contrast.noise_floor
    console.print("\nEvidence", style="bold")
    _show_citations(console, answer, evidence)
    changed = evidence.contrast
    sums = [sum(row[: changed.written]) for row in (changed.logprobs, changed.without, changed.closed_book)]
    console.print(
        f"log-probability {sums[0]:.2f} with the documents, {sums[1]:.2f} with the same instruction and none, "
        f"{sums[2]:.2f} from the question alone",
        style="dim",
    )
    console.print(_passage_table(evidence))
    console.print(_lift_table(answer, evidence, floor))
    console.print(
        f"values by {evidence.method}, {evidence.tokens_read} tokens read for them; differences below {floor:.3g} nats "
        "are noise and not shown",
        style="dim",
    )


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


def _show_citations(console: Console, answer: Answer, evidence: Evidence) -> None:
    """Each sentence of the answer that leans on a passage, with that passage's sentence."""
    texts = {passage.rank: passage.passage.text for passage in answer.prompt.passages}
    if not evidence.citations:
        console.print("No passage made it more probable.")
    for citation in evidence.citations:
        said = answer.text[citation.start : citation.end]
        quoted = " ".join(texts[citation.rank][citation.passage_start : citation.passage_end].split())
        console.print(Text.assemble((printable(said), "bold"), f"  [{citation.rank}] ", (printable(quoted), "italic")))
        console.print(
            f"    passage {citation.rank} gave {citation.value:+.1f} nats; "
            f"alone and without this sentence it gives {citation.loss:.1f} less",
            style="dim",
        )


def _passage_table(evidence: Evidence) -> Table:
    """A row a passage: its part of the lift, and the answer's log-probability with it alone and without it."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("passage", "gave", "log p with it alone", "log p without it"):
        table.add_column(heading, justify="left" if heading == "passage" else "right")
    n = evidence.contrast.written
    for one in evidence.passages:
        figures = f"{one.total:+.2f}", f"{sum(one.alone[:n]):.2f}", f"{sum(one.left_out[:n]):.2f}"
        table.add_row(Text(f"[{one.rank}]"), *figures)
    return table


def _lift_table(answer: Answer, evidence: Evidence, floor: float) -> Table:
    """A row a token: its probability with and without the documents, the lift, and the passage that gave most."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("token", "with", "without", "lift", "rank with", "rank without", "mostly from"):
        table.add_column(heading, justify="left" if heading == "token" else "right")
    changed = evidence.contrast
    for n, step in enumerate(answer.steps):
        first = max(evidence.passages, key=lambda one: one.values[n])
        text = next((a.text for a in step.alternatives if a.token_id == step.token_id), step.text)
        table.add_row(
            Text(repr(text)[1:-1]),
            f"{math.exp(changed.logprobs[n]):.3f}",
            f"{math.exp(changed.without[n]):.3f}",
            f"{changed.lift[n]:+.2f}" if abs(changed.lift[n]) >= floor else "",
            str(changed.ranks[n]),
            str(changed.ranks_without[n]),
            Text(f"[{first.rank}]" if first.values[n] >= floor else ""),
        )
    return table
