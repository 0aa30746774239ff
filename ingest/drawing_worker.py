"""The child process that draws a page of a PDF: a request in JSON on stdin, a picture or a reason on stdout.

What files hold is not trusted. Started by `ingest.drawing`, which knows what an end of this process means.
"""

import base64
import hashlib
import json
import os
import resource
import sys
from pathlib import Path

from ingest.parsing.pdf_page import draw
from ingest.sources import read_bytes
from rag.errors import ParseError

_MAX_WRITTEN = 50_000_000  # bytes of the answer


def main(memory: int, seconds: int) -> None:
    """Answer one request under limits: bytes of memory, seconds of computing."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get into the answer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_WRITTEN, _MAX_WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    path, document_id, number, text, start, end = json.loads(sys.stdin.read())
    try:
        content, _ = read_bytes(Path(path))
        if hashlib.sha256(content).hexdigest() != document_id:
            raise ParseError("its file has changed since it was read")
        png, boxes = draw(content, number, text, start, end)
        said: dict[str, object] = {"png": base64.b64encode(png).decode(), "boxes": boxes}
    except ParseError as error:
        said = {"problem": str(error)}
    with answer:
        json.dump(said, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
