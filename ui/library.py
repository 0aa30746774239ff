"""The commands about documents and collections: ingest, documents, collections, doctor."""

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import InputError, SettingsError
from rag.settings import Settings
from ui.output import Options, counted, err, measured, out, print_json, status
from ui.terminal import printable

if TYPE_CHECKING:
    from ingest.report import Progress, Report
    from rag.index import LocalIndex
    from rag.index.catalog import Catalog
    from rag.index.checking import Finding
    from rag.schema import Filter


def ingest(settings: Settings, options: Options) -> int:
    """`rag ingest PATH...`: 3 where some files could not be read; with --watch, until it is interrupted."""
    from ingest import pipeline
    from ingest.report import Report

    _check_tags(options.tag)
    report = Report()
    try:
        with measured(options) as advance:

            def tell(p: "Progress") -> None:
                advance(p.size, p.all_size, f"{p.files}/{p.all_files} {p.now}")

            if options.watch:
                for report in pipeline.watch(settings, options.paths, options.tag, tell):
                    _show(report, settings, options)
            else:
                pipeline.ingest(settings, options.paths, options.tag, report, tell)
    except KeyboardInterrupt:
        if options.watch:
            err.print("rag: no longer watching.")
            return 0
        stored = len(report.added) + len(report.changed) + len(report.moved)
        err.print(f"rag: interrupted; {stored} documents were stored whole and are kept. Run it again to go on.")
        return 130
    _show(report, settings, options)
    return 3 if report.quarantined else 0


def _show(report: "Report", settings: Settings, options: Options) -> None:
    if options.json:
        print_json(dataclasses.asdict(report))
        return
    if report.problem:
        err.print(f"rag: {report.problem}", markup=False)
        return
    out.print(
        f"Collection {settings.collection}: {len(report.added)} added, {len(report.changed)} changed, "
        f"{len(report.moved)} moved, {len(report.removed)} removed, {report.unchanged} unchanged; "
        f"{report.passages} new passages"
        + (f", embedded on {report.device}" if report.device else "")
        + f"; index {report.index}."
    )
    left_out: dict[str, int] = {}
    for dropped in report.dropped.values():
        for reason, characters in dropped.items():
            left_out[reason] = left_out.get(reason, 0) + characters
    if left_out:
        parts = ", ".join(f"{characters} {reason}" for reason, characters in sorted(left_out.items()))
        out.print(f"Left out of {len(report.dropped)} files, in characters: {parts} (rag documents list shows where).")
    for path, reason in report.quarantined.items():
        err.print(printable(f"not read: {path}: {reason}"), markup=False)


def list_documents(settings: Settings, options: Options) -> int:
    """`rag documents list`: every file of the collection, quarantined ones with their reason."""
    from rag.index import open_catalog
    from rag.index.collections import holdings

    rows = list(holdings(open_catalog(settings.collection_dir), filter_of(options)))
    if options.json:
        print_json([dataclasses.asdict(row) for row in rows])
        return 0
    for row in rows:
        facts = [f"{row.passages} passages" if row.document else "", row.date or "", *(f"#{tag}" for tag in row.tags)]
        facts += [f"left out: {characters} {reason}" for reason, characters in row.dropped.items()]
        facts += [f"not read: {row.not_read}" if row.not_read else ""]
        out.print(printable(f"{row.path}  ({', '.join(filter(None, facts))})"), markup=False)
    return 0


def remove_documents(settings: Settings, options: Options) -> int:
    """`rag documents remove PATH...`: forget files, all under a folder, or all that hold a document's contents."""
    from rag.index import LocalIndex, open_catalog

    index = LocalIndex(open_catalog(settings.collection_dir))
    with index.writing():
        paths = _paths(index.catalog, options.targets)
        index.catalog.remove_sources(paths)
    index.close()
    out.print(f"Removed {len(paths)} files from collection {settings.collection}.", markup=False)
    if any(Path(path).exists() for path in paths):
        out.print("They are still on the disk: a sync of their folder adds them again.")
    return 0


def tag_documents(settings: Settings, options: Options) -> int:
    """`rag documents tag PATH... --add TAG --remove TAG`."""
    from rag.index import LocalIndex, open_catalog

    _check_tags(options.add)
    index = LocalIndex(open_catalog(settings.collection_dir))
    with index.writing():
        paths = _paths(index.catalog, options.targets)
        index.catalog.tag(paths, options.add, options.remove)
    index.close()
    out.print(f"Tagged {len(paths)} files of collection {settings.collection}.", markup=False)
    return 0


def _check_tags(tags: Iterable[str]) -> None:
    for tag in tags:
        if not tag.strip() or any("\ud800" <= character <= "\udfff" for character in tag):
            raise InputError(f"{tag!r} is no tag; type some text in the terminal's own encoding.")


def _paths(catalog: "Catalog", targets: Iterable[str]) -> list[str]:
    """The stored paths that targets name: a file, a folder or a document's id. Raises `InputError`."""
    sources = catalog.sources()
    found: dict[str, None] = {}
    for target in targets:
        path = _as_ingested(target)
        matching = [s for s in sources if Path(s).is_relative_to(path) or sources[s].document_id == target]
        if not matching:
            raise InputError(f"The collection holds no file, folder or document {target}; see: rag documents list")
        found |= dict.fromkeys(matching)
    return list(found)


def list_collections(settings: Settings, options: Options) -> int:
    """`rag collections list`."""
    from rag.index.collections import summaries

    rows = list(summaries(settings.collection_dir.parent))
    if options.json:
        print_json([dataclasses.asdict(row) for row in rows])
        return 0
    for row in rows:
        if row.problem:
            err.print(f"rag: {row.problem}", markup=False)
            continue
        size = f"{row.size / 1e6:.1f} MB"
        out.print(f"[bold]{row.name}[/bold]: {row.documents} documents, {row.passages} passages, {size}")
        out.print(f"    embedder {row.embedder}, index {row.index}, {row.quarantined} files not read", markup=False)
    return 3 if any(row.problem for row in rows) else 0


def create_collection(settings: Settings, options: Options) -> int:
    """`rag collections create NAME`: an empty one for the embedder of the settings."""
    from rag.index import open_index
    from rag.index.database import FILE
    from rag.models import embedder_identity, resolve_embedder

    if (settings.collection_dir / FILE).exists():
        raise InputError(f"There is a collection {settings.collection!r} already.")
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    open_index(
        settings.collection_dir, embedder_identity(settings.embedder, folder, settings.embedder_precision), create=True
    ).close()
    out.print(f"Created collection {settings.collection}.", markup=False)
    return 0


def delete_collection(settings: Settings, options: Options) -> int:
    """`rag collections delete NAME`: asks first, or wants --yes."""
    from rag.index.collections import delete

    if not options.yes and not (sys.stdin.isatty() and _agrees(settings.collection)):
        err.print("rag: nothing was deleted; confirm with --yes.")
        return 1
    delete(settings.collection_dir)
    out.print(f"Deleted collection {settings.collection}.", markup=False)
    return 0


def _agrees(name: str) -> bool:
    return input(f"Delete collection {name} and all that it stores? [y/N] ").strip().lower() in ("y", "yes")


def export_collection(settings: Settings, options: Options) -> int:
    """`rag collections export NAME FILE`."""
    from rag.index.collections import export

    with status(options, "writing the export"):
        export(settings.collection_dir, options.file)
    out.print(f"Exported collection {settings.collection} to {options.file}.", markup=False)
    return 0


def import_collection(settings: Settings, options: Options) -> int:
    """`rag collections import FILE NAME`."""
    from rag.index.collections import import_

    with status(options, "checking the export"):
        import_(options.file, settings.collection_dir)
    out.print(f"Imported collection {settings.collection}.", markup=False)
    return 0


def reembed_collection(settings: Settings, options: Options) -> int:
    """`rag collections reembed NAME`: with the embedder of the settings; the old passages answer until it is done."""
    from ingest.reembedding import reembed

    try:
        with counted(options) as advance:
            passages = reembed(settings, advance)
    except KeyboardInterrupt:
        err.print("rag: interrupted; the former passages still answer. Run it again to go on from here.")
        return 130
    out.print(
        f"Collection {settings.collection} holds {passages} passages of embedder {settings.embedder}.", markup=False
    )
    return 0


def doctor(settings: Settings, options: Options) -> int:
    """`rag doctor`: 1 where something is wrong and was not repaired."""
    from rag.index import LocalIndex, open_catalog
    from rag.index.checking import check

    index = LocalIndex(open_catalog(settings.collection_dir))
    with status(options, "checking"):
        findings = [*_embedder_findings(index, settings), *check(index, options.repair)]
    index.close()
    if options.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            out.print(printable(f"{'repaired' if finding.repaired else 'wrong'}: {finding.what}: {finding.remedy}"))
        if not findings:
            out.print(f"Collection {settings.collection} is whole.", markup=False)
    return 1 if any(not finding.repaired for finding in findings) else 0


def _embedder_findings(index: "LocalIndex", settings: Settings) -> "Iterator[Finding]":
    from rag.index.checking import Finding
    from rag.models import embedder_identity, resolve_embedder

    folder = resolve_embedder(settings.embedder, settings.models_dir)
    identity = embedder_identity(settings.embedder, folder, settings.embedder_precision)
    if index.catalog.embedder() and not index.has_embedder(identity):
        yield Finding(
            f"its embedder is {index.catalog.meta('embedder_name')}, the settings name {settings.embedder}",
            f"choose that one (--embedder), or: rag collections reembed {settings.collection}",
            repaired=False,
        )


def _as_ingested(path: str) -> str:
    """A path as a collection names it: absolute, without `..`, with links as they are."""
    return os.path.abspath(path)  # noqa: PTH100


def filter_of(options: Options) -> "Filter":
    """The filter that the flags ask for. Raises `SettingsError`."""
    from rag.schema import Filter

    try:
        return Filter(
            folders=tuple(map(_as_ingested, options.folder)),
            types=tuple(options.type),
            tags=tuple(options.with_tag),
            documents=(*options.document, *map(_as_ingested, options.document)),
            since=options.since,
            until=options.until,
        )
    except ValueError as error:
        raise SettingsError(f"A day is written YYYY-MM-DD ({error}).") from error
