"""Why an answer failed or was declined, in words: a rule over what was measured. Asks no model, and may say nothing.

1. "the passages disagree": versions of a passage were read (near-copies that differ in a number or a name), the answer
   stands in one of them and not in another; or, where the evidence is known, one passage made the answer clearly more
   probable and another clearly less.
2. "found but not used": a refusal to which the model gave less than half of the probability, so that answers from the
   passages had more; or an answer that the documents hardly made more probable, though the best passage names at least
   half of what the question asks about.
3. "not found in the documents": any other refusal, a question without passages, and an answer that was less probable
   than the refusal.
4. "said by the model, not by the documents": any other answer that the documents hardly made more probable.

Clearly is by `CLEAR` nats, hardly is by less than `HARDLY`. An answer that leans on the documents and is unsure all the
same has no reason here.
"""

import re

from rag.confidence import quotes, written
from rag.evidence import Evidence, Signals
from rag.schema import Answer

DISAGREE = "the passages disagree"
NOT_FOUND = "not found in the documents"
NOT_USED = "found but not used"
BY_THE_MODEL = "said by the model, not by the documents"
CLEAR, HARDLY = 2.0, 1.0  # nats, of an answer's text
_HALF = -0.6931471805599453  # log 1/2
_NAMES_NOTHING = re.compile(
    "what|when|where|which|whose|whom|does|have|many|much|long|often|that|this|with|from|were|will|would|could|should|"
    "about|there|their|they|been|being|after|before|into|than|then|them|also|some|other"
)


def why(answer: Answer, signals: Signals, evidence: Evidence | None = None) -> str | None:
    """Why an answer is not to be relied on; None where none of the rules says so."""
    if not answer.prompt.passages:
        return NOT_FOUND if answer.abstained else None
    if _versions_differ(answer) or (evidence is not None and _opposed(evidence)):
        return DISAGREE
    logprob = sum(step.logprob for step in written(answer))
    if answer.abstained and answer.confidence is None:  # the model's own refusal
        return NOT_USED if logprob < _HALF else NOT_FOUND
    if signals.refusal is not None and signals.refusal > logprob:
        return NOT_FOUND
    if signals.lift is not None and signals.lift < HARDLY:
        return NOT_USED if _asked_about(answer) >= 0.5 else BY_THE_MODEL
    return None


def _versions_differ(answer: Answer) -> bool:
    """Whether the answer stands in one version of a passage, and another was read that does not hold it."""
    versions = [passage for passage in answer.prompt.passages if passage.newest is not None]
    holding = [passage for passage in versions if quotes(passage, answer.text)]
    return 0 < len(holding) < len(versions)


def _opposed(evidence: Evidence) -> bool:
    values = [passage.total for passage in evidence.passages]
    return max(values, default=0.0) >= CLEAR and min(values, default=0.0) <= -CLEAR


def _asked_about(answer: Answer) -> float:
    """The largest share of the question's words, those of four letters or more, that one passage holds."""
    words = re.findall(r"[\u4e00-\u9fff]|\w{4,}", answer.prompt.question.casefold())
    asked = {word for word in words if not _NAMES_NOTHING.fullmatch(word)}
    texts = [passage.passage.text[: passage.read].casefold() for passage in answer.prompt.passages]
    return max((sum(word in text for word in asked) for text in texts), default=0) / max(len(asked), 1)
