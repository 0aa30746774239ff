"""The view's script and style as text. One module for the browser: its parts see each other without imports."""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_PARTS = ("drawing.js", "card.js", "token_view.js")


@cache
def script() -> str:
    """An ES module whose default export draws the view."""
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _PARTS)


@cache
def style() -> str:
    """The style sheet."""
    return (_FOLDER / "token_view.css").read_text(encoding="utf-8")
