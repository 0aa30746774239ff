"""What all pages share: the language, and following a job of the worker with a sign of life."""

from collections.abc import Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import answer_html
from ui.words import LANGUAGES, Words, closest, words
from ui.worker import Ticket, Waiting

STYLE = f"<style>{answer_html.STYLE}</style>"
LANGUAGE = "language"
GRACE = 5.0  # seconds that drawing a page anew may take; after that, whose job is followed there has left


def language() -> str:
    """The language that the person chose, or that the browser asks for."""
    return str(st.session_state.get(LANGUAGE) or closest(st.context.locale))


def words_here() -> Words:
    """The words in that language."""
    return words(language())


def choose_language() -> None:
    """The switch between the languages."""
    t = words_here()
    st.session_state.setdefault(LANGUAGE, closest(st.context.locale))
    st.segmented_control(
        t("app-language"),
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        key=LANGUAGE,
        required=True,
        persist_state="session",
    )


class Status:
    """A line that says what is being done; said again, it touches the page, which is what notices that it was left."""

    def __init__(self, place: DeltaGenerator, t: Words) -> None:
        """Write into a place of the page."""
        self._place = place
        self._text = t("app-working")

    def say(self, text: str) -> None:
        """Say what is being done from now on."""
        self._text = text
        self._place.caption(plain(text))

    def again(self) -> None:
        """Say the same again."""
        self.say(self._text)

    def end(self) -> None:
        """Say no more."""
        self._place.empty()


def followed(ticket: Ticket, status: Status, t: Words, grace: float = 0.0) -> Iterator[object]:
    """What a job of the worker tells; one's place is shown while it waits. Raises `RagError`.

    Ends the job when the page is left, or drawn anew, and not followed again within `grace` seconds.
    """
    waited = False
    for event in ticket.follow(grace=grace):
        if isinstance(event, Waiting):
            status.say(t("app-waiting", ahead=event.ahead))
            waited = True
        elif event is None:
            status.say(t("app-working")) if waited else status.again()
            waited = False
        else:
            waited = False
            yield event


def plain(text: object) -> str:
    """A text that Streamlit, which takes most texts for Markdown, shows as it is."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~:$^&" else c for c in str(text))
