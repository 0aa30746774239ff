"""The jobs of the page Ask, for the worker's thread: ask, explain, branch. What comes of them is stored by them.

So an answer is kept even where the person who asked has left the page, or stopped it.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rag.assistant import Assistant
from rag.attribution import attribute
from rag.errors import InputError
from rag.schema import Answer, Filter, SamplingParams, TokenStep
from rag.schema import Turn as Said
from rag.settings import Settings
from ui import resources, store
from ui.store import Turn
from ui.told import Told
from ui.worker import Job, Tell, Ticket

LOADING, SEARCHING, JUDGING = "ask-loading", "ask-searching", "ask-judging"  # stages, by their words
SUPPORTING, BRANCHING = "ask-supporting", "ask-branching"
# What else an answer depends on; kept where it is not as usual.
_SETTINGS = ("embedder", "rerank", "join", "read_each", "language_model_precision", "examples_file", "examples")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a question is asked."""

    collection: str
    template: str
    params: SamplingParams
    passages: int
    keep: Filter

    @property
    def settings(self) -> Mapping[str, str | int]:
        """What the answer itself does not say, to be kept beside it."""
        given = {name: ", ".join(v) if isinstance(v, tuple) else v for name, v in asdict(self.keep).items() if v}
        own, usual = resources.settings(), Settings()
        changed = [name for name in _SETTINGS if getattr(own, name) != getattr(usual, name)]
        chosen: dict[str, str | int] = {"collection": self.collection, "template": self.template}
        chosen["passages"] = self.passages
        return {**chosen, **given, **{name: str(getattr(own, name)) for name in changed}}


@dataclass(slots=True)
class Asked:
    """A question that is being answered; a page that is drawn anew meanwhile goes on from here."""

    question: str
    conversation: int
    before: int  # how many turns came before it
    ticket: Ticket
    told: list[object] = field(default_factory=list)  # what was seen of it so far
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far scoring is."""

    done: int
    total: int
    what: str


def ask(home: Path, conversation: int, question: str, wanted: Wanted, history: Sequence[Said]) -> Job:
    """Answer a question of a conversation and store the turn; tells stages, prompt, steps, and the `Told` last."""

    def job(cancelled: threading.Event, tell: Tell) -> None:
        tell(LOADING)
        assistant = resources.assistant(wanted.collection, wanted.template)
        tell(SEARCHING)
        for event in assistant.stream(
            question, wanted.params, wanted.passages, wanted.keep, cancelled, history=history
        ):
            tell(event)
            if isinstance(event, TokenStep) and event.finish_reason:
                tell(JUDGING)
            elif isinstance(event, Answer):
                told = Told(event, (), wanted.settings)
                turn = store.add_turn(home, conversation, told)  # whatever becomes of the rest, this is kept
                tell(SUPPORTING)
                if citations := assistant.support(event, cancelled):
                    store.change_turn(home, turn, citations=citations)
                tell(replace(told, citations=citations))

    return job


def explain(home: Path, turn: Turn) -> Job:
    """Compute and store what each passage gave to an answer; tells `Progress`."""

    def job(cancelled: threading.Event, tell: Tell) -> None:
        tell(LOADING)
        assistant = _assistant(turn)

        def advance(done: int, total: int, what: str) -> None:
            tell(Progress(done, total, what))

        answer = turn.told.answer
        evidence = attribute(answer, assistant.template, assistant.generator, cancelled, advance)
        if evidence is not None:
            store.change_turn(home, turn.id, evidence=evidence, citations=evidence.citations)

    return job


def branch(home: Path, turn: Turn, shown: int, position: int, token_id: int) -> Job:
    """Write on from another token of what is shown, and store it; tells its number among the branches.

    Nothing is told or stored where it was stopped before it began.
    """

    def job(cancelled: threading.Event, tell: Tell) -> None:
        tell(LOADING)
        assistant = _assistant(turn)
        tell(BRANCHING)
        answer = (turn.told.answer, *turn.told.branches)[shown]
        written = assistant.branch(answer, position, token_id, cancelled)
        if written.steps:
            tell(store.add_branch(home, turn.id, written))

    return job


def history_of(turns: Sequence[Turn]) -> list[Said]:
    """What was said before, for a follow-up: of guesses, refusals and halves the question alone.

    Not what was stopped before a word of it was written.
    """
    answers = [turn.told.answer for turn in turns if turn.told.answer.text]
    return [Said(a.prompt.question, "" if a.abstained or a.finish_reason == "cancelled" else a.text) for a in answers]


def _assistant(turn: Turn) -> Assistant:
    """The assistant that wrote an answer. Raises `InputError` where the settings name another model by now."""
    settings, wrote = turn.told.settings, turn.told.answer.language_model
    collection = settings.get("collection", resources.settings().collection)
    assistant = resources.assistant(str(collection), str(settings.get("template", "auto")))
    if assistant.language_model != wrote:  # its tokens are other ones
        raise InputError(
            f"The language model {wrote} wrote this answer, and {assistant.language_model} is at work now; "
            "start with that one, or ask again."
        )
    return assistant
