"""Laws of the worker: one job after the other, in order; none lost, none done twice; who leaves gives a place back."""

import random
import threading
import time
from contextlib import closing

import pytest

from rag.errors import InputError, RagError
from ui.worker import BusyError, FailedError, Waiting, Worker

TICK = 0.005
LONG = 20.0  # seconds after which a test that waits has failed


@pytest.fixture
def gate():
    """A gate that a job waits at; opened at the end whatever happens."""
    opened = threading.Event()
    yield opened
    opened.set()


def waits_at(gate):
    """A job that begins, and ends when the gate opens or when it is cancelled; it tells which."""

    def job(cancelled, tell):
        tell("begun")
        while not gate.wait(TICK):
            if cancelled.is_set():
                break
        tell("cancelled" if cancelled.is_set() else "opened")

    return job


def telling(*events):
    def job(cancelled, tell):
        for event in events:
            tell(event)

    return job


def told(ticket):
    """What a job tells, without the waiting and the silence."""
    return [event for event in ticket.follow(TICK) if event is not None and not isinstance(event, Waiting)]


def begun(ticket):
    """Its events, from the one on that says that it is at work."""
    events = ticket.follow(TICK)
    while next(events) != "begun":
        pass
    return events


def until(holds):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < LONG
        time.sleep(TICK)


def test_a_job_tells_its_events_in_order_and_ends():
    worker = Worker()
    assert told(worker.submit(telling(*range(500)))) == [*range(500)]
    assert told(worker.submit(telling())) == []


def test_jobs_are_done_in_the_order_in_which_they_came(gate):
    worker, done = Worker(places=30), []
    first = worker.submit(waits_at(gate))
    later = [worker.submit(lambda cancelled, tell, n=n: done.append(n)) for n in range(20)]
    gate.set()
    told(first)
    assert told(later[-1]) == []
    assert done == [*range(20)]


def test_one_thread_does_them_all_one_at_a_time():
    worker, at_work, most, threads = Worker(places=50), [], [], set()

    def job(cancelled, tell):
        at_work.append(1)
        threads.add(threading.get_ident())
        most.append(len(at_work))
        time.sleep(0.001)
        at_work.pop()

    for ticket in [worker.submit(job) for _ in range(30)]:
        told(ticket)
    assert (set(most), len(threads)) == ({1}, 1)
    assert threading.get_ident() not in threads


def test_a_place_is_shown_and_falls(gate):
    worker = Worker()
    gates = [gate, threading.Event(), threading.Event()]
    tickets = [worker.submit(waits_at(one)) for one in gates]
    first = begun(tickets[0])
    last = tickets[2].follow(TICK)
    seen = [next(last)]
    assert seen == [Waiting(2)], "the one at work and one more"
    gates[0].set()
    until(lambda: next(last) == Waiting(1))
    gates[1].set()
    until(lambda: next(last) == "begun")
    assert worker.ahead_of(tickets[2]) is None
    assert next(last) is None, "it is at work, and silent"
    gates[2].set()
    assert [event for event in last if event is not None] == ["opened"]
    assert list(first)[-1] == "opened"


def test_a_full_queue_refuses_and_a_free_place_is_taken(gate):
    worker = Worker(places=2)
    first = begun(worker.submit(waits_at(gate)))
    waiting = [worker.submit(telling("done")) for _ in range(2)]
    with pytest.raises(BusyError, match="2 questions wait already"):
        worker.submit(telling())
    waiting[0].cancel()
    last = worker.submit(telling("done too"))
    with pytest.raises(BusyError):
        worker.submit(telling())
    gate.set()
    assert told(waiting[1]) == ["done"]
    assert told(last) == ["done too"]
    assert list(first)[-1] == "opened"


def test_who_leaves_while_waiting_gives_the_place_back_and_is_never_done(gate):
    worker, done = Worker(places=1), []
    first = begun(worker.submit(waits_at(gate)))
    left = worker.submit(lambda cancelled, tell: done.append("left"))
    with closing(left.follow(TICK)) as events:
        assert next(events) == Waiting(1)
    assert worker.ahead_of(left) is None
    stays = worker.submit(lambda cancelled, tell: done.append("stays"))
    gate.set()
    told(stays)
    assert done == ["stays"]
    assert list(first)[-1] == "opened"


def test_who_leaves_at_work_cancels_and_the_next_job_is_done(gate):
    worker, ended = Worker(), []

    def job(cancelled, tell):
        tell("begun")
        ended.append(cancelled.wait(LONG))

    with closing(begun(worker.submit(job))):
        pass
    assert told(worker.submit(telling("next"))) == ["next"]
    assert ended == [True]


def test_what_was_cancelled_before_it_began_is_not_done_even_if_it_left_the_queue():
    worker, done = Worker(), []
    ticket = worker.submit(waits_at(threading.Event()))
    begun(ticket)
    late = worker.submit(lambda cancelled, tell: done.append(1))
    late.cancelled.set()  # as if it were taken out of the queue just when it is cancelled
    ticket.cancel()
    assert told(late) == []
    assert done == []


def test_cancelling_what_has_ended_changes_nothing():
    worker = Worker()
    ticket = worker.submit(telling("a"))
    assert told(ticket) == ["a"]
    ticket.cancel()
    ticket.cancel()
    assert told(worker.submit(telling("b"))) == ["b"]


def test_who_waits_too_long_is_told_and_never_done(gate):
    worker, done = Worker(patience=0.2), []
    first = begun(worker.submit(waits_at(gate)))
    ticket = worker.submit(lambda cancelled, tell: done.append(1))
    with pytest.raises(BusyError, match="busy for too long"):
        told(ticket)
    gate.set()
    assert list(first)[-1] == "opened"
    assert told(worker.submit(telling("next"))) == ["next"]
    assert done == []


def test_patience_is_for_waiting_not_for_work(gate):
    worker = Worker(patience=1.0)
    threading.Timer(1.5, gate.set).start()
    assert told(worker.submit(waits_at(gate))) == ["begun", "opened"]


def test_what_works_too_long_is_cancelled_and_others_are_not(gate):
    worker = Worker(limit=0.5)
    assert told(worker.submit(waits_at(gate))) == ["begun", "cancelled"]
    quick = worker.submit(telling("quick"))
    assert told(quick) == ["quick"]
    time.sleep(0.6)
    slow = Worker(limit=LONG).submit(waits_at(gate))
    threading.Timer(10 * TICK, gate.set).start()
    assert told(slow) == ["begun", "opened"]


@pytest.mark.parametrize("error", [InputError("a sentence."), ValueError("a bug"), MemoryError(), KeyboardInterrupt()])
def test_what_a_job_raises_reaches_who_follows_and_the_next_is_done(error):
    worker = Worker()

    def job(cancelled, tell):
        tell("before")
        raise error

    events = worker.submit(job).follow(TICK)
    seen = [*iter(lambda: next(events), "before")]
    expected = isinstance(error, RagError)
    with pytest.raises(type(error) if expected else FailedError) as raised:
        list(events)
    assert (raised.value if expected else raised.value.__cause__) is error
    assert type(error).__name__ in ("InputError" if expected else str(raised.value))
    assert all(event is None or isinstance(event, Waiting) for event in seen)
    assert told(worker.submit(telling("next"))) == ["next"]


def test_what_nobody_follows_is_done_all_the_same():
    worker, done = Worker(), threading.Event()
    worker.submit(lambda cancelled, tell: done.set())
    assert done.wait(LONG)


def test_many_at_once_lose_nothing_and_do_nothing_twice():
    worker, done, refused, left = Worker(places=5), [], [], []
    draw = random.Random(3)
    plans = [[(person, n, draw.random() < 0.3) for n in range(12)] for person in range(16)]

    def ask(plan):
        for person, n, leaves in plan:

            def job(cancelled, tell, one=(person, n)):
                done.append(one)
                for number in range(5):
                    tell((one, number))

            try:
                ticket = worker.submit(job)
            except BusyError:
                refused.append((person, n))
                time.sleep(TICK)
                continue
            if leaves:
                left.append((person, n))
                with closing(ticket.follow(TICK / 5)) as events:
                    next(events, None)
            else:
                assert told(ticket) == [((person, n), number) for number in range(5)]
                heard.append((person, n))

    heard = []
    people = [threading.Thread(target=ask, args=(plan,)) for plan in plans]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join(LONG)
    told(worker.submit(telling()))
    everything = {(person, n) for plan in plans for person, n, _ in plan}
    assert len(done) == len(set(done)), "nothing twice"
    assert set(heard) <= set(done)
    assert set(done) - set(heard) <= set(left)
    assert set(heard) | set(left) | set(refused) == everything
    assert not set(refused) & set(done)
    assert refused, "the queue was full at times"
    assert {worker.submit(telling(n)) for n in range(5)}, "all places are free again"


def test_who_comes_back_in_time_goes_on_where_they_left(gate):
    worker, ended = Worker(), []

    def job(cancelled, tell):
        tell("first")
        gate.wait(LONG)
        tell("second")
        ended.append(cancelled.is_set())

    ticket = worker.submit(job)
    with closing(ticket.follow(TICK, grace=LONG)) as events:
        assert next(event for event in events if isinstance(event, str)) == "first"
    late = ticket.follow(TICK, grace=TICK)
    assert next(late) is None
    again = ticket.follow(TICK, grace=LONG)
    assert next(again) is None
    late.close()  # who followed before no longer counts, however late they end
    time.sleep(5 * TICK)
    gate.set()
    assert [event for event in again if event] == ["second"]
    assert list(ticket.follow(TICK)) == [], "that it has ended is known to all who come later"
    assert ended == [False]


def test_who_does_not_come_back_in_time_has_left(gate):
    worker = Worker()
    ticket = worker.submit(lambda cancelled, tell: (tell("begun"), cancelled.wait(LONG), gate.set()))
    with closing(ticket.follow(TICK, grace=TICK)) as events:
        next(event for event in events if event == "begun")
    assert gate.wait(LONG)
    assert ticket.cancelled.is_set()


def test_who_stops_while_waiting_is_told_that_it_has_ended(gate):
    worker = Worker()
    first = begun(worker.submit(waits_at(gate)))
    waiting = worker.submit(telling("never"))
    events = waiting.follow(TICK)
    assert next(events) == Waiting(1)
    waiting.cancel()
    assert list(events) == []
    gate.set()
    assert list(first)[-1] == "opened"
