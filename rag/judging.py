"""An answer -> the same answer with its confidence, what follows from it, and why it failed where it did."""

from dataclasses import replace

from rag.confidence import Calibration, features
from rag.contrast import signals
from rag.errors import PromptError
from rag.evidence import Signals
from rag.generation import LocalGenerator
from rag.reasons import DISAGREE, why
from rag.schema import Answer
from rag.templates import Template

UNSURE = "the answer is too likely to be wrong"


def judge(answer: Answer, template: Template, generator: LocalGenerator, calibration: Calibration | None) -> Answer:
    """Judge a finished answer with the template and model that wrote it; two short prompts where it is calibrated.

    A refusal has a reason and no confidence. One that was cut off is left as it is.
    """
    if answer.finish_reason == "cancelled":
        return answer
    on = calibration.measured_on if calibration else None
    if answer.abstained:
        return replace(answer, calibrated_on=on, reason=why(answer, Signals()))
    measured = _signals(answer, template, generator) if calibration else None
    if calibration is None or measured is None:
        return replace(answer, reason=_certain(why(answer, Signals())))
    confidence = calibration.model.probability(features(answer, measured))
    advice = calibration.advice(confidence)
    answer = replace(answer, confidence=confidence, calibrated_on=on)
    reason = why(answer, measured)
    if advice == "answer":
        reason = _certain(reason)
        advice = "warn" if reason else advice
    return replace(answer, advice=advice, reason=reason, abstained=UNSURE if advice == "decline" else None)


def _certain(reason: str | None) -> str | None:
    """A reason that holds whatever the confidence is."""
    return reason if reason == DISAGREE else None


def _signals(answer: Answer, template: Template, generator: LocalGenerator) -> Signals | None:
    """What the confidence needs; None where nothing was written, or the context window leaves no room to ask."""
    if not answer.steps or not answer.prompt.passages:
        return None
    try:
        return signals(answer, template, generator)
    except PromptError:
        return None
