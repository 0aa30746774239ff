"""What an answer leans on, for the terminal and as data. Knows `rag.evidence` and rich; computes no evidence."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rag.evidence import Evidence
from rag.reasons import DISAGREE, why
from rag.schema import Answer
from ui.terminal import show_citations

NOTHING_READ = "No passage was read for this answer, so there is nothing that it could lean on."


def reason(answer: Answer, evidence: Evidence) -> str | None:
    """Why an answer is not to be relied on, with what the evidence adds."""
    found = why(answer, evidence=evidence)
    return answer.reason or (found if answer.advice is None or found == DISAGREE else None)


def show_evidence(console: Console, answer: Answer, evidence: Evidence) -> None:
    """Print what the documents changed, the sentences that the answer leans on, and a row a passage and a token."""
    floor = evidence.contrast.noise_floor
    console.print("\nEvidence", style="bold")
    if (said := reason(answer, evidence)) and said != answer.reason:
        console.print(f"Why not to rely on it: {said}.")
    if not evidence.citations:
        console.print("No passage made it more probable.")
    show_citations(console, answer, evidence.citations)
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
