"""One token of the view as data: its text, bands, what it says aloud, the lines of its card, its alternatives.

Pure functions; all text that comes out is to be set as text.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag.evidence import Evidence, PassageValues
from rag.schema import Alternative, Answer, Contrast, TokenStep
from ui.token_view.bands import band, entropy_band, lift_band, passage_band, rank_band
from ui.token_view.signs import END, PART, alone, in_flow, nats, probability, signed
from ui.words import Words

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """The text on show and what is known of it, of which some is a value a token."""

    answer: Answer
    contrast: Contrast | None
    evidence: Evidence | None
    titles: Mapping[int, str]  # of the passages, by rank
    lift: tuple[float | None, ...]  # what the documents changed, in nats; None where that is noise or not known
    leading: tuple[PassageValues | None, ...]  # the passage that gave most, None as well


def on_show(answer: Answer, contrast: Contrast | None, evidence: Evidence | None, titles: Mapping[int, str]) -> Shown:
    """What is known of a text, token by token."""
    lift: tuple[float | None, ...] = (None,) * len(answer.steps)
    if contrast:
        lift = tuple(x if abs(x) >= contrast.noise_floor else None for x in contrast.lift)
    leading = tuple(leading_passage(evidence, n) for n in range(len(answer.steps)))
    return Shown(answer, contrast, evidence, titles, lift, leading)


def token(shown: Shown, n: int, t: Words) -> Json:
    """The n-th token."""
    step = shown.answer.steps[n]
    return {
        "id": step.token_id,
        **_text(shown.answer, n, t),
        "bands": _bands(shown, n),
        "mark": _mark(shown, n),
        "says": _says(shown, n, t),
        "facts": _facts(shown, n, t),
        "alternatives": alternatives(step),
        "others": others(step),
    }


def _bands(shown: Shown, n: int) -> dict[str, str | None]:
    """The band in each colouring, None where there is none."""
    step, leading = shown.answer.steps[n], shown.leading[n]
    return {
        "probability": band(step.logprob),
        "rank": rank_band(step.rank),
        "entropy": entropy_band(step.entropy),
        "lift": lift_band(shown.lift[n] or 0.0) if shown.contrast else None,
        "passage": passage_band(list(shown.titles).index(leading.rank)) if leading else None,
    }


def _text(answer: Answer, n: int, t: Words) -> Json:
    """What shows a token in the answer, and its name for those who hear it."""
    text = answer.steps[n].text
    if not text:
        ends = n >= len(answer.written)
        return {"text": END if ends else PART, "name": t("token-name-end") if ends else t("token-name-part")}
    if not text.strip():
        return {"text": in_flow(text), "name": t("token-name-break") if "\n" in text else t("token-name-blank")}
    return {"text": in_flow(text), "name": in_flow(text).strip()}


def leading_passage(evidence: Evidence | None, n: int) -> PassageValues | None:
    """The passage that gave most to a token, None where what it gave is noise."""
    if evidence is None:
        return None
    first = max(evidence.passages, key=lambda one: one.values[n], default=None)
    return first if first and first.values[n] >= evidence.contrast.noise_floor else None


def _mark(shown: Shown, n: int) -> str | None:
    """The leading passage's number, where a run of tokens that lean on it ends: read like a reference."""
    leading, after = (*shown.leading, None)[n : n + 2]
    if leading is None or (after and after.rank == leading.rank):
        return None
    return f"[{leading.rank}]"


def _says(shown: Shown, n: int, t: Words) -> Json:
    """What a token says of itself in each colouring, for those who do not see it."""
    step, lift, leading = shown.answer.steps[n], shown.lift[n], shown.leading[n]
    return {
        "probability": t("token-says-probability", value=probability(step.logprob)),
        "rank": t("token-says-rank", value=step.rank),
        "entropy": t("token-says-entropy", value=f"{step.entropy:.2f}"),
        "lift": t("token-band-same") if lift is None else t("token-says-lift", value=signed(lift)),
        "passage": t("token-says-passage", value=leading.rank) if leading else t("token-no-passage"),
    }


def fact_names(shown: Shown, t: Words) -> list[str]:
    """What the lines of a token's card are called, in the order of its `facts`."""
    names = [t("token-fact-model"), t("token-fact-drawn"), t("token-fact-rank"), t("token-fact-entropy")]
    names += [t("token-fact-without"), t("token-fact-lift")] if shown.contrast else []
    return names + ([t("token-fact-passage")] if shown.evidence else [])


def _facts(shown: Shown, n: int, t: Words) -> list[str]:
    step = shown.answer.steps[n]
    facts = [_both(step.logprob, t), _both(step.sampled_logprob, t)]
    facts += [str(step.rank), t("token-nats", value=f"{step.entropy:.2f}")]
    if shown.contrast:
        lift = shown.lift[n]
        facts.append(_both(shown.contrast.without[n], t))
        facts.append(t("token-band-same") if lift is None else t("token-nats", value=signed(lift)))
    if shown.evidence:
        one = shown.leading[n]
        given = one and t("token-gave", rank=one.rank, title=shown.titles[one.rank], value=signed(one.values[n]))
        facts.append(given or t("token-no-passage"))
    return facts


def _both(logprob: float, t: Words) -> str:
    """A probability and its logarithm."""
    if logprob == -math.inf:
        return t("token-filtered")
    return t("token-both", probability=probability(logprob), logprob=nats(logprob))


def alternatives(step: TokenStep) -> list[Json]:
    """The most probable tokens as rows, best first; exactly one of them was chosen, last if it was not among them."""
    rows = list(step.alternatives)
    if all(a.token_id != step.token_id for a in rows):
        rows.append(Alternative(step.token_id, step.text, step.logprob, step.sampled_logprob))
    return [
        {
            "id": a.token_id,
            "text": alone(a.text),
            "model": share(a.logprob),
            "drawn": share(a.sampled_logprob),
            "modelText": probability(a.logprob),
            "drawnText": probability(a.sampled_logprob) if a.sampled_logprob > -math.inf else "–",
            "chosen": a.token_id == step.token_id,
        }
        for a in rows
    ]


def others(step: TokenStep) -> Json:
    """What is left for all the other tokens, so that the rows sum to one."""
    rows = alternatives(step)
    left = {name: max(0.0, 1 - sum(row[name] for row in rows)) for name in ("model", "drawn")}
    texts = {f"{name}Text": probability(math.log(x)) if x else probability(-math.inf) for name, x in left.items()}
    return {**left, **texts}


def share(logprob: float) -> float:
    """A probability as the length of a bar, in as many digits as can be seen."""
    return min(1.0, round(math.exp(logprob), 6))
