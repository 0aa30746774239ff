"""`rag chat`: a conversation, a line of stdin a question. Ctrl-C stops the answer being written, Ctrl-D ends."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from rag.errors import InputError, RagError
from rag.schema import Turn
from rag.settings import Settings
from ui.commands import print_device, sampling_params
from ui.library import filter_of
from ui.output import Options, err, out, print_json, status


def chat(settings: Settings, options: Options) -> int:
    """Answer line after line, each with what was said before; 3 where some could not be answered."""
    from rag import load_assistant
    from ui import terminal

    params, keep = sampling_params(settings, tuple(options.stop)), filter_of(options)
    with status(options, "loading the models"):
        assistant = load_assistant(settings)
    if not options.quiet:
        print_device(settings, assistant)
    history: list[Turn] = []
    failed = False
    for question in _questions(options):
        try:
            with _stoppable() as cancelled:
                events = assistant.stream(question, params, settings.passages, keep, cancelled, history)
                shown = partial(terminal.show_answer, out, support=partial(assistant.support, cancelled=cancelled))
                answer = (terminal.last if options.json else shown)(events)
        except RagError as error:
            failed = True
            if options.json:
                print_json({"question": question, "error": str(error)})
            else:
                err.print(f"rag: {error}", markup=False)
            continue
        if options.json:
            print_json(terminal.as_data(answer))
        history.append(Turn(question, answer.text))
    return 3 if failed else 0


def _questions(options: Options) -> Iterator[str]:
    """The lines of stdin that say something, with a prompt before each where a person types them."""
    asks = sys.stdin.isatty() and not options.quiet
    while True:
        if asks:
            err.print("\n> ", end="")
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise InputError(f"The input is not valid text ({error}); send UTF-8.") from error
        if not line:
            return
        if line.strip():
            yield line.strip()


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, once: a second one interrupts the command."""
    cancelled = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        cancelled.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancelled
    finally:
        signal.signal(signal.SIGINT, before)
