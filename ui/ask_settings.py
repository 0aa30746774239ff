"""The sidebar of the page Ask: what is asked of which documents, and how it is written. Every control stays as set."""

import contextlib
import datetime
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

_STYLES = {
    "auto": "ask-style-auto",
    "cited": "ask-style-cited",
    "steps": "ask-style-steps",
    "summary": "ask-style-summary",
}


def choose_style(t: Words) -> str:
    """The template; the settings' own comes first."""
    own = resources.settings().template
    names = list(dict.fromkeys([own, *_STYLES]))
    return str(
        st.selectbox(
            t("ask-style"),
            names,
            format_func=lambda name: t(_STYLES[name]) if name in _STYLES else t("ask-style-own", name=Path(name).stem),
        )
    )


def choose_filter(collection: str, t: Words) -> Filter:
    """Which documents may answer."""
    with st.expander(t("ask-only")):
        types, tags, paths = _known(collection)
        chosen = Filter(
            types=tuple(st.multiselect(t("ask-types"), types)),
            tags=tuple(st.multiselect(t("ask-tags"), tags)),
            documents=tuple(st.multiselect(t("ask-documents"), paths, format_func=lambda path: Path(path).name)),
            since=_day(st.date_input(t("ask-since"), None)),
            until=_day(st.date_input(t("ask-until"), None)),
        )
    if chosen != EVERYTHING:
        wanted = (chosen.types, chosen.tags, chosen.documents, chosen.since, chosen.until)
        st.caption(t("ask-filtered", n=sum(map(bool, wanted))))
    return chosen


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
    chosen: dict[str, Any] = {
        "temperature": st.slider(
            t("ask-temperature"), 0.0, 2.0, min(defaults.temperature, 2.0), 0.05, help=t("ask-temperature-help")
        ),
        "max_new_tokens": st.slider(t("ask-longest"), 8, 512, min(max(defaults.max_new_tokens, 8), 512), 8),
        "stop_at_sentence_end": st.toggle(t("ask-one-sentence"), defaults.stop_at_sentence_end),
    }
    with st.expander(t("ask-technical")):
        chosen |= _technical(defaults, t)
    longest = chosen["max_new_tokens"]
    return replace(defaults, **chosen, min_new_tokens=min(defaults.min_new_tokens, longest), alternatives=8)


def _technical(defaults: SamplingParams, t: Words) -> dict[str, Any]:
    def share(label: str, meaning: str, value: float) -> float:
        return st.slider(t(label), 0.0, 1.0, value, 0.01, help=t(meaning))

    top_k = st.number_input(t("ask-top-k"), 0, value=defaults.top_k, help=t("ask-top-k-help"))
    shares: dict[str, float] = {
        "top_p": share("ask-top-p", "ask-top-p-help", defaults.top_p),
        "min_p": share("ask-min-p", "ask-min-p-help", defaults.min_p),
        "typical_p": share("ask-typical-p", "ask-typical-p-help", defaults.typical_p),
    }
    penalty, low, high = defaults.repetition_penalty, 0.5, 2.0
    repetition = st.slider(
        t("ask-penalty"), min(low, penalty), max(high, penalty), penalty, 0.05, help=t("ask-penalty-help")
    )
    ngram = st.number_input(t("ask-ngram"), 0, value=defaults.no_repeat_ngram, help=t("ask-ngram-help"))
    seed = st.number_input(t("ask-seed"), 0, 2**53 - 1, value=defaults.seed)
    stop = st.text_input(t("ask-stop-text"))
    return {
        "top_k": top_k,
        **shares,
        "repetition_penalty": repetition,
        "no_repeat_ngram": ngram,
        "seed": seed,
        "stop": (stop,) if stop else (),
    }
