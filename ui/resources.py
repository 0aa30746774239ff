"""Loaded models and open collections, shared by all sessions; one question at a time reaches them."""

import threading
from dataclasses import dataclass, field, replace

import streamlit as st

from rag.assistant import (
    Assistant,
    load_calibration,
    load_embedder,
    load_language_model,
    load_reranker,
    load_template,
    model_name,
    open_collection,
)
from rag.embedding import Embedder
from rag.generation import LocalGenerator
from rag.retrieval import Reranker
from rag.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Models:
    """The loaded models, and the lock that whoever uses them must hold."""

    embedder: Embedder
    generator: LocalGenerator
    reranker: Reranker | None
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner="Loading the models ...")
def models() -> Models:
    """The models that the settings name, loaded once for all sessions and collections. Raises `ModelError`."""
    generator = load_language_model(settings())
    return Models(load_embedder(settings()), generator, load_reranker(settings(), generator))


@st.cache_resource(show_spinner=False, max_entries=8)
def assistant(collection: str) -> Assistant:
    """The assistant for a collection. Ask it with the lock of `models` held. Raises `RagError`."""
    chosen = replace(settings(), collection=collection)
    index = open_collection(chosen)
    loaded = models()
    template = load_template(chosen, loaded.generator)
    return Assistant(
        index,
        loaded.embedder,
        loaded.generator,
        model_name(chosen),
        template,
        loaded.reranker,
        chosen.join,
        load_calibration(chosen, template),
    )


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The settings that the server was started with. Raises `SettingsError`."""
    return load_settings()


def collections() -> list[str]:
    """The names of all collections, the settings' own first."""
    chosen = settings()
    found = {file.parent.name for file in chosen.collection_dir.parent.glob("*/catalog.sqlite")}
    return sorted(found, key=lambda name: (name != chosen.collection, name))
