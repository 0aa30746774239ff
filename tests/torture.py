"""Kills, damage and full disks against a collection, with a dict as the witness. Run by `tests/test_torture.py`.

    python -m tests.torture kills --rounds 200     kill -9 at every step in turn, or at random, and go on with the store
    python -m tests.torture naive --rounds 60      the same against a store that writes its index in place: must fail
    python -m tests.torture damage --rounds 100    flipped bits and cut-off files
    python -m tests.torture full --rounds 30       a disk that is full; with --disk FOLDER a real one
    python -m tests.torture readers --rounds 30    readers beside a writer: each sees one committed state
    python -m tests.torture machine --rounds 30    hypothesis: any order of all of these

A process of its own that has loaded no threads, so that it may fork: each deed is done by a child that may die.
kill -9 is not a power cut: that the file system keeps what was flushed is taken for granted here.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import closing
from functools import partial
from pathlib import Path

import faiss
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from rag.errors import RagError
from rag.index import lexical, local, open_index, vectors
from rag.index.catalog import Catalog
from rag.index.checking import check
from rag.index.database import FILE, Database
from rag.index.records import Source
from rag.schema import Document, Span

DIMENSION = 16
IDENTITY = {"name": "torture", "weights_sha256": "0", "configuration_sha256": "0", "dimension": DIMENSION}
faiss.omp_set_num_threads(1)  # a child could not go on with threads that it has not
local._PATIENCE = 5.0  # rather than a minute: what waits here waits for nothing
vectors.FLAT_UP_TO = 30  # so that small collections have snapshots too

# An operation is (path, text): store this text under this path, or with None forget the path.


def embed(text):
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def spans(text):
    """Two passages, so that half a document could be told from a whole one; see `every`."""
    return [Span(0, len(text) // 2), Span(len(text) // 2, len(text))]


def every(what):
    """A text of which both halves hold the word "every"."""
    return f"every {what} | every {what}"


class Collection:
    """The real thing."""

    def __init__(self, folder):
        self.index = open_index(folder, IDENTITY, create=True)

    def run(self, operations, acknowledge):
        with self.index.writing():
            for number, (path, text) in enumerate(operations):
                if text is None:
                    self.index.catalog.remove_sources([path])
                else:
                    put(self.index.catalog, path, text)
                acknowledge(number)
                if number % 3 == 2:
                    self.index.publish()

    def contents(self):
        """{path: text}, and the passages that words and vectors find."""
        with self.index.reading():
            stored = {path: d.text for d in self.index.catalog.documents() for path in d.sources}
            ids = [i for i, _ in self.index.search_lexical("every", 10_000)]
            near = [i for i, _ in self.index.search_dense(embed("x"), 10_000)]
            passages = self.index.passages(self.index.catalog.passage_ids().tolist())
            assert sorted(ids) == sorted(near) == sorted(passages), "an index does not show the catalogue's state"
            return stored, sorted(p.text for p in passages.values())

    def check(self):
        found = [finding for finding in check(self.index, repair=False) if "interrupted" not in finding.what]
        assert found == [], found


class Naive:
    """How it is often done: commit to the database, then write the index in place."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True, parents=True)
        self.catalog = Catalog(folder)
        self.file = folder / "index.json"

    def run(self, operations, acknowledge):
        for number, (path, text) in enumerate(operations):
            if text is None:
                self.catalog.remove_sources([path])
            else:
                put(self.catalog, path, text)
            with self.file.open("w") as out:
                for i in self.catalog.passage_ids().tolist():
                    out.write(f"{i}\n")
                    out.flush()
                    os.fsync(out.fileno())
            acknowledge(number)

    def contents(self):
        stored = {path: d.text for d in self.catalog.documents() for path in d.sources}
        ids = [int(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        passages = self.catalog.passages(self.catalog.passage_ids().tolist())
        assert sorted(ids) == sorted(passages), "the index does not show the catalogue's state"
        return stored, sorted(p.text for p in passages.values())

    def check(self):
        pass


def put(catalog, path, text):
    document_id = hashlib.sha256(text.encode()).hexdigest()
    source = Source(path, 1, 1, document_id)
    if catalog.has_document(document_id):
        catalog.put_source(source)
        return
    document = Document(document_id, (path,), path, "text/plain", text)
    parts = [text[s.start : s.end] for s in spans(text)]
    catalog.put_document(document, spans(text), np.stack([embed(part) for part in parts]), source)


# children


def in_child(deed):
    """Do something in a child; returns (exit status, what it wrote)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            deed(lambda line: os.write(writing, f"{line}\n".encode()))
            status = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent, who judges it
            os.write(writing, json.dumps([type(error).__mro__[-4].__name__, repr(error)]).encode() + b"\n")
            if not isinstance(error, RagError | OSError):
                traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().decode(errors="replace").splitlines()
    _, status = os.waitpid(child, 0)
    return status, lines


def killed_at(step):
    """Kill this process at its n-th step towards the disk."""
    left = [step]

    def counting(function):
        def counted(*arguments, **keywords):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return counted

    for owner, name in (
        (Database, "execute"),
        (Database, "execute_many"),
        (Path, "replace"),
        (Path, "write_text"),
        (Path, "unlink"),
        (os, "fsync"),
        (shutil, "rmtree"),
        (lexical.LexicalIndex, "_write"),
        (lexical.LexicalIndex, "_record_sums"),
    ):
        setattr(owner, name, counting(getattr(owner, name)))


def kill_in(seconds):
    """Kill this process after a while, wherever it is: in SQLite, tantivy or FAISS."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def verified(kind, folder, witnesses):
    """The witness that the store agrees with; fails where there is none."""

    def deed(say):
        store = kind(folder)
        stored, passages = store.contents()
        matching = [n for n, witness in enumerate(witnesses) if witness == stored]
        assert matching, f"the store holds {stored}, which is none of {witnesses}"
        wanted = sorted(text[s.start : s.end] for text in set(stored.values()) for s in spans(text))
        assert passages == wanted, "passages are missing or too many"
        store.check()
        say(matching[-1])

    status, lines = in_child(deed)
    if status:
        raise AssertionError(f"after a kill: {lines}")
    return int(lines[-1])


# deeds


def operation(rng, known):
    """Something to do with one of a few paths."""
    path = f"/{rng.randrange(8)}.txt"
    if path in known and rng.random() < 0.4:
        return path, None
    return path, every(f"text {rng.randrange(40)} has words like tar{rng.randrange(10)}")


def applied(witness, operations):
    """The witness after each number of operations, from none to all."""
    states = [dict(witness)]
    for path, text in operations:
        after = dict(states[-1])
        after.pop(path, None)
        states.append(after if text is None else after | {path: text})
    return states


def kills(kind, folder, rounds, seed=0):
    """Kill a writer again and again, each time at another step, and go on with what it left. Returns the kills."""
    rng = random.Random(seed)
    witness = {}
    done = 0
    step = 1
    while done < rounds:
        operations = []
        for _ in range(5):
            operations.append(operation(rng, applied(witness, operations)[-1]))

        threat = partial(killed_at, step) if rng.random() < 0.7 else partial(kill_in, rng.random() * 0.15)
        status, lines = in_child(partial(work, kind, folder, operations, threat))
        acknowledged = len([line for line in lines if line.isdecimal()])
        states = applied(witness, operations)
        if os.WIFSIGNALED(status):
            done += 1
        else:
            assert status == 0, lines
            step = 0  # past the last one: begin anew
        step += 1
        now = verified(kind, folder, states[acknowledged : acknowledged + 2])
        witness = states[acknowledged : acknowledged + 2][now]
    return done


def work(kind, folder, operations, threat, say):
    store = kind(folder)
    threat()
    store.run(operations, say)


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_disk(ballast, room):
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(ballast.parent).free - room))


def readers(folder, rounds, seed=0):
    """Read again and again while another process writes: each time one committed state, and never an earlier one."""
    rng = random.Random(seed)
    operations = []
    for _ in range(rounds):
        operations.append(operation(rng, applied({}, operations)[-1]))
    states = applied({}, operations)

    def read(say):
        store = Collection(folder)
        seen = [0]
        while states[seen[-1]] != states[-1] or seen[-1] != len(operations):
            stored, passages = store.contents()
            seen.append(next(n for n in range(seen[-1], len(states)) if states[n] == stored))
            assert len(passages) == 2 * len(set(stored.values()))
            if stored == states[-1] and len(set(seen)) > 1:
                break
        say(len(set(seen)))

    in_child(lambda say: Collection(folder))
    writer = os.fork()
    if writer == 0:
        Collection(folder).run(operations, lambda number: time.sleep(0.05))  # or it may be done before anybody reads
        os._exit(0)
    status, lines = in_child(read)
    assert os.waitpid(writer, 0)[1] == 0
    assert status == 0, lines
    return int(lines[-1])


def damage(folder, rounds, seed=0):
    """Flip a bit or cut a file: the answers stay the same, or there is a sentence, or the doctor sees it."""
    rng = random.Random(seed)
    texts = [(f"/{n}.txt", every(f"text {n} has words like tar{n % 7}")) for n in range(40)]
    store = folder / "whole"
    in_child(lambda say: Collection(store).run(texts, say))
    in_child(lambda say: Collection(store).run([("/0.txt", None)], say))
    witness = dict(texts[1:])
    outcomes = {"same": 0, "a sentence": 0, "seen by the doctor": 0}
    files = sorted(file.relative_to(store) for file in store.rglob("*") if file.is_file() and file.stat().st_size)
    for _ in range(rounds):
        harmed = folder / "harmed"
        shutil.rmtree(harmed, ignore_errors=True)
        shutil.copytree(store, harmed)
        file = harmed / (FILE if rng.random() < 0.5 else rng.choice(files))
        content = bytearray(file.read_bytes())
        if rng.random() < 0.3:
            content = content[: rng.randrange(len(content))]
        else:
            for _ in range(rng.choice((1, 1, 8))):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)

        status, lines = in_child(partial(look, harmed, witness))
        if status:
            assert lines, (file, status)
            assert json.loads(lines[-1])[0] == "RagError", (file, lines)
            outcomes["a sentence"] += 1
        else:
            assert lines[-1] in outcomes, lines
            outcomes[lines[-1]] += 1
    return outcomes


def look(folder, witness, say):
    with closing(Collection(folder).index) as index:
        findings = [finding.what for finding in check(index, repair=False)]
    if findings:
        say("seen by the doctor")
        return
    stored, passages = Collection(folder).contents()
    assert stored == witness
    assert len(passages) == 2 * len(witness)
    say("same")


def full(folder, rounds, seed=0, real=False):
    """Let no file grow beyond a size, or fill the disk: the writer says so, and what it acknowledged stays."""
    ballast = folder.with_name("ballast")
    rng = random.Random(seed)
    witness = {}
    refused = 0
    for n in range(rounds):
        operations = [(f"/{n}-{i}.txt", every(f"text {n} {i} " + "tar and feathers " * 100)) for i in range(4)]
        largest = max([file.stat().st_size for file in folder.rglob("*") if file.is_file()], default=0)
        threat = partial(limit_files, largest + rng.randrange(60_000))
        if real:
            in_child(lambda say: Collection(folder))
            threat = partial(fill_disk, ballast, rng.randrange(200_000))
        status, lines = in_child(partial(work, Collection, folder, operations, threat))
        ballast.unlink(missing_ok=True)
        acknowledged = len([line for line in lines if line.isdecimal()])
        if status:
            refused += 1
            assert json.loads(lines[-1])[0] in ("RagError", "OSError"), (status, lines)
        states = applied(witness, operations)[acknowledged : acknowledged + 2]
        witness = states[verified(Collection, folder, states)]
    assert refused, "the disk was never full"
    return refused


class Machine(RuleBasedStateMachine):
    """Any order of deeds, against a dict. Each opens the collection anew, in a child, which has threads of its own."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "store"
        self.witness = {}
        self.done([])

    paths = st.integers(0, 5).map("/{}.txt".format)
    words = st.integers(0, 9).map(lambda n: every(f"text number {n}"))

    def done(self, operations, threat=lambda: None):
        """Do something, or be killed at it, and see what is there then."""
        status, lines = in_child(partial(work, Collection, self.folder, operations, threat))
        assert status == 0 or os.WIFSIGNALED(status), lines
        acknowledged = len([line for line in lines if line.isdecimal()])
        states = applied(self.witness, operations)[acknowledged:]
        self.witness = states[verified(Collection, self.folder, states)]

    @rule(operations=st.lists(st.tuples(paths, words | st.none()), min_size=1, max_size=3))
    def add_change_delete(self, operations):
        self.done(operations)

    @rule(operations=st.lists(st.tuples(paths, words | st.none()), min_size=1, max_size=1), step=st.integers(1, 90))
    def kill(self, operations, step):
        self.done(operations, partial(killed_at, step))

    @rule()
    def rebuild(self):
        status, lines = in_child(partial(rebuild, self.folder))
        assert status == 0, lines
        self.done([])

    @precondition(lambda self: self.witness)
    @rule(which=st.integers(0, 999), where=st.integers(0, 10**6))
    def corrupt_a_cache(self, which, where):
        caches = [f for f in self.folder.rglob("*") if f.is_file() and f.suffix != ".sqlite" and f.stat().st_size]
        file = sorted(caches)[which % len(caches)]  # tantivy's names and sizes are its own
        content = bytearray(file.read_bytes())
        content[where % len(content)] ^= 0xFF
        file.write_bytes(content)
        self.done([])

    def teardown(self):
        shutil.rmtree(self.folder.parent)


def rebuild(folder, say):
    index = Collection(folder).index
    with index.writing():
        index.rebuild_words()
        index.drop_snapshot()


def machine(rounds):
    options = settings(
        max_examples=rounds, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=HealthCheck
    )
    run_state_machine_as_test(Machine, settings=options)
    return rounds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("deed", choices=["kills", "naive", "damage", "full", "readers", "machine"])
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.disk))
    try:
        print(
            {
                "kills": lambda: kills(Collection, folder / "store", options.rounds, options.seed),
                "naive": lambda: kills(Naive, folder / "store", options.rounds, options.seed),
                "damage": lambda: damage(folder, options.rounds, options.seed),
                "full": lambda: full(folder / "store", options.rounds, options.seed, options.disk is not None),
                "readers": lambda: readers(folder / "store", options.rounds, options.seed),
                "machine": lambda: machine(options.rounds),
            }[options.deed]()
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
