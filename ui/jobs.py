"""Jobs: work in other processes, how far it is and what came of it.

    start -> waiting -> running -> done, failed or stopped; interrupted where its process ended without a word

A job's process holds a lock on its log as long as it lives. The system lets go of it however the process ends: so the
living are told from the dead, also after the machine was switched off. Knows neither pages nor what jobs do.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from rag.errors import InputError, LockedError
from rag.settings import NAMES, Settings
from ui.store import Connection, connect

Kind = Literal["sync", "watch", "retry", "reembed", "export"]
State = Literal["waiting", "running", "stopping", "done", "failed", "stopped", "interrupted"]
ALIVE: tuple[State, ...] = ("waiting", "running", "stopping")
_WAITING = 20  # jobs of a collection that may wait
_KEPT = 20  # ended jobs of a collection that are remembered
_PATIENCE = 20.0  # seconds for jobs to end
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now."""

    id: int
    kind: Kind
    collection: str
    arguments: Mapping[str, Any]
    state: State
    pid: int | None
    done: int  # of `total`: bytes, or documents; both are 0 where nobody can tell
    total: int
    now: str  # what is at hand; it may name a file, so it is not trusted
    report: Mapping[str, Any] | None
    problem: str | None
    created: float  # seconds since 1970
    changed: float

    @property
    def is_alive(self) -> bool:
        """Whether its process is at work, or about to be."""
        return self.state in ALIVE


def start(settings: Settings, kind: Kind, arguments: Mapping[str, Any] = _NOTHING) -> int:
    """Let another process work on the collection that the settings name; the job's id.

    One that still waits to do the same is enough, and so is one that watches. Raises `InputError` where too many wait.
    """
    home, collection = settings.home, settings.collection
    wanted = json.dumps(dict(arguments), sort_keys=True)
    # While this transaction lasts nobody else looks at the job, whose process is not there yet.
    with connect(home) as db:
        alive = [job for job in _settled(db, home, collection) if job.is_alive]
        waiting = [job for job in alive if job.state == "waiting"]
        for job in alive if kind == "watch" else waiting:
            if job.kind == kind and job.state != "stopping" and (kind == "watch" or dict(job.arguments) == arguments):
                return job.id
        if len(waiting) >= _WAITING:
            raise InputError(f"{_WAITING} jobs wait for this collection already; stop some, or try again later.")
        now = time.time()
        cursor = db.execute(
            "INSERT INTO jobs (kind, collection, arguments, state, created, changed) VALUES (?, ?, ?, 'waiting', ?, ?)",
            (kind, collection, wanted, now, now),
        )
        number = int(cursor.lastrowid or 0)
        db.execute("UPDATE jobs SET pid = ? WHERE id = ?", (_spawn(settings, number), number))
        _prune(db, home, collection)
    return number


def again(settings: Settings, job: Job) -> int:
    """Start an ended job anew; its id is another one."""
    number = start(replace(settings, collection=job.collection), job.kind, job.arguments)
    forget(settings.home, job.id)
    return number


def _spawn(settings: Settings, number: int) -> int:
    """Start a job's process, which ends with this one; its pid."""
    log = _log(settings.home, number)
    log.parent.mkdir(mode=0o700, exist_ok=True)
    root = str(Path(__file__).parents[1])
    given = {f"RAG_{n.upper()}": str(v) for n in NAMES if (v := getattr(settings, n)) is not None}
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # which goes over to the process with its stderr
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", "-m", "ui.job", str(number)],
            env=os.environ | given | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,  # nothing is written; that it closes tells that this process ended
            stdout=subprocess.DEVNULL,
            stderr=held,
            start_new_session=True,
        )
    threading.Thread(target=_reap, args=(process,), name=f"openbook-job-{number}", daemon=True).start()
    return process.pid


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Hold the pipe to a job's process until that has ended, and leave no zombie."""
    with process:
        process.wait()


def _log(home: Path, number: int) -> Path:
    return home / "app" / "jobs" / f"{number}.log"


def export_file(home: Path, number: int) -> Path:
    """Where an export lies until it was taken away."""
    return home / "app" / "jobs" / f"{number}.export"


def jobs(home: Path, collection: str) -> list[Job]:
    """The jobs of a collection as they are now, latest first."""
    with connect(home) as db:
        return _settled(db, home, collection)


def find(home: Path, number: int) -> Job | None:
    """One job as it is stored, None where it was forgotten."""
    with connect(home) as db:
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
    return _job(row) if row else None


def _settled(db: Connection, home: Path, collection: str) -> list[Job]:
    """A collection's jobs, latest first, those whose process is gone marked as that."""
    rows = db.execute("SELECT * FROM jobs WHERE collection = ? ORDER BY id DESC", (collection,)).fetchall()
    return [_settle(db, home, _job(row)) for row in rows]


def _settle(db: Connection, home: Path, job: Job) -> Job:
    if not job.is_alive or _is_held(home, job.id):
        return job
    state: State = "stopped" if job.state == "stopping" else "interrupted"
    problem = _where_it_says_more(home, job.id) if state == "interrupted" else None
    db.execute("UPDATE jobs SET state = ?, problem = ? WHERE id = ?", (state, problem, job.id))
    return replace(job, state=state, problem=problem)


def _is_held(home: Path, number: int) -> bool:
    """Whether a job's process lives. To be asked inside a transaction: two who ask at once would meet each other."""
    try:
        with _log(home, number).open("rb") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False


def _where_it_says_more(home: Path, number: int) -> str | None:
    """Where to read more, if a process wrote anything before it ended."""
    log = _log(home, number)
    try:
        if not log.stat().st_size:
            return None
    except FileNotFoundError:
        return None
    return f"Its process ended unexpectedly; {log} says more. Run it again to go on."


def _job(row: tuple[Any, ...]) -> Job:
    number, kind, collection, arguments, state, pid, done, total, now, report, problem, created, changed = row
    known = json.loads(arguments), json.loads(report) if report else None
    return Job(number, kind, collection, known[0], state, pid, done, total, now, known[1], problem, created, changed)


# what a job's own process says


def is_its_turn(home: Path, job: Job) -> bool:
    """Whether no earlier job of its collection is at work; who watches neither waits nor is waited for."""
    with connect(home) as db:
        earlier = [other for other in _settled(db, home, job.collection) if other.id < job.id and other.is_alive]
    return job.kind == "watch" or all(other.kind == "watch" for other in earlier)


def tell(home: Path, number: int, done: int, total: int, now: str) -> None:
    """Say how far a job is."""
    with connect(home) as db:
        row = (done, total, now, time.time(), number)
        db.execute("UPDATE jobs SET done = ?, total = ?, now = ?, changed = ? WHERE id = ?", row)


def become(
    home: Path, number: int, state: State, report: Mapping[str, Any] | None = None, problem: str | None = None
) -> None:
    """Say that a job is at work, or what came of it. One that is told to stop is at work no more."""
    known = json.dumps(dict(report)) if report is not None else None
    keep = " AND state != 'stopping'" if state in ("waiting", "running") else ""
    with connect(home) as db:
        sql = f"UPDATE jobs SET state = ?, report = coalesce(?, report), problem = ?, changed = ? WHERE id = ?{keep}"
        db.execute(sql, (state, known, problem, time.time(), number))


# ending and forgetting


def stop(home: Path, number: int) -> None:
    """Ask a job to end soon. What it stored stays."""
    with connect(home) as db:
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
        job = _settle(db, home, _job(row)) if row else None
        if job and job.is_alive and job.pid:
            db.execute("UPDATE jobs SET state = 'stopping' WHERE id = ?", (number,))
            with suppress(ProcessLookupError):  # it may be ending at this moment
                os.kill(job.pid, signal.SIGTERM)  # it holds its lock: the pid is its own


def stop_all(home: Path, collection: str) -> None:
    """Wait until no job of a collection is at work. Raises `LockedError` where one does not end."""
    deadline = time.monotonic() + _PATIENCE
    while alive := [job for job in jobs(home, collection) if job.is_alive]:
        if time.monotonic() > deadline:
            raise LockedError("The work on this collection takes long to end; try again in a moment.")
        for job in alive:
            if job.state != "stopping":
                stop(home, job.id)
        time.sleep(0.1)


def forget(home: Path, number: int) -> None:
    """Forget an ended job, and what it exported."""
    with connect(home) as db:
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
        if row and not _settle(db, home, _job(row)).is_alive:
            _drop(db, home, number)


def forget_collection(home: Path, collection: str) -> None:
    """Forget the ended jobs of a collection that is gone."""
    with connect(home) as db:
        for job in _settled(db, home, collection):
            if not job.is_alive:
                _drop(db, home, job.id)


def _drop(db: Connection, home: Path, number: int) -> None:
    db.execute("DELETE FROM jobs WHERE id = ?", (number,))
    for file in (_log(home, number), export_file(home, number)):
        file.unlink(missing_ok=True)


def _prune(db: Connection, home: Path, collection: str) -> None:
    ended = [job for job in _settled(db, home, collection) if not job.is_alive]
    for job in ended[_KEPT:]:
        _drop(db, home, job.id)
