"""Why an answer failed or was declined, in words: a rule over what was measured. Asks no model, and may say nothing.

1. "the passages disagree": the answer stands in a sentence of one passage, and another passage has that sentence with
   something else in its place: at most one in seven of the other words is missing, of which there are at least four;
   or, where the evidence is known, one passage made the answer clearly more probable and another clearly less.
2. "found but not used": a refusal to which the model gave less than half of the probability, so that answers from the
   passages had more; or an answer that the documents hardly made more probable, though a passage names at least half of
   what the question asks about.
3. "not found in the documents": any other refusal, a question without passages, and an answer that was less probable
   than the refusal.
4. "said by the model, not by the documents": any other answer that the documents hardly made more probable.

Clearly is by `CLEAR` nats, hardly is by less than `HARDLY`. An answer that leans on the documents and is unsure all the
same has no reason here.
"""

import math

from rag.evidence import Evidence
from rag.schema import Answer, Prompt
from rag.stopping import sentences
from rag.wording import content, share, stands, words

DISAGREE = "the passages disagree"
NOT_FOUND = "not found in the documents"
NOT_USED = "found but not used"
DOUBTED = "the model itself would rather have declined"
BY_THE_MODEL = "said by the model, not by the documents"
CLEAR, HARDLY = 2.0, 1.0  # nats, of an answer's text
_FRAME, _MISSING = 4, 7  # words around an answer that make a sentence known; of so many one may be another
_HALF = math.log(0.5)


def why(answer: Answer, refusal: float | None = None, evidence: Evidence | None = None) -> str | None:
    """Why an answer is not to be relied on; None where none of the rules says so.

    `refusal` is the log-probability of the refusal sentence in its place, where that is known.
    """
    if not answer.prompt.passages:
        return NOT_FOUND if answer.abstained else None
    if not answer.steps:  # the model was not asked, and why is said elsewhere
        return None
    if _contradicted(answer) or (evidence is not None and _opposed(evidence)):
        return DISAGREE
    logprob = sum(step.logprob for step in answer.written)
    if answer.abstained and answer.confidence is None:  # the model's own refusal
        return NOT_USED if logprob < _HALF else NOT_FOUND
    if refusal is not None and refusal > logprob:
        return NOT_FOUND
    if answer.contrast is not None and answer.contrast.total < HARDLY:
        return NOT_USED if _asked_about(answer) >= 0.5 else BY_THE_MODEL
    return None


def closest_sentence(prompt: Prompt) -> tuple[int, int, int] | None:
    """Where most of the question's words stand in one sentence: the passage's rank, start and end; what to read first.

    Of equal ones the best passage's, and there the first; None where no sentence has any of them. A heading is none.
    """
    asked = content(prompt.question)
    found = [
        (share(asked, content(p.passage.text[start:end])), -p.rank, -start, end)
        for p in prompt.passages
        for start, end in sentences(p.passage.text[: p.read])
        if not p.passage.text.startswith("#", start)
    ]
    most, rank, start, end = max(found, default=(0.0, 0, 0, 0))
    return (-rank, -start, end) if most else None


def _contradicted(answer: Answer) -> bool:
    """Whether a sentence that holds the answer stands in another passage with something else in the answer's place."""
    read = [p.passage.text[: p.read] for p in answer.prompt.passages]
    said = [[text[start:end] for start, end in sentences(text)] for text in read]
    others = [[words(sentence) for sentence in of_one if not stands(answer.text, sentence)] for of_one in said]
    for n, of_one in enumerate(said):
        for sentence in of_one:
            frame = words(sentence) - words(answer.text)
            if len(frame) >= _FRAME and stands(answer.text, sentence):
                rival = (one for m, rest in enumerate(others) if m != n for one in rest)
                if any(_MISSING * len(frame - one) <= len(frame) and one - frame for one in rival):
                    return True
    return False


def _opposed(evidence: Evidence) -> bool:
    values = [passage.total for passage in evidence.passages]
    return max(values, default=0.0) >= CLEAR and min(values, default=0.0) <= -CLEAR


def _asked_about(answer: Answer) -> float:
    """The largest share of the question's words that one passage holds."""
    asked = content(answer.prompt.question)
    return max((share(asked, content(p.passage.text[: p.read])) for p in answer.prompt.passages), default=0.0)
