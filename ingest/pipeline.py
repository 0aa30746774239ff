"""sync(): brings a collection in step with files, one transaction a document.

    find files -> skip the unchanged -> parse -> chunk -> embed -> commit

Killed at any moment, it has either stored a document whole or not at all, and goes on from there next time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingest.parsing import SUFFIXES, parse
from ingest.sources import SourceFile, find_files
from rag.errors import ParseError
from rag.index import open_index
from rag.index.catalog import Source
from rag.index.local import LocalIndex
from rag.models import embedder_identity, resolve_embedder
from rag.schema import Document
from rag.settings import Settings

if TYPE_CHECKING:
    from ingest.chunking import Chunker
    from rag.embedding import Embedder

OnFile = Callable[[int, int, str], None]  # files done, files in all, the path that is next


@dataclass(slots=True)
class Report:
    """What a sync did."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)  # path -> why it is not in the collection
    passages: int = 0  # new ones


class Reader(Protocol):
    """What turns a parsed document into vectors; loaded only when there is something to embed."""

    def __call__(self) -> tuple["Chunker", "Embedder"]:
        """Load once, return the same afterwards."""


def ingest(settings: Settings, paths: Iterable[Path], on_file: OnFile | None = None) -> Report:
    """Sync files and folders into the collection that the settings name, making it where there is none.

    Raises `InputError`, `ModelError`, `CollectionError`; `LockedError` where another process is writing.
    """
    files = find_files(paths, SUFFIXES)
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    index = open_index(settings.collection_dir, embedder_identity(settings.embedder, folder), create=True)
    loaded: list[tuple[Chunker, Embedder]] = []

    def reader() -> tuple["Chunker", "Embedder"]:
        if not loaded:
            loaded.append(_load(folder, settings.device))
        return loaded[0]

    try:
        roots = [Path(path).absolute() for path in paths]
        with index.writing():
            return sync(files, roots, index, reader, on_file)
    finally:
        index.close()


def sync(
    files: list[SourceFile], roots: list[Path], index: LocalIndex, reader: Reader, on_file: OnFile | None = None
) -> Report:
    """Store new and changed files and forget those under the roots that are gone. Call as the writer."""
    report = Report()
    known = index.catalog.sources()
    for done, file in enumerate(files):
        if on_file:
            on_file(done, len(files), str(file.path))
        _sync_file(file, known.get(str(file.path)), index, reader, report)
    present = {str(file.path) for file in files}
    for path in known:
        if path not in present and any(Path(path).is_relative_to(root) for root in roots):
            index.catalog.remove_source(path)
            report.removed.append(path)
    if on_file:
        on_file(len(files), len(files), "")
    return report


def _sync_file(file: SourceFile, before: Source | None, index: LocalIndex, reader: Reader, report: Report) -> None:
    path = str(file.path)
    if before and not before.reason and (before.size, before.mtime_ns) == (file.size, file.mtime_ns):
        report.unchanged += 1
        return
    try:
        if file.problem:
            raise ParseError(file.problem)
        document = parse(file.path)
    except ParseError as error:
        # What was read from this file before stays: a file that cannot be read for a while loses nothing.
        stored = before.document_id if before else None
        index.catalog.put_source(Source(path, file.size, file.mtime_ns, stored, reason=str(error)))
        report.quarantined[path] = str(error)
        return
    source = Source(path, file.size, file.mtime_ns, document.id)
    if index.catalog.has_document(document.id):  # equal contents are stored once, with all their paths
        index.catalog.put_source(source)
    else:
        report.passages += _store(document, source, index, reader)
    (report.changed if before else report.added).append(path)


def _store(document: Document, source: Source, index: LocalIndex, reader: Reader) -> int:
    chunker, embedder = reader()
    spans = chunker.chunk(document)
    vectors = embedder.embed_passages([document.text[span.start : span.end] for span in spans])
    index.put_document(document, spans, vectors, source)
    return len(spans)


def _load(folder: Path, device: str) -> tuple["Chunker", "Embedder"]:
    from ingest.chunking import Chunker
    from rag.embedding import Embedder, choose_device

    return Chunker(folder), Embedder(folder, choose_device(device))
