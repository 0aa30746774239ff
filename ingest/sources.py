"""Which files there are: walks folders, and reads contents only to tell by their hash whether they changed."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.errors import InputError, ParseError

MAX_BYTES = 200_000_000
CHANGED = "it changed while it was being read; it is read again next time"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as the walk found it; `problem` says why it must not be read."""

    path: Path
    size: int
    mtime_ns: int
    problem: str | None = None


def find_files(paths: Iterable[Path], suffixes: frozenset[str]) -> list[SourceFile]:
    """All files with these suffixes at or under the paths, which are absolute, each once, sorted by path.

    Hidden files and folders are passed over, and so are files of other kinds unless they are named themselves.
    Raises `InputError` where a path is missing or holds nothing: an unmounted folder must not empty a collection.
    """
    found: dict[Path, SourceFile] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise InputError(f"There is no file or folder {path}; check the path.")
        files = list(_walk(path, suffixes)) if path.is_dir() else [_look(path, path.parent)]
        if not files:
            raise InputError(f"{path} holds no document ({', '.join(sorted(suffixes))}); nothing was changed.")
        found |= {file.path: file for file in files}
    return [found[path] for path in sorted(found)]


def _walk(root: Path, suffixes: frozenset[str]) -> Iterator[SourceFile]:
    """The files under a folder; a folder inside that cannot be listed stands for whatever it holds."""
    closed: list[OSError] = []
    for parent, folders, files in os.walk(root, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (link := Path(parent, name)).is_symlink():
                yield SourceFile(link, 0, 0, "it is a link to a folder; ingest that folder itself")
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield _look(Path(parent, name), root)
    for error in closed:
        yield SourceFile(Path(error.filename), 0, 0, f"the folder cannot be read: {error.strerror}")


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


def read_bytes(path: Path) -> tuple[bytes, os.stat_result]:
    """A file's contents and its status, which agree. Raises `ParseError` where it is no file or changes meanwhile."""
    try:
        # A pipe that took the file's place would let the opening wait forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise ParseError("it is not a regular file")
            content = file.read(MAX_BYTES + 1)
            after = os.fstat(descriptor)
    except OSError as error:
        raise ParseError(f"it cannot be read: {error.strerror}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
        raise ParseError(CHANGED)
    return content, after


def fingerprint(path: Path) -> tuple[str, os.stat_result]:
    """The sha256 of a file's contents, in hex, and its status. Raises `ParseError` as `read_bytes` does."""
    content, status = read_bytes(path)
    return hashlib.sha256(content).hexdigest(), status
