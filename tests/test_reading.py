"""The child process that reads files: what it says arrives unchanged, and its end is a reason, not ours."""

import os
import signal
import time

import pytest

from ingest.chunking import Chunker
from ingest.parsing import parse
from ingest.reading import Limits, Reader
from rag.errors import ModelError, ParseError
from rag.models import bundled_file

EMBEDDER = bundled_file("embedder")


@pytest.fixture(scope="module")
def reader():
    with_child = Reader(EMBEDDER)
    yield with_child
    with_child.close()


def test_what_is_read_is_what_would_be_read_here(reader, tmp_path):
    file = tmp_path / "notes 防火.md"
    file.write_text("# Boats\n\nOak “ribs” are steamed.\n\n## Paint\n\nEvery spring.\n" * 40)
    document = parse(file)
    assert reader.read(file) == (document, Chunker(EMBEDDER).chunk(document))


def test_a_reason_comes_through_and_the_next_file_is_read(reader, tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.txt").write_text("  ")
    with pytest.raises(ParseError, match="holds no text"):
        reader.read(tmp_path / "b.txt")
    assert reader.read(tmp_path / "a.txt")[0].text == "words"


def test_a_child_that_dies_is_a_reason_and_another_one_reads_on(reader, tmp_path):
    (tmp_path / "a.txt").write_text("words")
    reader.read(tmp_path / "a.txt")
    os.kill(reader._child.pid, signal.SIGKILL)
    with pytest.raises(ParseError, match="was killed"):
        reader.read(tmp_path / "a.txt")
    assert reader.read(tmp_path / "a.txt")[0].text == "words"


def test_a_crash_in_a_parser_names_it(tmp_path):
    reader = Reader(EMBEDDER)
    (tmp_path / "a.txt").write_text("words")
    reader._command[1:3] = ["-c", CRASH]
    with pytest.raises(ParseError, match=r"its parser crashed.*ZeroDivisionError"):
        reader.read(tmp_path / "a.txt")
    reader.close()


CRASH = """
import sys, ingest.worker as worker
worker.parse = lambda path: 1 / 0
worker.main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""
GREEDY = CRASH.replace("1 / 0", "bytearray(10**10)")
BUSY = CRASH.replace("1 / 0", "[0 for n in iter(int, 1)]")
SLEEPY = CRASH.replace("1 / 0", "__import__('time').sleep(60)")
NOISY = CRASH.replace("lambda path: 1 / 0", "lambda path, real=worker.parse: (print('{}'), real(path))[1]")


@pytest.mark.parametrize(
    ("code", "limits", "reason"),
    [
        (GREEDY, Limits(), "more than 3 GB of memory"),
        (BUSY, Limits(computing=1), "more than 1 seconds of computing"),
        (SLEEPY, Limits(waiting=2), "longer than 2 seconds"),
    ],
)
def test_a_file_that_takes_too_much_is_given_up(tmp_path, code, limits, reason):
    reader = Reader(EMBEDDER, limits)
    (tmp_path / "a.txt").write_text("words")
    reader._command[1:3] = ["-c", code]
    began = time.monotonic()
    with pytest.raises(ParseError, match=reason):
        reader.read(tmp_path / "a.txt")
    assert time.monotonic() - began < 30
    reader.close()


def test_what_a_library_prints_is_no_answer(tmp_path):
    reader = Reader(EMBEDDER)
    (tmp_path / "a.txt").write_text("words")
    reader._command[1:3] = ["-c", NOISY]
    assert reader.read(tmp_path / "a.txt")[0].text == "words"
    reader.close()


def test_an_embedder_that_cannot_be_read_is_no_fault_of_the_file(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    reader = Reader(tmp_path)
    with pytest.raises(ModelError, match="no readable tokenizer"):
        reader.read(tmp_path / "a.txt")
    reader.close()
