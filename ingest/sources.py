"""Which files to read: walks folders and tells what changed since the last time. Opens no file."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.errors import InputError

MAX_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as the walk found it; `problem` says why it must not be read."""

    path: Path
    size: int
    mtime_ns: int
    problem: str | None = None


def find_files(paths: Iterable[Path], suffixes: frozenset[str]) -> list[SourceFile]:
    """All files with these suffixes at or under the paths, each once, sorted by path.

    Hidden files and folders are passed over, and so are files of other kinds unless they are named themselves.
    Raises `InputError` where a path is missing or holds nothing: an unmounted folder must not empty a collection.
    """
    found: dict[Path, SourceFile] = {}
    for path in (p.absolute() for p in paths):
        if not path.exists():
            raise InputError(f"There is no file or folder {path}; check the path.")
        files = [path] if not path.is_dir() else [p for p in _walk(path) if p.suffix.lower() in suffixes]
        if not files:
            raise InputError(f"{path} holds no document ({', '.join(sorted(suffixes))}); nothing was changed.")
        found |= {file: _look(file, path if path.is_dir() else path.parent) for file in files}
    return [found[path] for path in sorted(found)]


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _look(path: Path, root: Path) -> SourceFile:
    """A file's size and time, and whether it is safe to read."""
    try:
        status = path.stat()
    except OSError as error:
        return SourceFile(path, 0, 0, f"it cannot be read: {error.strerror}")
    problem = None
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        problem = "it is a link to a file outside of the folder"
    elif not stat.S_ISREG(status.st_mode):
        problem = "it is not a regular file"
    elif status.st_size > MAX_BYTES:
        problem = f"it is larger than {MAX_BYTES // 1_000_000} MB"
    return SourceFile(path, status.st_size, status.st_mtime_ns, problem)
