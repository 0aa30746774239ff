"""Loaded models and open collections, shared by all sessions; one question at a time reaches them."""

import threading
from dataclasses import dataclass, field, replace

import streamlit as st

from rag import Assistant, load_assistant
from rag.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Shared:
    """An assistant and the lock that whoever asks it must hold."""

    assistant: Assistant
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner="Loading the models ...", max_entries=4)
def shared_assistant(collection: str) -> Shared:
    """The assistant for a collection, loaded once for all sessions. Raises `RagError`."""
    return Shared(load_assistant(replace(settings(), collection=collection)))


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """The settings that the server was started with. Raises `SettingsError`."""
    return load_settings()


def collections() -> list[str]:
    """The names of all collections, the settings' own first."""
    chosen = settings()
    found = {file.parent.name for file in chosen.collection_dir.parent.glob("*/catalog.sqlite")}
    return sorted(found, key=lambda name: (name != chosen.collection, name))
