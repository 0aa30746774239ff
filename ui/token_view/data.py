"""What the token view draws, as data: every number, band and word is made here, the browser only draws.

Pure functions. What comes out is valid JSON: there is no infinity and no NaN in it, and all of its text is to be set
as text. The figures below the answer are for `figures`.
"""

from collections.abc import Sequence
from typing import Any

from rag.evidence import Evidence
from rag.schema import Answer
from ui.answer_html import place
from ui.token_view import figures
from ui.token_view.bands import SIGNS, passage_band
from ui.token_view.signs import nats
from ui.token_view.tokens import Shown, fact_names, on_show, token
from ui.words import Words

Json = dict[str, Any]
MODES = {
    "probability": ("token-mode-probability", "token-about-probability"),
    "rank": ("token-mode-rank", "token-about-rank"),
    "entropy": ("token-mode-entropy", "token-about-entropy"),
    "lift": ("token-mode-lift", "token-about-lift"),
    "passage": ("token-mode-passage", "token-about-passage"),
}
NOTES = {"lift": "token-note-lift", "passage": "token-note-passage"}  # why a colouring is not at hand
LABELS = {
    "probability": {
        "sure": "token-band-sure",
        "likely": "token-band-likely",
        "unsure": "token-band-unsure",
        "guess": "token-band-guess",
    },
    "rank": {
        "first": "token-band-first",
        "near": "token-band-near",
        "far": "token-band-far",
        "remote": "token-band-remote",
    },
    "entropy": {
        "settled": "token-band-settled",
        "open": "token-band-open",
        "wide": "token-band-wide",
        "lost": "token-band-lost",
    },
    "lift": {
        "much-more": "token-band-much-more",
        "more": "token-band-more",
        "same": "token-band-same",
        "less": "token-band-less",
        "much-less": "token-band-much-less",
    },
}
WORDS = {
    "colourBy": "token-colour-by",
    "group": "token-group",
    "empty": "token-empty",
    "alternatives": "token-alternatives",
    "model": "token-column-model",
    "drawn": "token-column-drawn",
    "others": "token-others",
    "chosen": "token-chosen",
    "branchHint": "token-branch-hint",
    "pinHint": "token-pin-hint",
    "branch": "token-branch",
    "writing": "token-writing",
    "close": "token-close",
    "branches": "token-branches",
    "shown": "token-branch-shown",
}


def view_data(answer: Answer, evidence: Evidence | None, branches: Sequence[Answer], shown: int, t: Words) -> Json:
    """All that the view draws. `shown` is 0 for the answer itself, n for its n-th branch.

    A branch has the lift that it brings with it; the evidence is about the answer and is left out where a branch is
    shown. Raises `IndexError` where `shown` is no branch.
    """
    displayed = [answer, *branches][shown]
    found = evidence if shown == 0 else None
    contrast = found.contrast if displayed.contrast is None and found else displayed.contrast
    text = on_show(displayed, contrast, found, passage_titles(answer, t))
    return {
        "words": {name: t(key) for name, key in WORDS.items()},
        "facts": fact_names(text, t),
        "modes": modes(text, t),
        "text": displayed.text,
        "tokens": [token(text, n, t) for n in range(len(displayed.steps))],
        "choose": True,
        "branches": branch_list(answer, branches, shown, t),
        "timeline": figures.timeline(displayed, contrast, t),
        "heat": figures.heat(displayed, found, text.titles, t) if found else None,
    }


def passage_titles(answer: Answer, t: Words) -> dict[int, str]:
    """What stands behind each [n]: title and place."""
    passages = sorted(answer.prompt.passages, key=lambda p: p.rank)
    return {p.rank: ", ".join(filter(None, (p.passage.title, place(p.passage, t)))) for p in passages}


def modes(shown: Shown, t: Words) -> list[Json]:
    """The ways to colour, each with its legend; one that is not at hand has a note that says why."""
    absent = {"lift": shown.contrast is None, "passage": shown.evidence is None}
    legends = {mode: _legend(mode, t) for mode in LABELS}
    legends["passage"] = [
        {"band": passage_band(n), "sign": "number", "mark": f"[{rank}]", "label": title}
        for n, (rank, title) in enumerate(shown.titles.items())
    ]
    return [
        {
            "id": mode,
            "label": t(label),
            "about": t(about),
            "note": t(NOTES[mode]) if absent.get(mode) else None,
            "legend": [] if absent.get(mode) else legends[mode],
        }
        for mode, (label, about) in MODES.items()
    ]


def _legend(mode: str, t: Words) -> list[Json]:
    signs = SIGNS[mode]
    return [{"band": name, "sign": signs[name], "label": t(key)} for name, key in LABELS[mode].items()]


def branch_list(answer: Answer, branches: Sequence[Answer], shown: int, t: Words) -> list[Json]:
    """The answer and its branches: where each begins to differ from the answer, and how probable the whole is."""
    rows = []
    for n, one in enumerate([answer, *branches]):
        same = common(answer.text, one.text) if n else len(one.text)
        rows.append(
            {
                "text": one.text,
                "before": one.text if not n else _ending(one.text[:same]),
                "rest": one.text[same:],
                "logprob": figures.finite(one.logprob),
                "tokens": len(one.steps),
                "total": t("token-branch-total", logprob=nats(one.logprob), tokens=len(one.steps)),
                "shown": n == shown,
            }
        )
    return rows


def _ending(text: str, most: int = 60) -> str:
    """A text's last characters, for what stands before is the same in all branches."""
    return text if len(text) <= most else f"… {text[-most:].split(' ', 1)[-1]}"


def common(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
