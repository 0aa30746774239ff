"""How far to trust an answer, in the page's words: one line for everybody, and what each part of it means."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rag import reasons
from rag.assistant import FOREIGN, NOTHING_FOUND, SAID_SO
from rag.evidence import Evidence
from rag.judging import UNSURE
from rag.schema import Answer, Contrast, Prompt
from ui.evidence import reason
from ui.told import UNREADABLE
from ui.words import Words, in_words

_ABSTAINED = {
    NOTHING_FOUND: "trust-nothing-found",
    FOREIGN: "trust-foreign",
    SAID_SO: "trust-said-so",
    UNSURE: "trust-unsure",
}
_REASONS = {
    reasons.DISAGREE: "reason-disagree",
    reasons.NOT_FOUND: "reason-not-found",
    reasons.NOT_USED: "reason-not-used",
    reasons.DOUBTED: "reason-doubted",
    reasons.BY_THE_MODEL: "reason-by-the-model",
    UNREADABLE: "reason-unreadable",
}
_LITTLE = 0.05  # nats: a factor of 1.05


@dataclass(frozen=True, slots=True)
class Trust:
    """What stands above an answer."""

    line: tuple[str, ...]  # its parts, from the most important on
    meanings: tuple[str, ...]  # what the figures in it are, a sentence each
    declined: str | None  # why no answer is given, as a sentence
    reason: str | None  # why not to rely on it, as a sentence


def trust(answer: Answer, t: Words, evidence: Evidence | None = None) -> Trust:
    """What a person should know before believing an answer, with what its evidence adds where that was computed."""
    why = reason(answer, evidence) if evidence else answer.reason
    parts = list(_parts(answer, t))
    return Trust(
        line=tuple(part for part, _ in parts),
        meanings=tuple(meaning for _, meaning in parts if meaning),
        declined=_said(answer.abstained, _ABSTAINED, t),
        reason=_said(why, _REASONS, t),
    )


def _said(why: str | None, keys: Mapping[str, str], t: Words) -> str | None:
    """A reason in the page's words; as it was stored, where another version of this program gave it."""
    return t(keys[why]) if why is not None and why in keys else why


def _parts(answer: Answer, t: Words) -> Iterator[tuple[str, str]]:
    """The parts of the line, each with what it means."""
    if answer.abstained:
        yield t("trust-declined"), ""
    if answer.reason == UNREADABLE:
        yield t("trust-unreadable"), ""
    elif answer.finish_reason == "cancelled" or not (answer.steps or answer.abstained):
        yield t("ask-stopped"), ""
    elif answer.confidence is not None and answer.calibrated_on is not None:
        percent = min(max(round(100 * answer.confidence), 1), 99)  # nothing that was fitted is certain
        said = "trust-would-have" if answer.advice is None else "trust-confidence"
        meaning = "trust-would-have-meaning" if answer.advice is None else "trust-confidence-meaning"
        yield t(said, percent=percent), t(meaning, percent=percent, data=in_words(answer.calibrated_on, t))
    elif answer.steps and answer.calibrated_on is None:
        yield t("trust-uncalibrated"), t("trust-uncalibrated-meaning")
    if answer.advice == "warn":
        yield t("trust-warn"), ""
    if answer.contrast and not answer.abstained:
        yield lift(answer.contrast, t), t("trust-lift-meaning", nats=f"{answer.contrast.total:+.1f}")
    for sentence in left_out(answer.prompt, t):
        yield sentence, ""


def lift(changed: Contrast, t: Words) -> str:
    """How much more probable the documents made an answer's text, as a factor."""
    total = changed.total
    if abs(total) < max(_LITTLE, changed.noise_floor * changed.written):
        return t("trust-lift-none")
    return t("trust-lift-more" if total > 0 else "trust-lift-less", times=_factor(abs(total)))


def _factor(nats: float) -> str:
    """exp(nats) as a person reads it: two digits, and a power of ten from a million on."""
    power = nats / math.log(10)
    if power >= 6:
        return f"10^{power:.0f}"
    factor = math.exp(nats)
    return f"{factor:.1f}" if factor < 9.95 else f"{float(f'{factor:.2g}'):,.0f}"


def left_out(prompt: Prompt, t: Words) -> Iterator[str]:
    """What was found or said before, but was not read for want of room."""
    read, found = len(prompt.passages), len(prompt.passages) + len(prompt.left_out)
    cut = any(p.read is not None for p in prompt.passages)
    if found > read or cut:
        yield ", ".join([t("trust-read", read=read, found=found), *([t("trust-cut")] if cut else [])])
    if prompt.turns_left_out:
        turns = len(prompt.history)
        yield t("trust-turns", read=turns, found=turns + prompt.turns_left_out)
