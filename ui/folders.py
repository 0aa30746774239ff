"""The folders on this computer that collections are synced with, in the app's own database. Knows no file in them."""

import os
from pathlib import Path

from rag.errors import InputError
from ui.store import connect


def listed(home: Path, collection: str) -> list[Path]:
    """The folders that a collection is synced with, by path."""
    with connect(home) as db:
        rows = db.execute("SELECT path FROM folders WHERE collection = ? ORDER BY path", (collection,))
        return [Path(row[0]) for row in rows]


def add(home: Path, collection: str, path: str) -> Path:
    """Sync a collection with a folder from now on. Raises `InputError` where it is none, or overlaps the app's own."""
    folder = Path(os.path.abspath(Path(path.strip()).expanduser()))  # noqa: PTH100 - links stay as they are called
    if not path.strip() or not folder.is_dir():
        raise InputError(f"There is no folder {folder}; type the whole path of one on the computer that runs Openbook.")
    if _meets(folder.resolve(), home.resolve()):
        raise InputError(f"{folder} holds Openbook's own files, or lies among them; choose another folder.")
    with connect(home) as db:
        db.execute("INSERT OR IGNORE INTO folders VALUES (?, ?)", (collection, str(folder)))
    return folder


def _meets(folder: Path, own: Path) -> bool:
    """Whether a walk of a folder would come across the app's own files; it passes hidden folders over."""
    if own.is_relative_to(folder):
        return not any(part.startswith(".") for part in own.relative_to(folder).parts)
    return folder.is_relative_to(own)


def remove(home: Path, collection: str, folder: Path) -> None:
    """Sync a collection with a folder no longer; its documents stay."""
    with connect(home) as db:
        db.execute("DELETE FROM folders WHERE collection = ? AND path = ?", (collection, str(folder)))


def forget(home: Path, collection: str) -> None:
    """Forget all folders of a collection that is gone."""
    with connect(home) as db:
        db.execute("DELETE FROM folders WHERE collection = ?", (collection,))
