"""An answer and its sources as HTML: each sentence with the number of the passage it leans on, and that passage marked.

Pure functions of what was told; all text is escaped, for it comes from documents and from a model that has read them.
A number leads to its source, and lights up what it leans on while it is pointed at or has the focus: by CSS alone.
"""

import html
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rag.evidence import Citation
from rag.reasons import closest_sentence
from rag.schema import Passage, RetrievedPassage
from rag.stopping import sentences
from ui.told import Told
from ui.words import Words

_HEADING = re.compile(r"^(#{1,6} )(.+)$", re.MULTILINE)
STYLE = """
.stMainBlockContainer { padding-top: 3.5rem; }
.st-key-widget-words { display: none; }
.st-key-ask-coming:has(.stChatMessage) { min-height: 80vh; } /* room to scroll the question to the top */
.stApp :has(.st-key-ask-box) { background-color: inherit; }
.stChatMessage :is(a, button, input, textarea, summary, [tabindex]) { scroll-margin-bottom: 6rem; } /* not behind it */
:has(> .st-key-ask-box) { position: sticky; bottom: 0; padding-bottom: 1rem; z-index: 90; } /* or focus scrolls to it */
.ob-answer { font-size: 1.15rem; line-height: 1.7; overflow-wrap: anywhere; white-space: pre-wrap; }
.ob-guess { opacity: .75; font-style: italic; }
.ob-cite { font-size: .75em; font-weight: 600; margin-left: .25em; padding: 0 .35em; border-radius: .6em;
  border: 1px solid currentColor; color: inherit !important; text-decoration: none !important; }
.ob-cite:hover, .ob-cite:focus { background: rgb(255 196 0 / .45); outline: 2px solid currentColor; }
.ob-source { border-radius: .4rem; padding: .1rem .3rem; margin: 0 -.3rem; }
.ob-source header { font-weight: 600; overflow-wrap: anywhere; }
.ob-source small { opacity: .8; }
.ob-passage { white-space: pre-wrap; overflow-wrap: anywhere; margin-top: .4rem; }
.ob-passage mark { background: rgb(255 196 0 / .35); color: inherit; border-bottom: 2px solid rgb(180 120 0);
  border-radius: .15em; }
.ob-source details { margin-top: .3rem; font-size: .9rem; overflow-wrap: anywhere; }
.ob-source details p { margin: .2rem 0; }
.ob-source summary { cursor: pointer; }
[data-testid="stPopoverButton"] { text-align: left; justify-content: flex-start; }
.ob-quote { border-left: 3px solid rgb(180 120 0); padding-left: .7rem; margin: .4rem 0 0; font-size: .95rem; }
"""


def answer_html(told: Told, name: str) -> str:
    """The answer's text, with [n] behind each sentence that leans on passage n; `name` is its own on the page."""
    text, at = "", 0
    for citation in sorted(told.citations, key=lambda c: c.end):
        text += html.escape(told.answer.text[at : citation.end])
        text += (
            f'<a class="ob-cite ob-cite-{name}-{citation.rank}" href="#{source_id(name, citation.rank)}"'
            f' aria-describedby="{source_id(name, citation.rank)}"'
            f' title="{html.escape(_cited(told, citation))}">{citation.rank}</a>'
        )
        at = citation.end
    text += html.escape(told.answer.text[at:])
    guess = " ob-guess" if told.answer.abstained else ""
    return f'<div class="ob-answer{guess}">{text}</div>'


def _cited(told: Told, citation: Citation) -> str:
    """The sentence of its source that a number stands for, in a line."""
    texts = {p.rank: p.passage.text for p in told.answer.prompt.passages}
    return " ".join(texts.get(citation.rank, "")[citation.passage_start : citation.passage_end].split())


def quotes_html(told: Told, leans: str, fits: str) -> str:
    """What a person should read first: the sentences that the answer leans on, or the one that fits best."""
    return "".join(
        f'<p class="ob-quote"><b>{html.escape(fits if told.answer.abstained else leans)}</b> [{rank}] '
        f"<q>{html.escape(' '.join(text.split()))}</q></p>"
        for rank, text in _quoted(told)
    )


def _quoted(told: Told) -> Iterator[tuple[int, str]]:
    texts = {p.rank: p.passage.text for p in told.answer.prompt.passages}
    for rank, start, end in dict.fromkeys(supporting(told)):
        yield rank, texts[rank][start:end]


def supporting(told: Told) -> list[tuple[int, int, int]]:
    """(rank, start, end) of each sentence that carries the answer; of the one that fits best where none is given."""
    if told.answer.abstained:
        closest = closest_sentence(told.answer.prompt)
        return [closest] if closest else []
    return [(c.rank, c.passage_start, c.passage_end) for c in told.citations]


def source_html(retrieved: RetrievedPassage, spans: Sequence[tuple[int, int]], name: str, t: Words) -> str:
    """One passage as a card, with the sentences marked that the answer leans on, and what stands around them.

    The rest of it is folded away, and so are its file and its scores.
    """
    passage = retrieved.passage
    where = ", ".join(filter(None, (" › ".join(passage.heading_path), place(passage, t))))
    whole, why = t("ask-whole"), t("ask-scores")
    own = source_id(name, retrieved.rank)
    lit = f"body:has(.ob-cite-{name}-{retrieved.rank}:is(:hover, :focus)) #{own}"
    return (
        f"<style>{lit} {{ outline: 2px solid rgb(180 120 0); }}"
        f"{lit} mark {{ background: rgb(255 196 0 / .7); }}</style>"
        f'<section class="ob-source" id="{own}"><header>[{retrieved.rank}] {html.escape(passage.title)}</header>'
        f"<small>{html.escape(where)}</small>"
        f"{_folded(passage.text, spans, whole)}"
        f"<details><summary>{html.escape(why)}</summary><p>{html.escape(passage.source)}</p>"
        f"<p>{html.escape(scores(retrieved, t))}</p></details></section>"
    )


def _folded(text: str, spans: Sequence[tuple[int, int]], whole: str) -> str:
    full = passage_html(text, spans)
    start, end = excerpt(text, spans)
    if end - start >= len(text.strip()):
        return full
    before, after = "… " * (start > 0), " …" * (end < len(text.rstrip()))
    return (
        f'<div class="ob-passage">{before}{_marked(text, spans, (start, end))}{after}</div>'
        f"<details><summary>{html.escape(whole)}</summary>{full}</details>"
    )


def passage_html(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A whole passage, with the spans marked."""
    return f'<div class="ob-passage">{_marked(text, spans, (0, len(text)))}</div>'


def excerpt(text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Start and end of what to read first: the marked sentences with the ones around them, or the beginning."""
    told = sentences(text) or [(0, len(text))]
    wanted = [n for n, (start, end) in enumerate(told) if any(start < b and a < end for a, b in spans)] or [0]
    first, last = max(min(wanted) - 1, 0), min(max(wanted) + 1, len(told) - 1)
    return told[first][0], told[last][1]


def _marked(text: str, spans: Sequence[tuple[int, int]], part: tuple[int, int]) -> str:
    """A part of a passage: spans, which may overlap, are marked, headings are bold and lose the signs before them."""
    signs = [heading.span(1) for heading in _HEADING.finditer(text)]
    headings = [heading.span(2) for heading in _HEADING.finditer(text)]
    ends = {min(end, len(text)) for pair in (*spans, *signs, *headings, part) for end in pair}
    pieces = "".join(
        f"{'<b>' * bold}{'<mark>' * marked}{html.escape(text[start:end])}{'</mark>' * marked}{'</b>' * bold}"
        for start, end in pairwise(sorted(ends))
        if _within(start, [part]) and not _within(start, signs)
        for bold, marked in [(_within(start, headings), _within(start, spans))]
    )
    return pieces.replace("</mark><mark>", "")  # of spans that overlap


def _within(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


def place(passage: Passage, t: Words) -> str:
    """Where in its document a passage stands, or nothing."""
    if passage.first is None:
        return ""
    units = {"page": t("place-page"), "slide": t("place-slide"), "row": t("place-row")}
    unit = units.get(passage.unit, passage.unit)
    if passage.first == passage.last:
        return t("place-one", unit=unit, number=passage.first)
    return t("place-several", unit=unit, first=passage.first, last=passage.last)


def scores(retrieved: RetrievedPassage, t: Words) -> str:
    """Every score with its name; a dash for a stage that did not see the passage."""
    dense = "-" if retrieved.dense is None else f"{retrieved.dense:.2f}"
    lexical = "-" if retrieved.lexical is None else f"{retrieved.lexical:.1f}"
    said = t("documents-scores", fused=f"{retrieved.fused:.2f}", dense=dense, lexical=lexical)
    if retrieved.rerank is None:
        return said
    judged = t("documents-score-rerank", name=retrieved.reranked_by or "", score=f"{retrieved.rerank:.2f}")
    return f"{said} · {judged}"


def notes(retrieved: RetrievedPassage, t: Words) -> Iterator[str]:
    """What is known of other versions and of copies, and how much of it was read."""
    if retrieved.newest is not None:
        date = retrieved.passage.date
        yield t("note-newest", date=date) if retrieved.newest else t("note-older", date=date)
    if retrieved.read is not None:
        yield t("note-cut", read=retrieved.read, size=len(retrieved.passage.text))
    if retrieved.copies:
        yield t("documents-near-copies", names=", ".join(retrieved.copies))


def source_id(name: str, rank: int) -> str:
    """A source's name on the page."""
    return f"ob-source-{name}-{rank}"
