"""Where commands print: data on stdout, progress on stderr."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ui.terminal import printable

Options = argparse.Namespace
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One line of JSON; not rich's way, which wraps."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _is_silent(options: Options) -> bool:
    return options.quiet or not err.is_terminal


@contextmanager
def status(options: Options, text: str) -> Iterator[None]:
    """A sign of life on a terminal while something loads."""
    if _is_silent(options):
        yield
        return
    with err.status(text):
        yield


@contextmanager
def counted(options: Options) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr: `advance(done, total, what is next)`."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=_is_silent(options), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(
            task, completed=done, total=total, description=printable(what[:40])
        )


@contextmanager
def measured(options: Options) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr over bytes, with their rate and the time left: `advance(done, total, what is at hand)`."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=_is_silent(options), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(
            task, completed=done, total=total, description=printable(what[-60:])
        )
