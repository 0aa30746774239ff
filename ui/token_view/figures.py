"""The token view's two figures as data: log-probabilities along the answer, and its sentences by passages.

Pure functions; nothing is drawn here.
"""

import math
from collections.abc import Mapping
from typing import Any

from rag.contrast import answer_sentences
from rag.evidence import Evidence
from rag.schema import Answer, Contrast
from ui.token_view.bands import heat_band
from ui.token_view.signs import in_flow, nats, signed
from ui.words import Words

Json = dict[str, Any]
_METHODS = {"shapley": "token-heat-shapley", "first and last": "token-heat-ends"}


def finite(value: float) -> float | None:
    """A number that JSON can hold, in as many digits as can be seen; None where it is none."""
    return round(value, 6) if math.isfinite(value) else None


def timeline(answer: Answer, contrast: Contrast | None, t: Words) -> Json | None:
    """Log p of each token with the documents, and without them where that is known; None for an empty answer."""
    if not answer.steps:
        return None
    with_documents = [step.logprob for step in answer.steps]
    without = list(contrast.without) if contrast else None
    lowest = min((x for x in [*with_documents, *(without or [])] if math.isfinite(x)), default=0.0)
    ticks = _ticks(lowest)
    total = nats(sum(with_documents))
    about = t("token-timeline-about", logprob=total)
    if without:
        about = t("token-timeline-about-both", logprob=total, without=nats(sum(without)))
    return {
        "title": t("token-timeline"),
        "about": about,
        "with": [finite(x) for x in with_documents],
        "without": without and [finite(x) for x in without],
        "labels": {"with": t("token-timeline-with"), "without": t("token-timeline-without")},
        "ticks": [{"value": x, "text": nats(x) if x % 1 else f"{x:.0f}".replace("-", "−")} for x in ticks],
        "low": ticks[-1],
        "readings": [_reading(a, without[n] if without else None, t) for n, a in enumerate(with_documents)],
    }


def _reading(with_documents: float, without: float | None, t: Words) -> str:
    """What the line says where the pointer is."""
    if without is None:
        return t("token-reading", logprob=nats(with_documents))
    return t("token-reading-both", logprob=nats(with_documents), without=nats(without))


def _ticks(lowest: float) -> list[float]:
    """Where the axis has lines, from 0 down to one at or below the lowest value; three to six of them."""
    low = min(lowest, -1.0)
    step = next(s for s in (0.5, 1, 2, 5, *(10.0**n for n in range(1, 300))) if -low / s <= 5)
    return [0.0, *(-step * n for n in range(1, math.ceil(-low / step) + 1))]


def heat(answer: Answer, evidence: Evidence, titles: Mapping[int, str], t: Words) -> Json:
    """A row a sentence, a column a passage, in nats; differences below the noise are left blank.

    The last row is the whole answer. Its cells are the sums of the columns.
    """
    passages = sorted(evidence.passages, key=lambda one: one.rank)
    sentences = list(answer_sentences(answer))
    table = [[sum(one.values[n] for n in tokens) for one in passages] for _, _, tokens in sentences]
    largest = max((abs(value) for row in table for value in row), default=0.0)
    floor = evidence.contrast.noise_floor
    rows = [
        {
            "text": in_flow(answer.text[start:end]),
            "tokens": tokens,
            "cells": [_cell(value, floor * len(tokens), largest) for value in row],
        }
        for (start, end, tokens), row in zip(sentences, table, strict=True)
    ]
    whole = [sum(column) for column in zip(*table, strict=True)] if table else [0.0] * len(passages)
    written = sum(len(tokens) for _, _, tokens in sentences)
    return {
        "title": t("token-heat"),
        "about": t("token-heat-about", method=t(_METHODS[evidence.method])),
        "sentence": t("token-heat-sentence"),
        "columns": [{"mark": f"[{one.rank}]", "title": titles[one.rank]} for one in passages],
        "rows": rows,
        "whole": {"text": t("token-heat-whole"), "cells": [_cell(x, floor * written, 0.0) for x in whole]},
    }


def _cell(value: float, noise: float, largest: float) -> Json:
    """A value as it is printed and shaded; nothing where it is noise."""
    if abs(value) < noise:
        return {"value": None, "text": "", "band": "zero"}
    return {"value": finite(value), "text": signed(value), "band": heat_band(value, largest)}
