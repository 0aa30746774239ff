"""A turn of a conversation on the page: how far to trust the answer, the answer, its sources, what lies behind it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from rag.errors import RagError
from rag.schema import Passage, RetrievedPassage, SamplingParams
from rag.templates import is_refusal
from ui import asking, notices, page, resources, store, viewer
from ui.answer_html import answer_html, notes, quotes_html, source_html, supporting
from ui.asking import Progress
from ui.store import Feedback, Turn
from ui.terminal import best_first
from ui.token_view import export, show
from ui.token_view.data import view_data
from ui.trust import trust
from ui.words import Words
from ui.worker import Job, Ticket

_SOURCES = 520  # pixels
_UNSAID = ("seed", "alternatives", "begin_suppress_tokens")  # said elsewhere, or the program's own


def draw(turn: Turn, said: Feedback, home: Path, t: Words, busy: bool = False) -> None:
    """A question with its answer, and its sources beside it.

    While another question of this person is answered (`busy`) nothing else is computed: it would end that answer.
    """
    answer = turn.told.answer
    with st.chat_message("user"):
        st.text(answer.prompt.question)
    with st.chat_message("assistant", avatar=":material/menu_book:"):
        left, right = beside()
        with left:
            _answer(turn, t)
            _behind(turn, home, t, busy)
            _how(turn, t)
            _feedback(turn, said, home, t)
        with right:
            if answer.prompt.passages:
                with st.expander(t("ask-show-sources", n=len(answer.prompt.passages)), expanded=True):
                    _sources(turn, t)


def beside() -> Sequence[DeltaGenerator]:
    """The places of an answer and of its sources."""
    return st.columns([3, 2], gap="large")


def _answer(turn: Turn, t: Words) -> None:
    told = turn.told
    found = trust(told.answer, t, told.evidence)
    with st.popover(page.plain(" · ".join(found.line)), help=t("trust-what"), type="tertiary", wrap=True):
        for meaning in found.meanings or (t("trust-nothing"),):
            st.text(meaning)
    if found.declined:
        st.warning(found.declined, icon=":material/block:")
    if found.reason:
        st.info(found.reason, icon=":material/info:")
    if told.answer.text and not is_refusal(told.answer.text):
        if told.answer.abstained:
            st.caption(t("ask-guess"))
        st.html(answer_html(told, str(turn.id)))
    elif not found.declined:
        st.caption(t("ask-no-answer"))
    if told.answer.at_first and not told.answer.abstained:
        declined = is_refusal(told.answer.at_first)
        notices.quiet(t("ask-instead") if declined else t("ask-at-first", text=told.answer.at_first))
    if quotes := quotes_html(told, t("trust-leans"), t("trust-fits")):
        st.html(quotes)


def _sources(turn: Turn, t: Words) -> None:
    """The passages that were read, best first; beside a short answer they scroll by themselves."""
    with st.container(height=_SOURCES, border=False):
        for retrieved in best_first(turn.told.answer.prompt.passages):
            _source(turn, retrieved, t)


def coming_sources(passages: Sequence[RetrievedPassage], t: Words) -> None:
    """The passages of an answer that is being written: nothing is marked in them yet."""
    with (
        st.expander(t("ask-show-sources", n=len(passages)), expanded=True),
        st.container(height=_SOURCES, border=False),
    ):
        for retrieved in best_first(passages):
            with st.container(border=True):
                st.html(source_html(retrieved, [], "coming", t))


def _source(turn: Turn, retrieved: RetrievedPassage, t: Words) -> None:
    passage, name = retrieved.passage, f"{turn.id}-{retrieved.rank}"
    spans = [(start, end) for rank, start, end in supporting(turn.told) if rank == retrieved.rank]
    with st.container(border=True):
        st.html(source_html(retrieved, spans, str(turn.id), t))
        for note in notes(retrieved, t):
            notices.quiet(note)
        if st.button(t("ask-open"), key=f"open-{name}", icon=":material/open_in_full:", type="tertiary"):
            _open(turn, passage, name, t)


def _open(turn: Turn, passage: Passage, name: str, t: Words) -> None:
    """The document of a passage over the page, where a page of it has room."""

    @st.dialog(t("ask-document"), width="large")
    def document() -> None:
        collection = str(turn.told.settings.get("collection", ""))
        viewer.show(collection, passage.document_id, passage.start, passage.end, t, key=f"view-{name}")

    document()


def _behind(turn: Turn, home: Path, t: Words, busy: bool) -> None:
    """The token view, and what can be done with it."""
    told = turn.told
    if not told.answer.steps or not st.toggle(t("ask-behind"), key=f"behind-{turn.id}"):
        return
    shown = st.session_state.setdefault(f"shown-{turn.id}", 0)
    shown = min(shown, len(told.branches))
    data = view_data(told.answer, told.evidence, told.branches, shown, t) | {"choose": not busy}
    choice = show(data, key=f"tokens-{turn.id}")
    job = None
    if choice and choice.token_id is None:
        st.session_state[f"shown-{turn.id}"] = choice.position
        st.rerun()
    if choice and choice.token_id is not None and not busy:
        job = asking.branch(home, turn, shown, choice.position, choice.token_id)
    place = st.container()
    with st.container(horizontal=True):
        explained = told.evidence is not None or not told.answer.prompt.passages
        explain = t("ask-explain"), f"explain-{turn.id}", t("ask-explain-help")
        if not explained and st.button(explain[0], key=explain[1], help=explain[2], disabled=busy):
            job = asking.explain(home, turn)
        st.download_button(
            t("ask-save-tokens"),
            lambda: export.page(told.answer, told.evidence, told.branches, t),
            f"answer-{turn.id}.html",
            "text/html",
            key=f"save-{turn.id}",
            on_click="ignore",
        )
    if not busy:
        _work(job, turn, place, t)


def _work(job: Job | None, turn: Turn, place: DeltaGenerator, t: Words) -> None:
    """Follow a job that changes a turn, a new one or that from before the page was drawn anew; then draw the turn."""
    name = f"work-{turn.id}"
    with place:
        status, stop = page.Status(st.empty(), t), st.empty()
    try:
        if job:
            st.session_state[name] = resources.worker().submit(job)
        ticket: Ticket | None = st.session_state.get(name)
        if ticket is None:
            return
        stop.button(t("ask-stop"), key=f"stop-{turn.id}", icon=":material/stop_circle:", on_click=ticket.cancel)
        for event in page.followed(ticket, status, t, page.GRACE):
            if isinstance(event, Progress):
                what = t("ask-scored-sentences" if event.what == "sentences" else "ask-scored-passages")
                status.say(t("ask-explaining", done=event.done, total=event.total, what=what))
            elif isinstance(event, int):
                st.session_state[f"shown-{turn.id}"] = event
            elif isinstance(event, str):
                status.say(t(event))
    except RagError as error:
        st.session_state.pop(name, None)
        status.end()
        stop.empty()
        notices.problem(str(error))
        return
    st.session_state.pop(name)
    if ticket.cancelled.is_set():
        notices.later(t("ask-ended"))
    st.rerun()


def _how(turn: Turn, t: Words) -> None:
    answer = turn.told.answer
    with st.expander(t("ask-how")):
        st.text(
            t(
                "ask-facts",
                model=answer.language_model,
                template=answer.prompt.template,
                seed=answer.params.seed,
                tokens=len(answer.steps),
                logprob=f"{answer.logprob:.2f}",
                seconds=f"{answer.timings.total:.1f}",
            )
        )
        st.text("\n".join(f"{name} {value}" for name, value in _set(turn)))
        st.text(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(turn.created)))


def _set(turn: Turn) -> Iterator[tuple[str, object]]:
    """What was set for an answer, by the settings' own names; of the controls those that differ from the defaults."""
    yield from turn.told.settings.items()
    used, usual = asdict(turn.told.answer.params), asdict(SamplingParams())
    yield from ((name, value) for name, value in used.items() if value != usual[name] and name not in _UNSAID)


def _feedback(turn: Turn, said: Feedback, home: Path, t: Words) -> None:
    """Thumbs, a corrected answer and a note. Only what a person changes is written: others may say something too."""
    thumb = f"thumb-{turn.id}"
    st.session_state[thumb] = None if said.good is None else int(said.good)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(t("ask-good"), width="content")
        st.feedback("thumbs", key=thumb, on_change=_keep_thumb, args=(home, turn.id, thumb))
        with st.popover(t("ask-correct"), type="tertiary"), st.form(f"correct-{turn.id}", border=False):
            before = st.session_state.setdefault(f"said-{turn.id}", said)  # what the form holds, whatever others write
            written = {
                "corrected": st.text_area(t("ask-corrected"), before.corrected, key=f"corrected-{turn.id}").strip(),
                "note": st.text_area(t("ask-note"), before.note, key=f"note-{turn.id}").strip(),
            }
            kept = st.form_submit_button(t("ask-keep"))
    if kept:
        _say(home, turn.id, **{name: text for name, text in written.items() if text != getattr(before, name)})
        st.session_state[f"said-{turn.id}"] = replace(before, **written)
        st.toast(t("ask-kept"))


def _keep_thumb(home: Path, turn: int, key: str) -> None:
    thumb = st.session_state[key]
    notices.guarded(lambda: _say(home, turn, good=None if thumb is None else bool(thumb)))


def _say(home: Path, turn: int, **said: Any) -> None:
    before = store.feedback_of(home, [turn]).get(turn, Feedback())
    store.give_feedback(home, turn, replace(before, **said))
