"""Loaded models and open collections, shared by all sessions, and the worker whose thread alone may use them."""

import threading
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from rag.assistant import (
    Assistant,
    language_model_folder,
    load_calibration,
    load_embedder,
    load_reranker,
    load_template,
    model_name,
    open_collection,
    reads_each,
)
from rag.embedding import Embedder, choose_device
from rag.errors import RagError
from rag.generation import LocalGenerator
from rag.index import LocalIndex
from rag.language_model import LanguageModel
from rag.retrieval import Reranker
from rag.settings import Settings, load_settings
from ui.worker import Tell, Worker

_ONE = threading.Lock()
_OPEN = 8  # collections with their templates that stay open


@cache
def settings() -> Settings:
    """The settings that the server was started with. Raises `SettingsError`."""
    return load_settings()


def worker() -> Worker:
    """The worker of this server; its first job loads the models, so that the first question need not wait for them."""
    with _ONE:  # two who come first at once have one worker
        return _worker()


@cache
def _worker() -> Worker:
    started = Worker()
    started.submit(_warm_up)
    return started


def _warm_up(cancelled: threading.Event, tell: Tell) -> None:
    with suppress(RagError):  # said to whoever asks
        embedder()
        generator(language_model_folder(settings()))


# What follows is for jobs of the worker.


@cache
def embedder() -> Embedder:
    """The embedder of the settings. Raises `ModelError`."""
    return load_embedder(settings())


@lru_cache(maxsize=2)  # as it came, and with its adapter
def generator(folder: Path) -> LocalGenerator:
    """The language model in a folder, on the device of the settings. Raises `ModelError`."""
    chosen = settings()
    return LocalGenerator(LanguageModel(folder, choose_device(chosen.device), chosen.language_model_precision))


@cache
def reranker() -> Reranker | None:
    """What the settings order passages with. Raises `ModelError`."""
    return load_reranker(settings())


def assistant(collection: str, template: str) -> Assistant:
    """The assistant for a collection as it is now, writing with a template. Raises `RagError`."""
    known = _assistant(collection, template)
    if known.index and not (known.index.catalog.is_in_place() and known.index.is_current()):
        _assistant.cache_clear()  # it was deleted, replaced or embedded again
        known = _assistant(collection, template)
    return known


@lru_cache(maxsize=_OPEN)
def _assistant(collection: str, template: str) -> Assistant:
    chosen = replace(settings(), collection=collection, template=template)
    index = open_collection(chosen)
    loaded = generator(language_model_folder(chosen))
    form = load_template(chosen, loaded)
    name, calibration = model_name(chosen), load_calibration(chosen, form)
    each = reads_each(chosen)
    return Assistant(index, embedder(), loaded, name, form, reranker(), chosen.join, calibration, each)


def index(collection: str) -> LocalIndex:
    """A collection as it is now, to search in without a language model. Raises `RagError`."""
    known = _index(collection)
    if not (known.catalog.is_in_place() and known.is_current()):
        _index.cache_clear()
        known = _index(collection)
    return known


@lru_cache(maxsize=_OPEN)
def _index(collection: str) -> LocalIndex:
    return open_collection(replace(settings(), collection=collection))


def collections() -> list[str]:
    """The names of all collections, the settings' own first."""
    chosen = settings()
    found = {file.parent.name for file in chosen.collection_dir.parent.glob("[!.]*/catalog.sqlite")}
    return sorted(found, key=lambda name: (name != chosen.collection, name))


def clear() -> None:
    """Forget the settings, and the collections that are open; the models stay."""
    settings.cache_clear()
    _assistant.cache_clear()
    _index.cache_clear()
