"""plan(): what a sync has to do, from a walk's files and what the catalogue knows of them. Opens no file.

A file is unchanged where its size and time are those of the last reading and that reading was not so soon after the
change that a second one could hide behind it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ingest.reading import VERSION
from ingest.sources import SourceFile
from rag.index.catalog import Catalog
from rag.index.records import Source

_UNSURE_NS = 2_000_000_000  # file systems count time in steps of up to two seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be read and forgotten, and what is left as it is."""

    todo: list[tuple[SourceFile, Source | None]]  # new, changed and doubtful files, with what is known of them
    gone: list[str]  # paths under the roots that are no longer there
    unchanged: int
    quarantined: dict[str, str]  # path -> reason, of files that did not change since they could not be read

    @property
    def has_news(self) -> bool:
        """Whether there is more to do than to try again what could not be read."""
        return bool(self.gone) or any(
            before is None or not before.reason or (before.size, before.mtime_ns) != (file.size, file.mtime_ns)
            for file, before in self.todo
        )


def plan(catalog: Catalog, files: list[SourceFile], roots: list[Path]) -> Plan:
    """Compare a walk with the catalogue."""
    known, readers = catalog.sources(), catalog.readers()
    same_reader = catalog.meta("reader") == VERSION
    todo: list[tuple[SourceFile, Source | None]] = []
    quarantined = {}
    unchanged = 0
    for file in files:
        before = known.get(str(file.path))
        if before is None or file.problem or not _is_as_before(file, before):
            todo.append((file, before))
        elif before.reason:
            if same_reader:
                quarantined[before.path] = before.reason
            else:
                todo.append((file, before))
        elif before.document_id is None or readers[before.document_id] != VERSION:
            todo.append((file, before))
        else:
            unchanged += 1
    return Plan(todo, _gone(known, files, roots), unchanged, quarantined)


def _is_as_before(file: SourceFile, before: Source) -> bool:
    same = (before.size, before.mtime_ns) == (file.size, file.mtime_ns)
    return same and before.mtime_ns + _UNSURE_NS < before.read_ns


def _gone(known: Iterable[str], files: list[SourceFile], roots: list[Path]) -> list[str]:
    present = {str(file.path) for file in files}
    closed = [file.path for file in files if file.problem]  # what lies in an unreadable folder is not gone
    return [
        path
        for path in known
        if path not in present
        and any(Path(path).is_relative_to(root) for root in roots)
        and not any(Path(path).is_relative_to(folder) for folder in closed)
    ]
