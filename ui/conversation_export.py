"""A conversation as Markdown and as JSON; feedback as rows for `rag eval` and for `rag finetune`. Pure functions."""

import dataclasses
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rag.assistant import NOTHING_FOUND, SAID_SO
from ui.answer_html import place
from ui.store import Conversation, Feedback, Turn
from ui.terminal import as_data, best_first
from ui.told import Told
from ui.trust import trust
from ui.words import Words

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$^&=])")
_DECLINES = (NOTHING_FOUND, SAID_SO)  # which say that the documents do not answer; others say what the model cannot


def as_markdown(conversation: Conversation, turns: Sequence[Turn], t: Words) -> str:
    """Questions, answers, how far to trust them, and the passages that they were read from."""
    lines = [f"# {escaped(conversation.title)}", ""]
    for turn in turns:
        lines += _turn(turn, t)
    return "\n".join(lines)


def _turn(turn: Turn, t: Words) -> Iterator[str]:
    answer, told = turn.told.answer, turn.told
    found = trust(answer, t, told.evidence)
    yield f"## {escaped(answer.prompt.question)}"
    yield ""
    said = (" · ".join(found.line), found.declined, found.reason)
    yield "  \n".join(f"*{escaped(sentence)}*" for sentence in said if sentence)
    yield ""
    yield _answer(told) or escaped(t("ask-no-answer"))
    yield ""
    for retrieved in best_first(answer.prompt.passages):
        passage = retrieved.passage
        where = ", ".join(filter(None, (passage.title, place(passage, t))))
        yield f"[{retrieved.rank}] {escaped(where)} ({escaped(passage.source)})"
        yield ""
        yield from (f"> {escaped(line)}  " for line in passage.text[: retrieved.read].splitlines())
        yield ""
    params = answer.params
    seed = f"{t('token-page-seed')} {params.seed}"
    facts = f"{answer.language_model}, {answer.prompt.template}, T={params.temperature:g}, {seed}"
    yield f"{escaped(facts)}, {_when(turn.created)}"
    yield ""


def _answer(told: Told) -> str:
    """The answer's lines, with [n] behind each sentence that leans on passage n."""
    marked, at = "", 0
    for citation in sorted(told.citations, key=lambda c: c.end):
        marked += f"{_plainly(told.answer.text[at : citation.end])} [{citation.rank}]"
        at = citation.end
    marked += _plainly(told.answer.text[at:])
    return "  \n".join(f"**{line.strip()}**" for line in marked.splitlines() if line.strip())


def escaped(text: str) -> str:
    """A text as one line that means nothing in Markdown: what documents and models say must not draw on a page."""
    return _plainly(" ".join(text.split()))


def _plainly(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)


def as_json(conversation: Conversation, turns: Sequence[Turn]) -> str:
    """All that is kept of a conversation: every token with its probabilities, passages, settings and seeds."""
    data = dataclasses.asdict(conversation) | {"turns": [_data(turn) for turn in turns]}
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)


def _data(turn: Turn) -> dict[str, Any]:
    told = turn.told
    return {
        "asked": _when(turn.created),
        "settings": dict(told.settings),
        "answer": as_data(told.answer),
        "citations": [as_data(citation) for citation in told.citations],
        "evidence": as_data(told.evidence) if told.evidence else None,
        "branches": [as_data(branch) for branch in told.branches],
    }


def feedback_rows(said: Sequence[tuple[Turn, Feedback]]) -> str:
    """For `rag eval`: a row a line for each answer that was called right or corrected, with what was read for it.

    A decline that was called right is a question without an answer, where it says that the documents hold none. That
    an answer is wrong does not say which one is right.
    """
    return _lines(
        {"id": f"turn-{turn.id}", "question": _alone(turn)}
        | {"answers": answers, "answerable": bool(answers)}
        | (
            {"context": [p.passage.text[: p.read] for p in read]}
            if (read := best_first(turn.told.answer.prompt.passages))
            else {}
        )
        | {"note": feedback.note}
        for turn, feedback in said
        if (answers := _right(turn, feedback)) is not None
    )


def training_rows(said: Sequence[tuple[Turn, Feedback]]) -> str:
    """For `rag finetune`: the same questions, each with the one passage that holds its answer to the letter.

    Where none does there is no row: it would teach to decline. A decline has the best passage, which is near and does
    not answer.
    """
    return _lines(
        {"question": _alone(turn), "passage": passage, "answers": held, "answerable": bool(held)}
        for turn, feedback in said
        if (answers := _right(turn, feedback)) is not None
        for passage, held in _holding(turn.told, answers)
    )


def _alone(turn: Turn) -> str:
    """The question together with what it leaned on, so that it can be asked by itself."""
    prompt = turn.told.answer.prompt
    return prompt.search_question or prompt.question


def _right(turn: Turn, feedback: Feedback) -> list[str] | None:
    """The right answers; none where it is right to decline, None where nobody said what is right."""
    answer = turn.told.answer
    right = [feedback.corrected] if feedback.corrected.strip() else []
    if feedback.good and not answer.abstained and answer.text:
        right.append(answer.text)
    declines = feedback.good and answer.abstained in _DECLINES
    return list(dict.fromkeys(right)) if right or declines else None


def _holding(told: Told, answers: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The passage to learn from, with the answers in it: of several that hold one the passage that is cited."""
    cited = [citation.rank for citation in told.citations]
    read = sorted(best_first(told.answer.prompt.passages), key=lambda passage: passage.rank not in cited)
    for text in (passage.passage.text[: passage.read] for passage in read):
        held = [answer for answer in answers if answer in text]
        if text.strip() and (held or not answers):
            yield text, held
            return


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
