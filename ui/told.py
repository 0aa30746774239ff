"""Told: all that is kept of an answer, as JSON and back. Knows no database and no page."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from rag.errors import InputError
from rag.evidence import Citation, Evidence
from rag.schema import Answer, Prompt, SamplingParams, Timings

UNREADABLE = "what was stored of this answer cannot be read"  # the reason of what `remains` of one


@dataclass(frozen=True, slots=True)
class Told:
    """All that is kept of an answer: what it leans on, where that was computed, and what was written on from it."""

    answer: Answer
    citations: tuple[Citation, ...] = ()
    settings: Mapping[str, str | int] = field(default_factory=dict)  # what the answer itself does not say
    evidence: Evidence | None = None
    branches: tuple[Answer, ...] = ()


_TOLD = TypeAdapter(Told)


def as_json(told: Told) -> str:
    """Minus infinity, the log-probability of a token that was filtered out, is written `-Infinity`."""
    return json.dumps(dataclasses.asdict(told), ensure_ascii=False)


def read(text: str) -> Told:
    """The same again; what an older version did not write has its default. Raises `InputError` where it is no such."""
    try:
        return _TOLD.validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"This answer cannot be read as it was stored ({error.errors()[0]['msg']}); ask again."
        ) from error


def remains(question: str, text: str, collection: str) -> Told:
    """What is left of an answer that cannot be read: its question and its text, and no more. Its reason says so."""
    prompt = Prompt(question, "auto", (), (), "", ())
    params, timings = SamplingParams(), Timings(0.0, None, 0.0)
    answer = Answer(prompt, text, (), params, "?", timings, reason=UNREADABLE)
    return Told(answer, settings={"collection": collection, "template": "auto"})
