"""sync(): brings a collection in step with files, one transaction a document.

    find files -> skip the unchanged -> parse -> chunk -> embed -> commit

Killed at any moment, it has either stored a document whole or not at all, and goes on from there next time.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
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

OnFile = Callable[[int, int, str], None]  # files done, files in all, what is at hand
Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What a sync did."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)  # path -> why it is not in the collection
    passages: int = 0  # new ones
    device: str | None = None  # what embedded them; None where nothing was embedded


class Reader(Protocol):
    """What turns a parsed document into vectors; loaded only when there is something to embed."""

    def __call__(self) -> tuple["Chunker", "Embedder"]:
        """Load once, return the same afterwards."""


def ingest(settings: Settings, paths: Iterable[Path], on_file: OnFile | None = None) -> Report:
    """Sync files and folders into the collection that the settings name, making it where there is none.

    Raises `InputError`, `ModelError`, `CollectionError`; `LockedError` where another process is writing.
    """
    # Without `..`, but with links as they are: a document's path is what the person calls it.
    roots = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100
    files = find_files(roots, SUFFIXES)
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    index = open_index(settings.collection_dir, embedder_identity(settings.embedder, folder), create=True)
    loaded: list[tuple[Chunker, Embedder]] = []

    def reader() -> tuple["Chunker", "Embedder"]:
        if not loaded:
            loaded.append(_load(folder, settings.device))
        return loaded[0]

    try:
        with index.writing():
            report = sync(files, roots, index, reader, on_file)
        report.device = loaded[0][1].device if loaded else None
        return report
    finally:
        index.close()


def sync(
    files: list[SourceFile], roots: list[Path], index: LocalIndex, reader: Reader, on_file: OnFile | None = None
) -> Report:
    """Store new and changed files and forget those under the roots that are gone. Call as the writer."""
    report = Report()
    known = index.catalog.sources()
    for done, file in enumerate(files):
        say = partial(on_file, done, len(files)) if on_file else _say_nothing
        say(file.path.name)
        _sync_file(file, known.get(str(file.path)), index, reader, report, say)
    present = {str(file.path) for file in files}
    closed = [file.path for file in files if file.problem]  # what lies in an unreadable folder is not gone
    for path in known:
        under = [Path(path).is_relative_to(root) for root in roots]
        if path not in present and any(under) and not any(Path(path).is_relative_to(folder) for folder in closed):
            index.catalog.remove_source(path)
            report.removed.append(path)
    if on_file:
        on_file(len(files), len(files), "")
    return report


def _say_nothing(what: str) -> None:
    """Where nobody wants to know how far it is."""


def _sync_file(
    file: SourceFile, before: Source | None, index: LocalIndex, reader: Reader, report: Report, say: Say
) -> None:
    path = str(file.path)
    if not _is_text(path):
        report.quarantined[path.encode(errors="replace").decode()] = "its name is not valid UTF-8; rename it"
        return
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
        report.passages += _store(document, source, index, reader, say)
    (report.changed if before else report.added).append(path)


def _store(document: Document, source: Source, index: LocalIndex, reader: Reader, say: Say) -> int:
    chunker, embedder = reader()
    spans = chunker.chunk(document)
    texts = [document.text[span.start : span.end] for span in spans]
    name = Path(source.path).name
    vectors = embedder.embed_passages(texts, on_progress=lambda done: say(f"{name} ({done}/{len(texts)})"))
    index.put_document(document, spans, vectors, source)
    return len(spans)


def _is_text(path: str) -> bool:
    """Whether a path can be stored: a name of other bytes holds lone surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _load(folder: Path, device: str) -> tuple["Chunker", "Embedder"]:
    from ingest.chunking import Chunker
    from rag.embedding import Embedder, choose_device

    return Chunker(folder), Embedder(folder, choose_device(device))
