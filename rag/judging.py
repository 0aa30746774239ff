"""An answer -> the same with what the documents changed, its confidence, what follows, and why it failed."""

from dataclasses import replace

from rag.confidence import Calibration, features
from rag.contrast import contrast, refusal_logprob
from rag.errors import PromptError
from rag.generation import LocalGenerator
from rag.reasons import DISAGREE, DOUBTED, NOT_FOUND, why
from rag.schema import Answer
from rag.templates import Template

UNSURE = "the answer is too likely to be wrong"


def judge(answer: Answer, template: Template, generator: LocalGenerator, calibration: Calibration | None) -> Answer:
    """Judge a finished answer with the template and model that wrote it: two short prompts, a third for a confidence.

    A refusal has a reason, and neither a contrast nor a confidence. One that was cut off is left as it is.
    """
    if answer.finish_reason == "cancelled":
        return answer
    if answer.abstained:
        on = calibration.measured_on if calibration else None
        return replace(answer, calibrated_on=on, reason=why(answer))
    if not answer.written or not answer.prompt.passages:
        return answer
    refusal = None
    try:
        answer = replace(answer, contrast=contrast(answer, template, generator))
        refusal = refusal_logprob(answer.prompt.token_ids, template, generator) if calibration else None
    except PromptError:  # the context window leaves no room to ask
        pass
    if calibration is None or refusal is None:
        return replace(answer, reason=why(answer))
    confidence = calibration.model.probability(features(answer, refusal))
    advice = calibration.advice(confidence)
    answer = replace(answer, confidence=confidence, calibrated_on=calibration.measured_on)
    reason = why(answer, refusal)
    if advice == "answer":
        advice, reason = ("warn", reason) if reason == DISAGREE else (advice, None)  # that one holds however sure it is
    if advice == "warn" and reason == NOT_FOUND:  # it is, and the model did not believe it
        reason = DOUBTED
    return replace(answer, advice=advice, reason=reason, abstained=UNSURE if advice == "decline" else None)
