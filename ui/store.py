"""What the app keeps of its own: conversations, feedback and jobs in HOME/app/app.sqlite; never documents.

Every call opens the file anew, so that threads and processes share nothing. Answers are stored as JSON of their
dataclasses, whole: with token ids, both log-probabilities, passages and settings.
"""

import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rag.errors import InputError
from rag.evidence import Citation, Evidence
from rag.schema import Answer

FILE = "app.sqlite"
Connection = sqlite3.Connection  # for those who ask it questions of their own
FORMAT = 1
_BUSY_SECONDS = 30
_SCHEMA = """
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, collection TEXT NOT NULL, changed REAL NOT NULL
);
CREATE TABLE turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    question TEXT NOT NULL, text TEXT NOT NULL,  -- what a search of conversations looks through
    told TEXT NOT NULL,  -- Told as JSON
    created REAL NOT NULL
);
CREATE INDEX turns_by_conversation ON turns (conversation);
CREATE TABLE feedback (
    turn INTEGER PRIMARY KEY REFERENCES turns (id) ON DELETE CASCADE,
    good INTEGER,  -- 1, 0, or NULL where no thumb was given
    corrected TEXT NOT NULL, note TEXT NOT NULL, changed REAL NOT NULL
);
CREATE TABLE jobs (  -- work in another process; see ui.jobs
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, collection TEXT NOT NULL, arguments TEXT NOT NULL,
    state TEXT NOT NULL, pid INTEGER, done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,
    now TEXT NOT NULL DEFAULT '', report TEXT, problem TEXT, created REAL NOT NULL, changed REAL NOT NULL
);
CREATE TABLE folders (  -- that a collection is kept in step with
    collection TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (collection, path)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Told:
    """All that is kept of an answer: what it leans on, where that was computed, and what was written on from it."""

    answer: Answer
    citations: tuple[Citation, ...] = ()
    settings: Mapping[str, str | int] = field(default_factory=dict)  # what the answer itself does not say
    evidence: Evidence | None = None
    branches: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of a conversation with its answer."""

    id: int
    conversation: int
    created: float  # seconds since 1970
    told: Told


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its turns."""

    id: int
    title: str  # its first question
    collection: str
    changed: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person says of an answer."""

    good: bool | None = None
    corrected: str = ""
    note: str = ""


_TOLD = TypeAdapter(Told)


@contextmanager
def connect(home: Path) -> Iterator[sqlite3.Connection]:
    """The app's database in one transaction, made where there is none. Raises `InputError` where it is none of ours."""
    folder = home / "app"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / FILE
    connection = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what a person deletes is gone from the file
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        _check_format(connection)
        yield connection
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        raise InputError(f"The app's own file {file} cannot be used ({error}); move it away to begin anew.") from error
    finally:
        connection.close()  # which takes back what was not committed


def _check_format(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    elif version != FORMAT:
        raise sqlite3.DatabaseError(f"its format is {version}, this program knows {FORMAT}")


# conversations


def begin(home: Path, title: str, collection: str) -> int:
    """A new conversation; its id."""
    with connect(home) as db:
        row = (title, collection, time.time())
        return _id(db.execute("INSERT INTO conversations (title, collection, changed) VALUES (?, ?, ?)", row))


def add_turn(home: Path, conversation: int, told: Told) -> int:
    """Append a question with its answer; its id. Raises `InputError` where the conversation was deleted."""
    with connect(home) as db:
        _find(db, conversation)
        now = time.time()
        row = (conversation, told.answer.prompt.question, told.answer.text, _as_json(told), now)
        sql = "INSERT INTO turns (conversation, question, text, told, created) VALUES (?, ?, ?, ?, ?)"
        number = _id(db.execute(sql, row))
        db.execute("UPDATE conversations SET changed = ? WHERE id = ?", (now, conversation))
        return number


def change_turn(home: Path, turn: int, **changes: object) -> None:
    """Replace fields of what was told, such as its evidence or its branches; nothing where the turn was deleted."""
    with connect(home) as db:
        row = db.execute("SELECT told FROM turns WHERE id = ?", (turn,)).fetchone()
        if row:
            told = dataclasses.replace(_told(row[0]), **changes)  # type: ignore[arg-type] # their types are the fields'
            db.execute("UPDATE turns SET told = ? WHERE id = ?", (_as_json(told), turn))


def add_branch(home: Path, turn: int, branch: Answer) -> int:
    """Append what was written on from an alternative; its number among the branches, from 1; 0 where it has no turn."""
    with connect(home) as db:
        row = db.execute("SELECT told FROM turns WHERE id = ?", (turn,)).fetchone()
        if not row:
            return 0
        told = _told(row[0])
        branches = (*told.branches, branch)
        db.execute(
            "UPDATE turns SET told = ? WHERE id = ?", (_as_json(dataclasses.replace(told, branches=branches)), turn)
        )
        return len(branches)


def turns(home: Path, conversation: int) -> list[Turn]:
    """All turns of a conversation, in order. Raises `InputError` where it was deleted."""
    with connect(home) as db:
        _find(db, conversation)
        sql = "SELECT id, conversation, created, told FROM turns WHERE conversation = ? ORDER BY id"
        return [_turn(row) for row in db.execute(sql, (conversation,))]


def conversations(home: Path, words: str = "") -> list[Conversation]:
    """Those whose questions and answers hold all of these words, in any case, latest first."""
    with connect(home) as db:
        found = [Conversation(*row) for row in db.execute("SELECT * FROM conversations ORDER BY changed DESC, id DESC")]
        if not words.split():
            return found
        texts: dict[int, str] = {}
        for number, question, text in db.execute("SELECT conversation, question, text FROM turns"):
            texts[number] = f"{texts.get(number, '')} {question} {text}".casefold()
        wanted = words.casefold().split()
        return [one for one in found if all(word in texts.get(one.id, "") for word in wanted)]


def conversation(home: Path, number: int) -> Conversation:
    """One conversation. Raises `InputError` where it was deleted."""
    with connect(home) as db:
        return _find(db, number)


def delete(home: Path, number: int) -> None:
    """Delete a conversation with all that was said in it."""
    with connect(home) as db:
        db.execute("DELETE FROM conversations WHERE id = ?", (number,))


def _find(db: sqlite3.Connection, number: int) -> Conversation:
    row = db.execute("SELECT * FROM conversations WHERE id = ?", (number,)).fetchone()
    if not row:
        raise InputError("This conversation was deleted; begin a new one.")
    return Conversation(*row)


# feedback


def give_feedback(home: Path, turn: int, feedback: Feedback) -> None:
    """Keep what a person says of an answer, instead of what was said before; nothing at all is forgotten."""
    with connect(home) as db:
        if feedback == Feedback():
            db.execute("DELETE FROM feedback WHERE turn = ?", (turn,))
        elif db.execute("SELECT 1 FROM turns WHERE id = ?", (turn,)).fetchone():
            row = (turn, feedback.good, feedback.corrected, feedback.note, time.time())
            db.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)", row)


def feedback_of(home: Path, turn_ids: Sequence[int]) -> dict[int, Feedback]:
    """What was said of each of these turns, where anything was."""
    with connect(home) as db:
        rows = db.execute(
            "SELECT turn, good, corrected, note FROM feedback WHERE turn IN (SELECT value FROM json_each(?))",
            (json.dumps(list(turn_ids)),),
        )
        return {turn: _feedback(*said) for turn, *said in rows}


def all_feedback(home: Path) -> list[tuple[Turn, Feedback]]:
    """Every turn of which something was said, in order."""
    with connect(home) as db:
        rows = db.execute(
            "SELECT t.id, t.conversation, t.created, t.told, f.good, f.corrected, f.note"
            " FROM feedback f JOIN turns t ON t.id = f.turn ORDER BY t.id"
        )
        return [(_turn(row[:4]), _feedback(*row[4:])) for row in rows]


def _feedback(good: int | None, corrected: str, note: str) -> Feedback:
    return Feedback(None if good is None else bool(good), corrected, note)


def _turn(row: Sequence[Any]) -> Turn:
    number, conversation, created, told = row
    return Turn(number, conversation, created, _told(told))


def _as_json(told: Told) -> str:
    """Minus infinity, the log-probability of a token that was filtered out, is written `-Infinity`."""
    return json.dumps(dataclasses.asdict(told), ensure_ascii=False)


def _told(text: str) -> Told:
    try:
        return _TOLD.validate_json(text)
    except ValidationError as error:
        raise sqlite3.DatabaseError(f"an answer cannot be read: {error.errors()[0]['msg']}") from error


def _id(cursor: sqlite3.Cursor) -> int:
    number: Any = cursor.lastrowid
    return int(number)
