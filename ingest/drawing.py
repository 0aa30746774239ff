"""draw_page(): a page of a PDF as a picture, with the words of a place boxed, drawn in a child process under limits.

A page that crashes the child, or takes too much memory or time, is a `ParseError` like a file that cannot be read.
"""

import base64
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ingest.reading import Limits
from rag.errors import ParseError

LIMITS = Limits(memory=3_000_000_000, computing=20, waiting=40.0)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A page as a picture."""

    png: bytes
    boxes: int  # how many words are boxed on it


def draw_page(
    path: Path, document_id: str, number: int, text: str, start: int, end: int, limits: Limits = LIMITS
) -> Drawing:
    """A page, from 1, of a file whose sha256 is `document_id`.

    `text` is what was stored of that page; the words of `text[start:end]` are boxed where they are found on it. Raises
    `ParseError` with the reason where there is no picture, also where the file is another one by now.
    """
    request = json.dumps([str(path), document_id, number, text, start, end])
    arguments = [str(limits.memory), str(limits.computing)]
    with tempfile.TemporaryFile() as answer:  # not a pipe: the limit on files bounds what can be answered
        try:
            code = subprocess.run(  # noqa: S603 - our own command
                [sys.executable, "-m", "ingest.drawing_worker", *arguments],
                input=request.encode(),
                stdout=answer,
                stderr=subprocess.DEVNULL,
                cwd=Path(__file__).parents[1],
                timeout=limits.waiting,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise ParseError(f"the page takes longer than {limits.waiting:.0f} seconds to draw") from None
        answer.seek(0)
        said = answer.read()
    if code:
        raise ParseError("the page takes too much to draw, or its file is damaged")
    known = json.loads(said)
    if "problem" in known:
        raise ParseError(known["problem"])
    return Drawing(base64.b64decode(known["png"]), int(known["boxes"]))
