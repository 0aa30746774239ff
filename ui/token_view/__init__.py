"""The token view: an answer's tokens coloured, what is behind each of them, and how else it could have gone on.

`data.view_data` says what is drawn, `show` draws it in the app, `export.page` as a page of its own; `tokens_html` is
for an answer while it is written. Streamlit is loaded by `show` alone: reports use the rest without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ui.token_view.assets import script, style
from ui.token_view.bands import band
from ui.token_view.streaming import LEGEND, STYLE, tokens_html

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

__all__ = ["LEGEND", "STYLE", "Choice", "band", "choice", "show", "tokens_html"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose in the view."""

    kind: Literal["branch", "show"]
    position: int  # of the token to replace; of the branch to show, 0 being the answer itself
    token_id: int | None = None  # what to write there instead


def show(data: Mapping[str, Any], key: str) -> Choice | None:
    """Draw `view_data` in the app; what the person chose, in the one run that their choice starts, else None."""
    result = _component()(data=dict(data), key=key, on_choice_change=_nothing)
    return choice(result.get("choice"))


def choice(value: object) -> Choice | None:
    """What the browser sent, as a choice; None where it is none, for a browser can send anything."""
    if not isinstance(value, Mapping):
        return None
    kind, position, token_id = value.get("kind"), _index(value.get("position")), _index(value.get("token_id"))
    if kind == "branch" and position is not None and token_id is not None:
        return Choice("branch", position, token_id)
    return Choice("show", position) if kind == "show" and position is not None else None


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _nothing() -> None:
    """Streamlit gives triggers only where there is something to call."""


@cache
def _component() -> "ComponentRenderer":
    """Registered once a process."""
    import streamlit

    return streamlit.components.v2.component("openbook_token_view", js=script(), css=style())
