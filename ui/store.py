"""What the app keeps of its own: conversations, feedback and jobs in HOME/app/app.sqlite; never documents.

Every call opens the file anew, so that threads and processes share nothing. Answers are stored whole, see `ui.told`;
one that cannot be read costs no more than itself.
"""

import dataclasses
import json
import sqlite3
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import InputError
from rag.schema import Answer
from ui.told import Told, as_json, read, remains

FILE = "app.sqlite"
Connection = sqlite3.Connection  # for those who ask it questions of their own
FORMAT = 1
_BUSY_SECONDS = 30
_ABANDONED = 3600.0  # seconds after which a conversation without an answer is one that was left
_TURN = "t.id, t.conversation, t.created, t.told, t.question, t.text, c.collection"  # what `_turn` reads
_TURNS = "turns t JOIN conversations c ON c.id = t.conversation"
_SCHEMA = """
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, collection TEXT NOT NULL, changed REAL NOT NULL
);
CREATE TABLE turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    question TEXT NOT NULL, text TEXT NOT NULL,  -- what a search of conversations looks through
    told TEXT NOT NULL,  -- `ui.told`, as JSON
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


@contextmanager
def connect(home: Path) -> Iterator[sqlite3.Connection]:
    """The app's database in one transaction, made where there is none. Raises `InputError` where it cannot be used."""
    file = _made(home / "app") / FILE
    try:
        with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what a person deletes is gone from the file
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            _check_format(connection)
            yield connection
            connection.execute("COMMIT")  # what was not committed is taken back at the end
    except sqlite3.OperationalError as error:  # a lock, a full disk, missing rights: nothing is damaged
        raise InputError(f"The app's own file {file} cannot be used now ({error}); mend that and try again.") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"The app's own file {file} cannot be used ({error}); move it away to begin anew.") from error


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"The app's own folder {folder} cannot be made ({error.strerror}); check it.") from error
    return folder


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
        gone = "id NOT IN (SELECT conversation FROM turns) AND changed < ?"  # begun, and left before an answer came
        db.execute(f"DELETE FROM conversations WHERE {gone}", (time.time() - _ABANDONED,))
        row = (title, collection, time.time())
        return _id(db.execute("INSERT INTO conversations (title, collection, changed) VALUES (?, ?, ?)", row))


def add_turn(home: Path, conversation: int, told: Told) -> int:
    """Append a question with its answer; its id. Raises `InputError` where the conversation was deleted."""
    with connect(home) as db:
        _find(db, conversation)
        now = time.time()
        row = (conversation, told.answer.prompt.question, told.answer.text, as_json(told), now)
        sql = "INSERT INTO turns (conversation, question, text, told, created) VALUES (?, ?, ?, ?, ?)"
        number = _id(db.execute(sql, row))
        first = "SELECT question FROM turns WHERE conversation = ? ORDER BY id LIMIT 1"
        sql = f"UPDATE conversations SET changed = ?, title = ({first}) WHERE id = ?"
        db.execute(sql, (now, conversation, conversation))
        return number


def change_turn(home: Path, turn: int, **changes: object) -> None:
    """Replace fields of what was told, such as its evidence or its branches; nothing where the turn was deleted.

    Raises `InputError` where it cannot be read: then it is left as it is.
    """
    with connect(home) as db:
        row = db.execute("SELECT told FROM turns WHERE id = ?", (turn,)).fetchone()
        if row:
            told = dataclasses.replace(read(row[0]), **changes)  # type: ignore[arg-type] # their types are the fields'
            db.execute("UPDATE turns SET told = ? WHERE id = ?", (as_json(told), turn))


def add_branch(home: Path, turn: int, branch: Answer) -> int:
    """Append what was written on from an alternative; its number among the branches, from 1; 0 where it has no turn.

    Raises `InputError` where the turn cannot be read.
    """
    with connect(home) as db:
        row = db.execute("SELECT told FROM turns WHERE id = ?", (turn,)).fetchone()
        if not row:
            return 0
        told = read(row[0])
        branches = (*told.branches, branch)
        db.execute(
            "UPDATE turns SET told = ? WHERE id = ?", (as_json(dataclasses.replace(told, branches=branches)), turn)
        )
        return len(branches)


def turns(home: Path, conversation: int) -> list[Turn]:
    """All turns of a conversation, in order; of one that cannot be read what remains.

    Raises `InputError` where the conversation was deleted.
    """
    with connect(home) as db:
        _find(db, conversation)
        sql = f"SELECT {_TURN} FROM {_TURNS} WHERE t.conversation = ? ORDER BY t.id"
        rows = db.execute(sql, (conversation,)).fetchall()
    return [_turn(row) for row in rows]


def conversations(home: Path, words: str = "") -> list[Conversation]:
    """Those whose questions and answers hold all of these words, in any case, latest first.

    One in which nothing was answered is none.
    """
    with connect(home) as db:
        held = "WHERE id IN (SELECT conversation FROM turns)"
        rows = db.execute(f"SELECT * FROM conversations {held} ORDER BY changed DESC, id DESC")
        found = [Conversation(*row) for row in rows]
        if not words.split():
            return found
        texts: dict[int, str] = {}
        for number, question, text in db.execute("SELECT conversation, question, text FROM turns"):
            texts[number] = f"{texts.get(number, '')} {_folded(question)} {_folded(text)}"
        wanted = _folded(words).split()
        return [one for one in found if all(word in texts.get(one.id, "") for word in wanted)]


def _folded(text: str) -> str:
    """Without case, and an accented letter as one character however it was written."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def conversation(home: Path, number: int) -> Conversation:
    """One conversation. Raises `InputError` where it was deleted."""
    with connect(home) as db:
        return _find(db, number)


def delete(home: Path, number: int) -> None:
    """Delete a conversation with all that was said in it."""
    with connect(home) as db:
        db.execute("DELETE FROM conversations WHERE id = ?", (number,))


def _find(db: sqlite3.Connection, number: int) -> Conversation:
    known = 0 < number < 2**63  # it may come from the page's address
    row = known and db.execute("SELECT * FROM conversations WHERE id = ?", (number,)).fetchone()
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
        columns = f"{_TURN}, f.good, f.corrected, f.note"
        sql = f"SELECT {columns} FROM {_TURNS} JOIN feedback f ON f.turn = t.id ORDER BY t.id"
        rows = db.execute(sql).fetchall()
    return [(_turn(row[:-3]), _feedback(*row[-3:])) for row in rows]


def _feedback(good: int | None, corrected: str, note: str) -> Feedback:
    return Feedback(None if good is None else bool(good), corrected, note)


def _turn(row: Sequence[Any]) -> Turn:
    number, conversation, created, told, question, text, collection = row
    try:
        return Turn(number, conversation, created, read(told))
    except InputError:
        return Turn(number, conversation, created, remains(question, text, collection))


def _id(cursor: sqlite3.Cursor) -> int:
    number: Any = cursor.lastrowid
    return int(number)
