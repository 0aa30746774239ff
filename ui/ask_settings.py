"""The sidebar of the page Ask: what is asked of which documents, and how it is written. Every control stays as set."""

import contextlib
import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from rag.index import open_catalog
from rag.index.collections import holdings
from rag.retrieval import EVERYTHING
from rag.schema import Filter, SamplingParams
from rag.settings import Settings
from ui import resources
from ui.commands import sampling_params
from ui.words import Words

_MOST = 10  # passages
_FIRST, _LAST = datetime.date(1000, 1, 1), datetime.date(2999, 12, 31)
_STYLES = {
    "auto": "ask-style-auto",
    "cited": "ask-style-cited",
    "steps": "ask-style-steps",
    "summary": "ask-style-summary",
}


def _kept(key: str, default: object) -> dict[str, Any]:
    """What makes the value of a control stay through other languages and other pages."""
    st.session_state.setdefault(key, default)
    return {"key": key, "persist_state": "session"}


def choose_style(t: Words) -> str:
    """The template; the settings' own comes first."""
    own = resources.settings().template
    names = list(dict.fromkeys([own, *_STYLES]))
    return str(
        st.selectbox(
            t("ask-style"),
            names,
            format_func=lambda name: t(_STYLES[name]) if name in _STYLES else t("ask-style-own", name=Path(name).stem),
            **_kept("ask-style", own),
        )
    )


def choose_passages(settings: Settings, t: Words) -> int:
    """How many passages are read."""
    kept = _kept("ask-passages", min(settings.passages, _MOST))
    return int(st.slider(t("ask-passages"), 1, _MOST, **kept, help=t("ask-passages-help")))


def choose_filter(collection: str, t: Words) -> Filter:
    """Which documents may answer."""
    with st.expander(t("ask-only")):
        types, tags, paths = _known(collection)
        names = labels(paths)
        chosen = Filter(
            types=_some("ask-types", types, t),
            tags=_some("ask-tags", tags, t),
            documents=_some("ask-documents", paths, t, names.__getitem__),
            since=_day(st.date_input(t("ask-since"), None, _FIRST, _LAST, **_kept("ask-since", None))),
            until=_day(st.date_input(t("ask-until"), None, _FIRST, _LAST, **_kept("ask-until", None))),
        )
    if chosen != EVERYTHING:
        wanted = (chosen.types, chosen.tags, chosen.documents, chosen.since, chosen.until)
        st.caption(t("ask-filtered", n=sum(map(bool, wanted))))
    return chosen


def _some(name: str, options: Sequence[str], t: Words, shown: Callable[[str], str] = str) -> tuple[str, ...]:
    """Choose some of what a collection holds; what it does not hold is no longer chosen."""
    kept = _kept(name, [])
    before = st.session_state[kept["key"]]
    held = [one for one in before if one in options]
    if held != before:  # setting it anew each time would undo what is being chosen right now
        st.session_state[kept["key"]] = held
    return tuple(st.multiselect(t(name), options, format_func=shown, placeholder=t("app-choose"), **kept))


def labels(paths: Sequence[str]) -> dict[str, str]:
    """A name for each path: as much of its end as tells it from the others."""
    found = {path: Path(path).name for path in paths}
    for depth in range(2, 12):
        counts = Counter(found.values())
        if len(counts) == len(found):
            return found
        found = {p: "/".join(Path(p).parts[-depth:]) if counts[name] > 1 else name for p, name in found.items()}
    return {path: path for path in paths}


def _known(collection: str) -> tuple[list[str], list[str], list[str]]:
    """The kinds of file, the tags and the files of a collection."""
    chosen = replace(resources.settings(), collection=collection)
    with contextlib.closing(open_catalog(chosen.collection_dir)) as catalog:
        held = [one for one in holdings(catalog, EVERYTHING) if one.document]
    types = sorted({Path(one.path).suffix.lstrip(".").lower() for one in held})
    return types, sorted({tag for one in held for tag in one.tags}), [one.path for one in held]


def _day(day: Any) -> str | None:
    return day.isoformat() if isinstance(day, datetime.date) else None


def choose_writing(settings: Settings, t: Words) -> SamplingParams:
    """How the next token is chosen and when to stop; the controls leave room only for what makes sense."""
    defaults = sampling_params(settings, ())
    st.subheader(t("ask-writing"))
    longest = min(max(defaults.max_new_tokens, 8), 512)
    chosen: dict[str, Any] = {
        "temperature": st.slider(
            t("ask-temperature"),
            *(0.0, 2.0),
            step=0.05,
            **_kept("ask-temperature", min(defaults.temperature, 2.0)),
            help=t("ask-temperature-help"),
        ),
        "max_new_tokens": st.slider(t("ask-longest"), 8, 512, step=8, **_kept("ask-longest", longest)),
        "stop_at_sentence_end": st.toggle(
            t("ask-one-sentence"), **_kept("ask-sentence", defaults.stop_at_sentence_end)
        ),
    }
    with st.expander(t("ask-technical")):
        chosen |= _technical(defaults, t)
    chosen["min_new_tokens"] = min(defaults.min_new_tokens, chosen["max_new_tokens"])
    wanted = replace(defaults, **chosen, beams=1, length_penalty=1.0, alternatives=8)
    if not wanted.is_plainly_greedy:  # a beam search takes no control: the first one that is touched ends it
        return wanted
    return replace(wanted, beams=defaults.beams, length_penalty=defaults.length_penalty)


def _technical(defaults: SamplingParams, t: Words) -> dict[str, Any]:
    def share(name: str, label: str, meaning: str) -> float:
        kept = _kept(f"ask-{name}", getattr(defaults, name))
        return float(st.slider(t(label), 0.0, 1.0, step=0.01, **kept, help=t(meaning)))

    top_k = st.number_input(t("ask-top-k"), 0, **_kept("ask-top_k", defaults.top_k), help=t("ask-top-k-help"))
    shares: dict[str, float] = {
        "top_p": share("top_p", "ask-top-p", "ask-top-p-help"),
        "min_p": share("min_p", "ask-min-p", "ask-min-p-help"),
        "typical_p": share("typical_p", "ask-typical-p", "ask-typical-p-help"),
    }
    penalty = defaults.repetition_penalty
    repetition = st.slider(
        t("ask-penalty"),
        *(min(0.5, penalty), max(2.0, penalty)),
        step=0.05,
        **_kept("ask-penalty", penalty),
        help=t("ask-penalty-help"),
    )
    ngram = st.number_input(t("ask-ngram"), 0, **_kept("ask-ngram", defaults.no_repeat_ngram), help=t("ask-ngram-help"))
    seed = st.number_input(t("ask-seed"), 0, 2**53 - 1, None, **_kept("ask-seed", defaults.seed))
    stop = st.text_input(t("ask-stop-text"), **_kept("ask-stop", ""))
    return {
        "top_k": top_k,
        **shares,
        "repetition_penalty": repetition,
        "no_repeat_ngram": ngram,
        "seed": seed,
        "stop": (stop,) if stop else (),
    }
