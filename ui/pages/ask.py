"""The page "Ask": a question, the answer as it is written, its sources beside it, and every token's probability."""

import html
import re
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from rag.errors import RagError
from rag.reasons import closest_sentence
from rag.schema import Answer, Prompt, RetrievedPassage, SamplingParams, TokenStep
from ui import resources
from ui.commands import sampling_params
from ui.terminal import best_first, left_out, notes, scores, trust
from ui.token_view import tokens_html

_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def main() -> None:
    """Draw the page."""
    st.title("Ask your documents")
    try:
        names = resources.collections()
        defaults = resources.settings()
    except RagError as error:
        st.error(str(error))
        return
    if not names:
        st.info("There is no collection yet. Make one in a terminal, then reload this page:")
        st.code("rag ingest FOLDER")
        return
    with st.sidebar:
        collection = st.selectbox("Collection", names)
        k = st.slider("Passages to read", 1, 10, min(defaults.passages, 10), help="More passages take longer to read.")
        params = _sampling_controls()
    with st.form("question", border=False):
        left, right = st.columns([6, 1], vertical_alignment="bottom")
        question = left.text_input("Question", placeholder="What would you like to know?")
        asked = right.form_submit_button("Ask", type="primary", width="stretch")
    answer_column, source_column = st.columns([3, 2], gap="large")
    if asked:
        st.session_state.pop("answer", None)
        with answer_column:
            _ask(collection, question, params, k)
    elif "answer" in st.session_state:
        with answer_column:
            st.html(tokens_html(st.session_state.answer.steps))
    if answer := st.session_state.get("answer"):
        with answer_column:
            _explain(answer)
        with source_column:
            _sources(answer)


def _sampling_controls() -> SamplingParams:
    """The sidebar's sampling settings; its controls leave room only for what makes sense, the others stay as set."""
    defaults = sampling_params(resources.settings(), ())
    st.subheader("How it writes")
    temperature = st.slider(
        "Temperature", 0.0, 2.0, min(defaults.temperature, 2.0), 0.05, help="0: always the most probable token."
    )
    max_new_tokens = st.slider("Longest answer, in tokens", 8, 512, min(max(defaults.max_new_tokens, 8), 512), 8)
    stop_at_sentence_end = st.toggle("Stop after one sentence", defaults.stop_at_sentence_end)
    with st.expander("More"):
        top_k = st.number_input("Top-k (0: all)", 0, value=defaults.top_k, help="Draw from the k most probable tokens.")
        top_p = st.slider("Top-p", 0.0, 1.0, defaults.top_p, 0.01, help="Draw from the smallest set with this mass.")
        min_p = st.slider(
            "Min-p",
            0.0,
            1.0,
            defaults.min_p,
            0.01,
            help="Leave out what is less than this times as probable as the best.",
        )
        typical_p = st.slider(
            "Typical",
            0.0,
            1.0,
            defaults.typical_p,
            0.01,
            help="Draw from the tokens about as surprising as expected, with this mass.",
        )
        penalty = st.slider(
            "Repetition penalty",
            *(min(0.5, defaults.repetition_penalty), max(2.0, defaults.repetition_penalty)),
            defaults.repetition_penalty,
            0.05,
            help="Above 1: words that it has written become less probable.",
        )
        no_repeat_ngram = st.number_input(
            "No repeats of so many tokens (0: off)",
            0,
            value=defaults.no_repeat_ngram,
            help="Such a row never comes twice.",
        )
        seed = st.number_input("Seed (empty: a new one)", 0, 2**53 - 1, value=defaults.seed)
        stop = st.text_input("Stop before this text")
    return replace(
        defaults,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min(defaults.min_new_tokens, max_new_tokens),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repetition_penalty=penalty,
        no_repeat_ngram=no_repeat_ngram,
        seed=seed,
        stop=(stop,) if stop else (),
        stop_at_sentence_end=stop_at_sentence_end,
    )


def _ask(collection: str, question: str, params: SamplingParams, k: int) -> None:
    """Ask and draw the answer as it is written; keep it for the next run of this script."""
    status, written = st.empty(), st.empty()
    steps: list[TokenStep] = []
    try:
        assistant = resources.assistant(collection)
        status.caption("Waiting for the model ...")
        with resources.models().lock:
            status.caption("Searching ...")
            for event in assistant.stream(question, params, k):
                if isinstance(event, Prompt):
                    status.caption(f"Reading {len(event.passages)} passages, {len(event.token_ids)} tokens ...")
                elif isinstance(event, TokenStep):
                    status.caption("Writing ...")
                    steps.append(event)
                    written.html(tokens_html(steps, legend=False))
                else:
                    status.caption("Looking for the sentence that it leans on ...")
                    st.session_state.citations = assistant.support(event)
                    st.session_state.answer = event
    except RagError as error:
        status.error(str(error))
        return
    status.empty()
    written.html(tokens_html(st.session_state.answer.steps))


def _explain(answer: Answer) -> None:
    for n, sentence in enumerate(trust(answer)):  # it may name a person's file, which is no Markdown
        (st.warning if answer.abstained and n == 0 else st.text)(sentence)
    for leaning, rank, start, end in _supporting(answer):
        source = next(p.passage for p in answer.prompt.passages if p.rank == rank)
        quoted = html.escape(source.text[start:end])
        st.html(f"<b>{html.escape(leaning)}</b> [{rank}] <q>{quoted}</q>")
    first = answer.timings.first_token
    device = resources.models().generator.model.device
    st.caption(
        f"{len(answer.steps)} tokens, log-probability {answer.logprob:.2f} in all · seed {answer.params.seed} · "
        f"temperature {answer.params.temperature:g} · {answer.language_model} on {device} · "
        + (f"first token after {first:.1f} s, " if first else "")
        + f"all after {answer.timings.total:.1f} s"
    )


def _supporting(answer: Answer) -> list[tuple[str, int, int, int]]:
    """What a person should read first: which part of the answer leans on it, the passage's rank, start and end."""
    if answer.abstained:
        closest = closest_sentence(answer.prompt)
        return [("Fits best", *closest)] if closest else []
    return [
        (f"{answer.text[c.start : c.end]} leans on", c.rank, c.passage_start, c.passage_end)
        for c in st.session_state.citations
    ]


def _sources(answer: Answer) -> None:
    """The passages that the model read, best first."""
    st.subheader("Sources")
    for sentence in left_out(answer.prompt):
        st.caption(sentence)
    for retrieved in best_first(answer.prompt.passages):
        spans = [(start, end) for _, rank, start, end in _supporting(answer) if rank == retrieved.rank]
        with st.container(border=True):
            _source(retrieved, spans)


def _source(retrieved: RetrievedPassage, spans: Sequence[tuple[int, int]]) -> None:
    """One passage, with the sentences marked that the answer leans on."""
    passage = retrieved.passage
    where = ", ".join(filter(None, (" › ".join(passage.heading_path), passage.place)))
    # Text of documents goes in escaped, never as Markdown: it may hold links, images or markup.
    text, at = "", 0
    for start, end in sorted(spans):
        start = max(start, at)  # one may lie within another
        text += f"{html.escape(passage.text[at:start])}<mark>{html.escape(passage.text[start:end])}</mark>"
        at = max(at, end)
    text = _HEADING.sub(r"<b>\1</b>", text + html.escape(passage.text[at:]))
    st.html(
        f"<b>[{retrieved.rank}] {html.escape(passage.title)}</b><br><small>{html.escape(where)}</small>"
        '<div style="white-space: pre-wrap; overflow-wrap: anywhere; margin-top: .5rem">'
        f"{text}</div>"
    )
    for note in notes(retrieved):
        st.text(note)
    with st.expander("Where and why"):
        st.text(passage.source)
        st.text(f"rank {retrieved.rank}: {scores(retrieved)}")


main()
