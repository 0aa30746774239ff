"""ingest() and watch(): bring a collection in step with files, one transaction a document.

    find files -> plan -> parse and chunk (in a child process) -> embed -> commit

Passages of several documents are embedded together. Killed at any moment, it has stored each document whole or not at
all, and goes on from there next time.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingest.parsing import SUFFIXES
from ingest.planning import Plan, plan
from ingest.reading import VERSION, Reader
from ingest.report import OnProgress, Progress, Report
from ingest.sources import CHANGED, SourceFile, find_files, fingerprint
from rag.errors import InputError, LockedError, ParseError, UnfinishedError
from rag.index import LocalIndex, open_index
from rag.index.records import Source, Vectors
from rag.models import embedder_identity, resolve_embedder
from rag.schema import Document, Span
from rag.settings import Settings

if TYPE_CHECKING:
    from rag.embedding import Embedder

_GROUP = 512  # passages that are embedded together, some seconds of work: what an interruption may lose
_PAUSE = 2.0  # seconds between two looks at watched folders, more where looking takes long


class Embed(Protocol):
    """Texts -> vectors (n, dimension); tells how many texts are done."""

    def __call__(self, texts: list[str], *, on_progress: Callable[[int], None]) -> Vectors:
        """`Embedder.embed_passages`."""


class Sync:
    """One run of a plan: reads files, embeds and stores them in groups, forgets what is gone."""

    def __init__(
        self, index: LocalIndex, reader: Reader, embed: Embed, report: Report, on_progress: OnProgress | None = None
    ) -> None:
        """Work as the index's writer."""
        self._index = index
        self._reader = reader
        self._embed = embed
        self._report = report
        self._on_progress = on_progress
        self._progress = Progress(0, 0, 0, 0, "")
        self._read = 0  # bytes of the files that were looked at
        self._finished = 0  # of those that are stored or set aside too
        # By document id; each source with what was known of it before.
        self._pending: dict[str, tuple[Document, list[Span], list[tuple[Source, Source | None]]]] = {}

    def run(self, work: Plan) -> None:
        """Do what is planned, and say in the report what was done."""
        self._report.unchanged += work.unchanged
        self._report.quarantined |= work.quarantined
        gone = dict.fromkeys(work.gone)
        all_size = sum(file.size for file, _ in work.todo)
        for n, (file, before) in enumerate(work.todo):
            self._progress = Progress(n, len(work.todo), self._finished, all_size, file.path.name)
            self._tell(file.path.name)
            self._read += file.size
            self._sync_file(file, before, gone)
            if not self._pending:
                self._finished = self._read
        self._store_pending()
        self._tell("")
        if gone:
            self._index.catalog.remove_sources(gone)
            self._report.removed += gone
        self._index.catalog.set_meta("reader", VERSION)

    def _tell(self, now: str, share: float = 0.0) -> None:
        """Say how far it is, with a share of what was read but not stored yet: embedding is what takes the time."""
        if self._on_progress:
            size = self._finished + round(share * (self._read - self._finished))
            self._on_progress(replace(self._progress, size=size, now=now))

    def _sync_file(self, file: SourceFile, before: Source | None, gone: dict[str, None]) -> None:
        path = str(file.path)
        read_ns = 0  # no reading to rely on: it is tried again each time
        try:
            if file.problem:
                raise ParseError(file.problem)
            digest, status = fingerprint(file.path)
            source = Source(path, status.st_size, status.st_mtime_ns, digest, read_ns=time.time_ns())
            if self._is_stored(source, before, gone):
                return
            read_ns = source.read_ns
            document, spans = self._reader.read(file.path)
            if document.id != digest:
                raise UnfinishedError(CHANGED)
        except ParseError as error:
            if isinstance(error, UnfinishedError):
                read_ns = 0
            # What was read from this file before stays: a file that cannot be read for a while loses nothing.
            stored = before.document_id if before else None
            row = Source(path, file.size, file.mtime_ns, stored, str(error), read_ns)
            self._index.catalog.put_source(row)
            self._report.quarantined[path] = str(error)
            return
        self._pending[digest] = (document, spans, [(source, before)])
        if sum(len(spans) for _, spans, _ in self._pending.values()) >= _GROUP:
            self._store_pending()

    def _is_stored(self, source: Source, before: Source | None, gone: dict[str, None]) -> bool:
        """Record a file whose contents are stored already, or are about to be; false for new contents."""
        catalog, digest = self._index.catalog, source.document_id
        if digest in self._pending:
            self._pending[digest][2].append((source, before))
            return True
        is_current = digest is not None and catalog.readers([digest]).get(digest) == VERSION
        former = None if before else next((path for path in gone if catalog.document_of(path) == digest), None)
        if former:
            catalog.move_source(former, source)
            del gone[former]
            self._report.moved[source.path] = former
        if former or not is_current:
            return is_current
        catalog.put_source(source)
        if before and before.document_id == digest and not before.reason:
            self._report.unchanged += 1
        else:
            self._note(source, before)
        return True

    def _note(self, source: Source, before: Source | None) -> None:
        if source.path not in self._report.moved:
            (self._report.changed if before else self._report.added).append(source.path)

    def _store_pending(self) -> None:
        """Embed what was read and commit it, one transaction a document."""
        if not self._pending:
            return
        texts = [document.text[s.start : s.end] for document, spans, _ in self._pending.values() for s in spans]

        def tell(done: int) -> None:
            self._tell(f"{self._progress.now} ({done}/{len(texts)} passages)", done / len(texts))

        vectors = self._embed(texts, on_progress=tell)
        begin = 0
        for document, spans, sources in self._pending.values():
            rows = vectors[begin : begin + len(spans)]
            self._index.put_document(document, spans, rows, sources[0][0], VERSION)
            for source, _ in sources[1:]:
                self._index.catalog.put_source(source)
            for source, before in sources:
                self._note(source, before)
            if document.dropped:
                self._report.dropped[sources[0][0].path] = dict(document.dropped)
            begin += len(spans)
            self._report.passages += len(spans)
        self._pending.clear()
        self._finished = self._read
        self._index.publish()


def ingest(
    settings: Settings,
    paths: Iterable[Path],
    tags: Collection[str] = (),
    report: Report | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Sync files and folders into the collection that the settings name, making it where there is none.

    `report` is filled as documents are stored. Raises `InputError`, `ModelError`, `CollectionError`; `LockedError`
    where another process is writing.
    """
    report = Report() if report is None else report
    roots = _absolute(paths)
    files = find_files(roots, SUFFIXES)
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    index = open_index(
        settings.collection_dir, embedder_identity(settings.embedder, folder, settings.embedder_precision), create=True
    )
    with closing(index), closing(Reader(folder)) as reader:
        _sync(index, reader, LazyEmbedder(folder, settings, report), files, roots, tags, report, on_progress)
    return report


def watch(
    settings: Settings, paths: Iterable[Path], tags: Collection[str] = (), on_progress: OnProgress | None = None
) -> Iterator[Report]:
    """As `ingest`, again and again: a report each time that something changed. Ends only with the caller.

    Looking, not listening: it works on network folders and in containers too, and costs a twentieth of a core at most.
    """
    first = ingest(settings, paths, tags, on_progress=on_progress)
    quarantined = first.quarantined
    yield first
    roots = _absolute(paths)
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    index = open_index(
        settings.collection_dir, embedder_identity(settings.embedder, folder, settings.embedder_precision)
    )
    problem = None
    with closing(index), closing(Reader(folder)) as reader:
        embed = LazyEmbedder(folder, settings, Report())
        while True:
            began = time.monotonic()
            report = embed.report = Report()
            try:
                files = find_files(roots, SUFFIXES)
                if plan(index.catalog, files, roots).has_news:
                    _sync(index, reader, embed, files, roots, tags, report, on_progress)
                    if report.has_news or report.quarantined != quarantined:
                        quarantined = report.quarantined
                        yield report
                problem = None
            except (InputError, LockedError) as error:
                if str(error) != problem:
                    problem = report.problem = str(error)
                    yield report
            time.sleep(max(_PAUSE, 20 * (time.monotonic() - began)))


class LazyEmbedder:
    """An embedder that is loaded when the first texts come: a sync that finds nothing to do needs none."""

    def __init__(self, folder: Path, settings: Settings, report: Report) -> None:
        """Load from a folder as the settings say, and name the device in the report."""
        self.report = report
        self._folder = folder
        self._settings = settings
        self._embedder: Embedder | None = None

    def __call__(self, texts: list[str], *, on_progress: Callable[[int], None]) -> Vectors:
        """Embed texts to shape (n, dimension). Raises `ModelError`."""
        if self._embedder is None:
            from rag.embedding import Embedder, choose_device

            device = choose_device(self._settings.device)
            self._embedder = Embedder(self._folder, device, self._settings.embedder_precision)
        self.report.device = self._embedder.device
        return self._embedder.embed_passages(texts, on_progress=on_progress)


def _sync(
    index: LocalIndex,
    reader: Reader,
    embed: Embed,
    files: list[SourceFile],
    roots: list[Path],
    tags: Collection[str],
    report: Report,
    on_progress: OnProgress | None,
) -> None:
    """One sync, as the writer."""
    with index.writing():
        work = plan(index.catalog, files, roots)
        Sync(index, reader, embed, report, on_progress).run(work)
        if tags:
            found = {str(file.path) for file in files}
            index.catalog.tag(found.intersection(index.catalog.sources()), add=tags)
        report.index = index.kind


def _absolute(paths: Iterable[Path]) -> list[Path]:
    """Paths without `..`, but with links as they are: a document's path is what the person calls it."""
    return [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100
