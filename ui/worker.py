"""Worker: one thread that does one job after the other, for all who share the models. Knows neither models nor pages.

    submit -> a place in the queue -> at work: events -> done, failed, or cancelled

What a job tells reaches whoever follows its ticket. Who stops following, and does not come back, gives the place back.
"""

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rag.errors import RagError

Tell = Callable[[object], None]
Job = Callable[[threading.Event, Tell], None]  # the event says that it shall end


class BusyError(RagError):
    """Too many wait, or one waited too long; try again."""


class FailedError(RagError):
    """A job met an error that nobody expected."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many jobs are done before this one."""

    ahead: int


class Ticket:
    """A job's place, and what comes of it. One at a time follows it."""

    def __init__(self, worker: "Worker", job: Job) -> None:
        """Made by `Worker.submit`."""
        self._worker = worker
        self.job = job
        self.cancelled = threading.Event()
        self.out: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
        self._began = time.monotonic()
        self._follower: object = None  # the latest; one that ends late must not end the job for the next

    def follow(self, tick: float = 0.25, grace: float = 0.0) -> Iterator[object]:
        """What the job tells; `Waiting` every `tick` seconds before, None while it is silent.

        Raises what the job raises, and `BusyError` where it waited longer than the worker's `patience`. When the caller
        ends early, the job is cancelled, unless it is followed again within `grace` seconds: from where it was left.
        """
        me = self._follower = object()
        try:
            while True:
                with suppress(queue.Empty):
                    kind, value = self.out.get(timeout=tick)
                    if kind != "event":
                        self.out.put((kind, value))  # who follows later learns it too
                    if kind == "raised" and isinstance(value, RagError):
                        raise value
                    if kind == "raised" and isinstance(value, BaseException):
                        kind = type(value).__name__
                        raise FailedError(f"It failed ({kind}); the output of the server says more.") from value
                    if kind == "ended":
                        return
                    yield value
                    continue
                ahead = self._worker.ahead_of(self)
                if ahead is not None and time.monotonic() - self._began > self._worker.patience:
                    raise BusyError("The model was busy for too long; ask again in a moment.")
                yield None if ahead is None else Waiting(ahead)
        finally:
            if grace:
                _later(grace, lambda: self._left_by(me))
            else:
                self._left_by(me)

    def cancel(self) -> None:
        """Give the place back, or end the job soon; of a job that has ended it changes nothing."""
        self.cancelled.set()
        if self._worker.forget(self):
            self.out.put(("ended", None))

    def _left_by(self, follower: object) -> None:
        if self._follower is follower:
            self.cancel()


class Worker:
    """One thread with a bounded queue before it."""

    def __init__(self, places: int = 16, patience: float = 300.0, limit: float = 600.0) -> None:
        """At most `places` jobs wait, each for `patience` seconds; one that works longer than `limit` is cancelled."""
        self.patience = patience
        self._places = places
        self._limit = limit
        self._waiting: deque[Ticket] = deque()
        self._news = threading.Condition()
        threading.Thread(target=self._work, name="openbook-worker", daemon=True).start()

    def submit(self, job: Job) -> Ticket:
        """Queue a job. Raises `BusyError` where no place is free."""
        with self._news:
            if len(self._waiting) >= self._places:
                raise BusyError(f"{self._places} questions wait already; ask again in a moment.")
            ticket = Ticket(self, job)
            self._waiting.append(ticket)
            self._news.notify()
            return ticket

    def ahead_of(self, ticket: Ticket) -> int | None:
        """How many jobs come first, the one at work included; None for one that waits no longer."""
        with self._news:
            return self._waiting.index(ticket) + 1 if ticket in self._waiting else None

    def forget(self, ticket: Ticket) -> bool:
        """Take a job out of the queue; whether it was there."""
        with self._news, suppress(ValueError):
            self._waiting.remove(ticket)
            return True
        return False

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting)
                ticket = self._waiting.popleft()
            with _ended_after(self._limit, ticket.cancelled):
                self._do(ticket)

    def _do(self, ticket: Ticket) -> None:
        try:
            if not ticket.cancelled.is_set():
                ticket.job(ticket.cancelled, lambda event: ticket.out.put(("event", event)))
            ticket.out.put(("ended", None))
        except BaseException as error:  # noqa: BLE001 - told where it is followed; the next job must be done
            if not isinstance(error, RagError):
                traceback.print_exception(error)
            ticket.out.put(("raised", error))


@contextmanager
def _ended_after(seconds: float, cancelled: threading.Event) -> Iterator[None]:
    timer = _later(seconds, cancelled.set)
    try:
        yield
    finally:
        timer.cancel()


def _later(seconds: float, do: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()
    return timer
