"""Reader: a file -> its document and its passages' places, read in a child process under limits.

A file that crashes the child, or takes too much memory or time, is a `ParseError` like any other; the next file gets a
new child. The two talk in JSON: nothing that the child says is executed.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from rag.errors import ModelError, ParseError, UnfinishedError
from rag.schema import Document, Span

# The version of what is made of a file. Raise it with every change of that: files are then read again.
VERSION = "2"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take."""

    memory: int = 3_000_000_000  # bytes of address space
    computing: int = 60  # seconds of the processor
    waiting: float = 180.0  # seconds in all


class Reader:
    """A child process that is started when the first file comes and again whenever it has ended."""

    def __init__(self, embedder_folder: Path, limits: Limits | None = None) -> None:
        """Read for the embedder in a folder, whose tokenizer counts."""
        self._limits = limits or Limits()
        arguments = [str(embedder_folder), str(self._limits.memory), str(self._limits.computing)]
        self._command = [sys.executable, "-m", "ingest.worker", *arguments]
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def read(self, path: Path) -> tuple[Document, list[Span]]:
        """A file's document and spans. Raises `ParseError` with the reason where there are none."""
        answer = json.loads(self._ask(json.dumps(str(path)).encode() + b"\n"))
        if "problem" in answer:
            raise ParseError(answer["problem"])
        fields: dict[str, Any] = answer["document"]
        fields["sources"] = tuple(fields["sources"])
        fields["places"] = tuple((offset, number) for offset, number in fields["places"])
        fields["dropped"] = MappingProxyType(fields["dropped"])
        spans = [Span(start, end, first, last, tuple(path)) for start, end, first, last, path in answer["spans"]]
        return Document(**fields), spans

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._child.kill()
            self._child.communicate()
            self._child = None
        if self._errors:
            self._errors.close()
            self._errors = None

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child lives
            self._child = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=Path(__file__).parents[1],
                start_new_session=True,  # Ctrl-C is for us to handle
            )
            if reason := json.loads(self._receive(self._child)).get("model"):
                raise ModelError(reason)
        return self._child

    def _ask(self, request: bytes) -> bytes:
        try:
            child = self._start()
            with contextlib.suppress(BrokenPipeError):  # what comes back instead of an answer says why it ended
                if child.stdin:
                    child.stdin.write(request)
                    child.stdin.flush()
            return self._receive(child)
        except BaseException:
            self.close()  # an answer that comes too late must not be taken for the next file's
            raise

    def _receive(self, child: subprocess.Popen[bytes]) -> bytes:
        """One line from the child."""
        if child.stdout is None:
            raise TypeError("the child was started with a pipe")
        deadline = time.monotonic() + self._limits.waiting
        answer = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise UnfinishedError(f"it took longer than {self._limits.waiting:.0f} seconds to read")
                piece = os.read(child.stdout.fileno(), 1 << 20)
                if not piece:
                    raise self._why_it_ended(child)
                answer += piece
        return bytes(answer)

    def _why_it_ended(self, child: subprocess.Popen[bytes]) -> ParseError:
        code = child.wait()
        said = self._last_words()
        if code == -signal.SIGXCPU:
            return ParseError(f"it took more than {self._limits.computing} seconds of computing to read")
        if "memory" in said.lower():
            return ParseError(f"it takes more than {self._limits.memory / 1e9:.0f} GB of memory to read")
        if code == -signal.SIGKILL:
            return UnfinishedError("its reading was killed, perhaps for want of memory; it is read again next time")
        return ParseError(f"its parser crashed ({said or f'exit code {code}'})")

    def _last_words(self) -> str:
        """The last line of what the child wrote to stderr."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else ""
