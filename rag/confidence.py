"""Answer -> features -> a calibrated probability of being right, and what follows from it.

Applies what `rag.evaluation.calibration` has fitted: a logistic regression over standardised features, with the two
thresholds of its use, for one language model, template and embedder. Knows numbers and files; asks no model.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag.errors import SettingsError
from rag.schema import Advice, Answer, TokenStep
from rag.stopping import sentences
from rag.templates import Template
from rag.wording import content, share, stands

FORMAT = 1
FEATURES = {
    "logprob_sum": "log-probability of the answer's text, without what ended it",
    "logprob_mean": "and by the token",
    "logprob_min": "of its least probable token",
    "first_entropy": "entropy of its first token",
    "margin": "least distance of a token to the best other one, in nats; negative where it was not the best",
    "lift": "by how much the documents raised its log-probability",
    "refusal": "log-probability of the refusal sentence minus the answer's",
    "alone": "the answer's minus the refusal's in the passage where that is highest when each is read by itself",
    "alone_second": "and in the one where it is second",
    "reread": "1 where another answer was written first",
    "quoted": "1 where its words stand in a passage that was read",
    "agreement": "share of the passages read in which they stand",
    "first": "1 where they stand in the best passage",
    "asked": "largest share of the question's words in a sentence that holds the answer",
    "echo": "share of the answer's words that the question holds",
    "dense": "highest cosine similarity of question and passage",
    "dense_gap": "distance to the second highest",
    "lexical": "log(1 + highest BM25)",
    "length": "log(1 + tokens of the text)",
}
_MOST = 100.0  # nats: beyond, one number stands for minus infinity too
_FAR = 5.0  # standard deviations: an answer farther out counts as if it lay there
Features = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Logistic:
    """p = 1 / (1 + exp(-z)), z = intercept + sum of coefficient * (feature - mean) / scale; an unknown one counts 0."""

    intercept: float
    terms: Mapping[str, tuple[float, float, float]]  # feature: (mean, scale, coefficient)

    def probability(self, features: Mapping[str, float | None]) -> float:
        """Above 0 and below 1."""
        total = self.intercept
        for name, (mean, scale, coefficient) in self.terms.items():
            if (value := features.get(name)) is not None:
                total += coefficient * min(max((value - mean) / scale, -_FAR), _FAR)
        return 1 / (1 + math.exp(-min(max(total, -30.0), 30.0)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted confidence."""

    model: Logistic
    answer_from: float  # an answer with this confidence or more needs no warning
    decline_below: float  # one with less is declined; not above `answer_from`
    made_for: Mapping[str, str]  # see `identity`
    measured_on: str  # the data's name and how many answers, in words

    def advice(self, confidence: float) -> Advice:
        """What to do with an answer of this confidence."""
        if confidence >= self.answer_from:
            return "answer"
        return "warn" if confidence >= self.decline_below else "decline"


def identity(language_model: str, precision: str, template: Template, embedder: str, reading: str) -> dict[str, str]:
    """What a confidence is fitted for: fingerprints of the weights, the form of prompt, and how passages are read."""
    form = json.dumps(asdict(template), sort_keys=True)
    return {
        "language_model": language_model,
        "precision": precision,
        "template": f"{template.name} {hashlib.sha256(form.encode()).hexdigest()[:16]}",
        "embedder": embedder,
        "reading": reading,
    }


def read_calibration(file: Path) -> Calibration:
    """What `rag eval calibrate --out` wrote. Raises `SettingsError`."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']}, not {FORMAT}")
        model = logistic_of(record["model"])
        low, high = (float(record["thresholds"][name]) for name in ("decline_below", "answer_from"))
        if not 0 <= low <= high <= 1:
            raise ValueError("its thresholds are out of order")
        made_for = {str(name): str(value) for name, value in record["made_for"].items()}
        n, name, share = record["answers"], record["data"]["name"], record["data"].get("answered")
        measured_on = f"{n} answers to {name}"
        if share:
            measured_on = f"{n} answers to {name}, {100 * share:.0f} in 100 of the questions answerable"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(
            f"The confidence file {file} cannot be used ({error}); make it with `rag eval calibrate`, "
            "or set confidence to none."
        ) from error
    return Calibration(model, high, low, made_for, measured_on)


def logistic_of(record: Mapping[str, Any]) -> Logistic:
    """A model as its JSON has it. Raises `ValueError`, `KeyError` or `TypeError`."""
    terms = {
        name: (float(term["mean"]), float(term["scale"]), float(term["coefficient"]))
        for name, term in record["features"].items()
    }
    numbers = [float(record["intercept"]), *(x for term in terms.values() for x in term)]
    if unknown := sorted(set(terms) - set(FEATURES)):
        raise ValueError(f"{unknown[0]!r} is no feature")
    if not all(map(math.isfinite, numbers)) or any(scale <= 0 for _, scale, _ in terms.values()):
        raise ValueError("its numbers are none")
    return Logistic(numbers[0], terms)


def logistic_data(model: Logistic) -> dict[str, Any]:
    """The inverse of `logistic_of`."""
    features = {
        name: {"mean": mean, "scale": scale, "coefficient": coefficient}
        for name, (mean, scale, coefficient) in model.terms.items()
    }
    return {"intercept": model.intercept, "features": features}


# features


def features(answer: Answer, refusal: float | None = None) -> Features:
    """The features of an answer, finite numbers each; None where there is nothing to measure.

    `refusal` is the log-probability of the refusal sentence in its place, in nats.
    """
    steps = answer.written
    logprobs = [_bounded(step.logprob) for step in steps]
    passages = answer.prompt.passages
    texts = [p.passage.text[: p.read] for p in passages]
    quoting = [stands(answer.text, text) for text in texts]
    dense = sorted((p.dense for p in passages if p.dense is not None), reverse=True)
    alone = sorted(map(_bounded, answer.alone or ()), reverse=True)
    lexical = [p.lexical for p in passages if p.lexical is not None]
    found = {
        "logprob_sum": _bounded(sum(logprobs)),
        "logprob_mean": sum(logprobs) / len(logprobs) if logprobs else None,
        "logprob_min": min(logprobs, default=None),
        "first_entropy": steps[0].entropy if steps else None,
        "margin": min((m for step in steps if (m := _margin(step)) is not None), default=None),
        "lift": None if answer.contrast is None else _bounded(answer.contrast.total),
        "refusal": None if refusal is None else _bounded(refusal - sum(logprobs)),
        "alone": alone[0] if alone else None,
        "alone_second": alone[1] if len(alone) > 1 else None,
        "reread": None if answer.alone is None else float(answer.at_first is not None),
        "quoted": float(any(quoting)) if passages else None,
        "agreement": sum(quoting) / len(passages) if passages else None,
        "first": float(any(q and p.rank == 1 for q, p in zip(quoting, passages, strict=True))) if passages else None,
        "asked": _best_asked(answer.prompt.question, answer.text, texts) if passages else None,
        "echo": share(content(answer.text), content(answer.prompt.question)),
        "dense": dense[0] if dense else None,
        "dense_gap": dense[0] - dense[1] if len(dense) > 1 else None,
        "lexical": math.log1p(max(0.0, *lexical)) if lexical else None,
        "length": math.log1p(len(steps)),
    }
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def _best_asked(question: str, said: str, texts: Sequence[str]) -> float:
    """The largest share of the question's words in a sentence that holds the answer; 0 where none does."""
    asked = content(question)
    spans = ((text[start:end] for start, end in sentences(text)) for text in texts)
    return max((share(asked, content(one)) for of_one in spans for one in of_one if stands(said, one)), default=0.0)


def _bounded(nats: float) -> float:
    return min(max(nats, -_MOST), _MOST)


def _margin(step: TokenStep) -> float | None:
    """How far a token was from the best other one; None where no other one was recorded."""
    others = [a.logprob for a in step.alternatives if a.token_id != step.token_id]
    return _bounded(_bounded(step.logprob) - max(others)) if others else None
