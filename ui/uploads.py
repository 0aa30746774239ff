"""Uploads: originals in COLLECTION/files, for their owner alone. What is stored once is never overwritten.

    a name from a browser -> a safe place under files/ -> written aside, on the disk, renamed

A name is only a wish: it leads nowhere else, and where other contents have it already a number is added. Knows nothing
of what is in the files.
"""

import hashlib
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from filelock import FileLock, Timeout

from ingest.parsing import SUFFIXES
from ingest.sources import MAX_BYTES
from rag.errors import InputError, LockedError

Outcome = Literal["stored", "renamed", "same", "kind", "size", "failed"]
_FOLDER = "files"
_ASIDE = ".new-"  # hidden, so that no sync takes it for a document
_MAX_NAME = 180  # bytes, with room for a number
_MAX_DEPTH = 8  # folders, the innermost ones
_PATIENCE = 60.0  # seconds for another upload to end


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of a file that somebody uploaded."""

    name: str  # as it was given; not trusted
    outcome: Outcome
    path: Path | None = None  # where these contents lie now
    problem: str = ""


def folder_of(collection: Path) -> Path:
    """Where the originals of a collection lie that were uploaded."""
    return collection / _FOLDER


def is_upload(collection: Path, path: Path) -> bool:
    """Whether a file lies among the uploaded ones."""
    return path.is_relative_to(folder_of(collection)) and ".." not in path.parts


def store(collection: Path, files: Iterable[tuple[str, BinaryIO]]) -> list[Upload]:
    """Keep files, each with the name that it came with; those that cannot be documents are not kept.

    Raises `InputError` where the collection is gone or its folder cannot be used.
    """
    folder = folder_of(collection)
    with _alone(folder):
        for left in folder.glob(f"{_ASIDE}*"):  # by an upload that was cut short
            left.unlink(missing_ok=True)
        known = _Known(folder)
        return [_store_one(folder, known, name, stream) for name, stream in files]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one who changes what is uploaded into a collection."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # not its parents: a collection that is gone stays gone
        with FileLock(folder / ".lock", timeout=_PATIENCE, mode=0o600):
            yield
    except Timeout:
        raise LockedError("Another upload into this collection takes long; try again when it is done.") from None
    except OSError as error:
        why = f"{error.filename or folder} cannot be used ({error.strerror})"
        raise InputError(f"{why}; check that the collection is still there, and the disk.") from error


class _Known:
    """The contents that are stored already; only files of equal size are compared."""

    def __init__(self, folder: Path) -> None:
        self._by_size: dict[int, list[Path]] = {}
        self._digests: dict[Path, str] = {}
        for parent, _, names in os.walk(folder):
            for path in (Path(parent, name) for name in names if not name.startswith(".")):
                self.add(path)

    def add(self, path: Path, digest: str | None = None) -> None:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            self._by_size.setdefault(status.st_size, []).append(path)
            if digest:
                self._digests[path] = digest

    def find(self, size: int, digest: str) -> Path | None:
        for path in self._by_size.get(size, ()):
            if path not in self._digests:
                with path.open("rb") as file:
                    self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
            if self._digests[path] == digest:
                return path
        return None


def _store_one(folder: Path, known: _Known, name: str, stream: BinaryIO) -> Upload:
    parts = safe_parts(name)
    if Path(parts[-1]).suffix.lower() not in SUFFIXES:
        return Upload(name, "kind")
    size = stream.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        return Upload(name, "size")
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type] # a BytesIO, or a file
    if same := known.find(size, digest):
        return Upload(name, "same", same)
    try:
        path = _written(folder, parts, stream)
    except OSError as error:
        return Upload(name, "failed", problem=error.strerror or "")
    known.add(path, digest)
    return Upload(name, "stored" if path.name == parts[-1] else "renamed", path)


def _written(folder: Path, parts: tuple[str, ...], stream: BinaryIO) -> Path:
    """Write a file aside, bring it onto the disk, and only then give it a name that nobody has."""
    aside = folder / f"{_ASIDE}{secrets.token_hex(8)}"
    try:
        stream.seek(0)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while piece := stream.read(1 << 20):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        parent = folder
        for part in parts[:-1]:
            parent = _folder_in(parent, part)
        path = next(path for path in _names(parent, parts[-1]) if not os.path.lexists(path))
        aside.rename(path)  # the lock keeps others from taking the name meanwhile
        _sync_folders(parent, folder)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return path


def _folder_in(parent: Path, name: str) -> Path:
    """A folder of this name, or with a number where a file has it."""
    path = next(path for path in _names(parent, name) if not os.path.lexists(path) or path.is_dir())
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _names(parent: Path, name: str) -> Iterator[Path]:
    """`a.pdf`, `a (2).pdf`, `a (3).pdf` ..."""
    wish = Path(name)
    return chain([parent / name], (parent / f"{wish.stem} ({n}){wish.suffix}" for n in count(2)))


def _sync_folders(innermost: Path, outermost: Path) -> None:
    """Bring the names in a folder, and in those around it, onto the disk."""
    for folder in (innermost, *innermost.parents):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder == outermost:
            return


def safe_parts(name: str) -> tuple[str, ...]:
    """The folders and the name that a file is kept under: none leads upwards, is absolute, hidden, or no text."""
    parts = [_safe(part) for part in PurePosixPath(name.replace("\\", "/")).parts if part.strip(" ./")]
    return tuple(parts[-_MAX_DEPTH - 1 :]) or ("unnamed",)


def _safe(part: str) -> str:
    """One part of a path. Signs that cannot be seen or turn the order of letters round become `_`."""
    visible = "".join("_" if _is_unsafe(character) else character for character in part).strip().lstrip(".")
    suffix = Path(visible).suffix
    if len(visible.encode()) <= _MAX_NAME:
        return visible
    if len(suffix.encode()) > 20:
        suffix = ""
    stem = visible.encode()[: _MAX_NAME - len(suffix.encode())]
    return stem.decode(errors="ignore").strip() + suffix


def _is_unsafe(character: str) -> bool:
    turns = character in "\u200e\u200f\u061c" or "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return turns or character == ":" or unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")


def remove(collection: Path, paths: Iterable[Path]) -> None:
    """Delete uploaded originals, and folders that are empty then; others are left alone.

    Raises `InputError` where one cannot be deleted, `LockedError` where an upload does not end.
    """
    folder = folder_of(collection)
    own = [path for path in paths if is_upload(collection, path) and os.path.lexists(path)]
    if not own:
        return
    with _alone(folder):
        for path in own:
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == folder or any(parent.iterdir()):
                    break
                parent.rmdir()
