"""reembed(): the passages of a collection for another embedder, from the stored texts; no file is read.

The present passages answer until the last document is done; then one commit puts the others in their place. What an
interrupted run made is kept, and the next run goes on from there.
"""

from collections.abc import Callable
from contextlib import closing

from ingest.chunking import Chunker
from rag.embedding import Embedder, choose_device
from rag.index import LocalIndex, next_embedder, open_catalog
from rag.models import embedder_identity, resolve_embedder
from rag.settings import Settings

OnProgress = Callable[[int, int, str], None]  # documents done, all of them, what is at hand


def reembed(settings: Settings, on_progress: OnProgress = lambda done, total, now: None) -> int:
    """Embed the collection that the settings name with their embedder; returns the number of its passages.

    Raises `ModelError`, `CollectionError`; `LockedError` where another process is writing.
    """
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    identity = embedder_identity(settings.embedder, folder, settings.embedder_precision)
    index = LocalIndex(open_catalog(settings.collection_dir))
    with closing(index), index.writing():
        if not index.has_embedder(identity):
            next_embedder.start(index.catalog, identity)
            embedder = Embedder(folder, choose_device(settings.device), settings.embedder_precision)
            embed_next(index, Chunker(folder), embedder, on_progress)
            index.finish_next(identity)
        return index.catalog.count()


def embed_next(
    index: LocalIndex, chunker: Chunker, embedder: Embedder, on_progress: OnProgress = lambda done, total, now: None
) -> None:
    """Store passages for the other embedder for all documents that have none yet, each in one transaction."""
    left = next_embedder.left(index.catalog)
    for done, document in enumerate(index.catalog.documents(left)):
        on_progress(done, len(left), document.title)
        spans = chunker.chunk(document)
        texts = [document.text[span.start : span.end] for span in spans]
        next_embedder.put(index.catalog, document, spans, embedder.embed_passages(texts))
