"""plan(): what a sync has to do, from a walk's files and what the catalogue knows of them. Opens no file.

A file is unchanged where its size and time are those of the last reading and that reading was not so soon after the
change that a second one could hide behind it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ingest.parsing import SUFFIXES
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
        if not _is_text(str(file.path)):
            quarantined[str(file.path).encode(errors="replace").decode()] = "its name is not valid UTF-8; rename it"
        elif before is None or file.problem or not _is_as_before(file, before):
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
    return same and before.read_ns != 0 and abs(before.read_ns - before.mtime_ns) > _UNSURE_NS


def _is_text(path: str) -> bool:
    """Whether a path can be stored: a name of other bytes holds lone surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _gone(known: Iterable[str], files: list[SourceFile], roots: list[Path]) -> list[str]:
    present = {str(file.path) for file in files}
    closed = [file.path for file in files if file.problem]  # what lies in an unreadable folder is not gone
    return [
        path
        for path in known
        if path not in present
        and any(Path(path).is_relative_to(root) for root in roots)
        and not any(Path(path).is_relative_to(folder) for folder in closed)
        and not (_is_passed_over(Path(path), roots) and Path(path).is_file())
    ]


def _is_passed_over(path: Path, roots: list[Path]) -> bool:
    """Whether a walk leaves a path out by rule: it is only there because somebody named it."""
    inner = [path.relative_to(root).parts for root in roots if path.is_relative_to(root)]
    return path.suffix.lower() not in SUFFIXES or all(any(p.startswith(".") for p in parts) for parts in inner)
