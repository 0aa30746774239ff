"""The process of one job: `python -m ui.job ID`, with the settings in its environment. Started by `ui.jobs`.

It waits for its turn, does the work, writes how far it is and what came of it. SIGTERM ends it, and so does the end of
the process that started it; whatever it stored until then is whole and stays. Knows no page.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rag.errors import InputError, LockedError, RagError
from rag.settings import Settings, load_settings
from ui import jobs
from ui.jobs import Job

if TYPE_CHECKING:
    from ingest.report import Progress, Report

_TURN = 0.5  # seconds between two looks whether it is its turn
_LOCKED = 2.0  # seconds until a collection that somebody else writes to is tried again
_MISSING = 10.0  # seconds until a folder that could not be watched is looked for again
_OFTEN = 0.3  # seconds between two words about how far it is

Tell = Callable[[int, int, str], None]  # done, of all, what is at hand
Work = Callable[[Settings, Job, Tell], Mapping[str, Any]]  # -> its report


def main(number: int) -> None:
    """Do one job from beginning to end."""
    orphaned = threading.Event()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    threading.Thread(target=_end_with_parent, args=(orphaned,), daemon=True).start()
    with suppress(OSError):
        os.nice(5)  # questions come first
    settings = load_settings()
    home = settings.home
    try:
        job = jobs.find(home, number)
        if job is None:
            return  # its collection was deleted meanwhile
        settings = replace(settings, collection=job.collection)
        report = _done(settings, job)
    except KeyboardInterrupt:
        jobs.become(home, number, "interrupted" if orphaned.is_set() else "stopped")
    except RagError as error:
        jobs.become(home, number, "failed", problem=str(error))
    except OSError as error:
        problem = f"{error.filename or 'A file'} cannot be used ({error.strerror}); check the disk, then run it again."
        jobs.become(home, number, "failed", problem=problem)
    except Exception as error:  # noqa: BLE001 - whatever it was, the page must not wait for ever
        traceback.print_exception(error)
        problem = f"The work ended unexpectedly ({type(error).__name__}); its log says more. Run it again to go on."
        jobs.become(home, number, "failed", problem=problem)
    else:
        jobs.become(home, number, "done", report)


def _end(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows is tidying up
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent(orphaned: threading.Event) -> None:
    os.read(0, 1)  # nothing ever comes; it ends when the other side does
    orphaned.set()
    os.kill(os.getpid(), signal.SIGTERM)


def _done(settings: Settings, job: Job) -> Mapping[str, Any]:
    """The report of the work, which is tried again as long as somebody else writes to the collection."""
    from rag.index import open_catalog

    while not jobs.is_its_turn(settings.home, job):
        time.sleep(_TURN)
    while True:
        open_catalog(settings.collection_dir).close()  # one that was deleted meanwhile must not be made anew
        jobs.become(settings.home, job.id, "running")
        try:
            return _WORK[job.kind](settings, job, _seldom(partial(jobs.tell, settings.home, job.id)))
        except LockedError:
            jobs.become(settings.home, job.id, "waiting")
            time.sleep(_LOCKED)


def _seldom(tell: Tell) -> Tell:
    """The same, but a few times a second at most."""
    last = 0.0

    def told(done: int, total: int, now: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _OFTEN:
            last = time.monotonic()
            tell(done, total, now)

    return told


def _progress(tell: Tell) -> "Callable[[Progress], None]":
    return lambda p: tell(p.size, p.all_size, f"{min(p.files + 1, p.all_files)}/{p.all_files} {p.now}" if p.now else "")


def _sync(settings: Settings, job: Job, tell: Tell) -> Mapping[str, Any]:
    from ingest.pipeline import ingest

    return _summary(ingest(settings, _paths(job), on_progress=_progress(tell)))


def _retry(settings: Settings, job: Job, tell: Tell) -> Mapping[str, Any]:
    """Read files again that could not be read the last time, also where they did not change since."""
    from ingest.pipeline import ingest
    from rag.index import LocalIndex, open_catalog

    paths = [path for path in _paths(job) if os.path.lexists(path)]
    if not paths:
        raise InputError("These files are no longer there; sync their folder to forget them.")
    with closing(LocalIndex(open_catalog(settings.collection_dir))) as index, index.locked():
        known = index.catalog.sources()
        for source in (known[str(path)] for path in paths if str(path) in known):
            index.catalog.put_source(replace(source, read_ns=0))  # as if no reading could be relied on
    return _summary(ingest(settings, paths, on_progress=_progress(tell)))


def _watch(settings: Settings, job: Job, tell: Tell) -> Mapping[str, Any]:
    """Never ends by itself: a folder that is missing at first is looked for again."""
    home = settings.home
    for report in _reports(settings, job, tell):
        if report.problem:
            jobs.become(home, job.id, "running", problem=report.problem)
        else:
            jobs.become(home, job.id, "running", _summary(report))
            jobs.tell(home, job.id, 0, 0, "")
    raise AssertionError("watching ends only from outside")


def _reports(settings: Settings, job: Job, tell: Tell) -> "Iterator[Report]":
    from ingest.pipeline import watch
    from ingest.report import Report

    while True:
        try:
            yield from watch(settings, _paths(job), on_progress=_progress(tell))
        except (InputError, LockedError) as error:
            yield Report(problem=str(error))
            time.sleep(_MISSING)


def _reembed(settings: Settings, job: Job, tell: Tell) -> Mapping[str, Any]:
    from ingest.reembedding import reembed

    return {"passages": reembed(settings, tell), "embedder": settings.embedder}


def _export(settings: Settings, job: Job, tell: Tell) -> Mapping[str, Any]:
    from rag.index.collections import export

    file = jobs.export_file(settings.home, job.id)
    try:
        export(settings.collection_dir, file)
    finally:
        file.with_name(f"{file.name}.new").unlink(missing_ok=True)
    return {"size": file.stat().st_size}


def _paths(job: Job) -> list[Path]:
    return [Path(path) for path in job.arguments["paths"]]


def _summary(report: "Report") -> Mapping[str, Any]:
    """A report in numbers: which files were not read, and why, is in the collection."""
    lists = ("added", "changed", "moved", "removed")
    return {name: len(getattr(report, name)) for name in lists} | {
        "unchanged": report.unchanged,
        "passages": report.passages,
        "not_read": len(report.quarantined),
    }


_WORK: dict[str, Work] = {"sync": _sync, "retry": _retry, "watch": _watch, "reembed": _reembed, "export": _export}


if __name__ == "__main__":
    main(int(sys.argv[1]))
