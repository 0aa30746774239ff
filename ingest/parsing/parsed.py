"""What every parser returns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's text; `page_starts` are the offsets of the first characters of its pages, if it has pages."""

    text: str
    title: str | None = None
    page_starts: tuple[int, ...] = ()
