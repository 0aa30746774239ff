"""The child process that reads files: a path a line comes in, a document with its passages' places a line goes out.

What files hold is not trusted. A parser that crashes, or takes too much memory or time, ends only this process.
Started by `ingest.reading`, which knows the limits and what an end of this process means.
"""

import dataclasses
import json
import os
import resource
import sys
from pathlib import Path
from typing import TextIO

from ingest.chunking import Chunker
from ingest.parsing import parse
from rag.errors import ModelError, ParseError

_MAX_WRITTEN = 1_000_000  # bytes to a file: nothing but what it says before it crashes


def main(embedder_folder: str, memory: int, seconds: int) -> None:
    """Say whether the embedder can be read; then answer requests under limits: bytes of memory, seconds a file."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        chunker = Chunker(Path(embedder_folder))
    except ModelError as error:
        _say(answers, {"model": str(error)})
        return
    _say(answers, {})
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_WRITTEN, _MAX_WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for request in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        _say(answers, _answer(json.loads(request), chunker))


def _say(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(path: str, chunker: Chunker) -> dict[str, object]:
    """What is read from a file; only the reason where it cannot be."""
    try:
        document = parse(Path(path))
        spans = chunker.chunk(document)
    except ParseError as error:
        return {"problem": str(error)}
    fields = {field.name: getattr(document, field.name) for field in dataclasses.fields(document)}
    fields["dropped"] = dict(document.dropped)
    return {"document": fields, "spans": [dataclasses.astuple(span) for span in spans]}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
