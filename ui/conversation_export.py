"""A conversation as Markdown and as JSON, and feedback as rows for `rag eval` and `rag finetune`. Pure functions."""

import dataclasses
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ui.answer_html import best_first
from ui.store import Conversation, Feedback, Turn
from ui.terminal import as_data
from ui.trust import trust
from ui.words import Words

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$^&])")


def as_markdown(conversation: Conversation, turns: Sequence[Turn], t: Words) -> str:
    """Questions, answers, how far to trust them, and the passages that they were read from."""
    lines = [f"# {escaped(conversation.title)}", ""]
    for turn in turns:
        lines += _turn(turn, t)
    return "\n".join(lines)


def _turn(turn: Turn, t: Words) -> Iterator[str]:
    answer, told = turn.told.answer, turn.told
    found = trust(answer, t)
    yield f"## {escaped(answer.prompt.question)}"
    yield ""
    yield from (
        f"*{escaped(sentence)}*  " for sentence in (" · ".join(found.line), found.declined, found.reason) if sentence
    )
    yield ""
    text, at = "", 0
    for citation in sorted(told.citations, key=lambda c: c.end):
        text += f"{escaped(answer.text[at : citation.end])} [{citation.rank}]"
        at = max(at, citation.end)
    yield f"**{text + escaped(answer.text[at:])}**" if answer.text else escaped(t("ask-no-answer"))
    yield ""
    for retrieved in best_first(answer):
        passage = retrieved.passage
        place = f", {passage.place}" if passage.place else ""
        yield f"[{retrieved.rank}] {escaped(passage.title + place)} ({escaped(passage.source)})"
        yield ""
        yield from (f"> {escaped(line)}" for line in passage.text[: retrieved.read].splitlines())
        yield ""
    facts = (
        f"{answer.language_model}, {answer.prompt.template}, T={answer.params.temperature:g}, seed {answer.params.seed}"
    )
    yield f"<sub>{escaped(facts)}, {_when(turn.created)}</sub>"
    yield ""


def escaped(text: str) -> str:
    """A text that means nothing in Markdown: documents and models must not draw on the page that shows them."""
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
    """A row a line for each answer that was called right or corrected, with the passages that were read.

    `rag eval answers` reads them as they are, `rag finetune` where one passage was read.
    """
    rows = [row for turn, feedback in said if (row := _row(turn, feedback))]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _row(turn: Turn, feedback: Feedback) -> dict[str, Any] | None:
    answer = turn.told.answer
    right = feedback.corrected or (answer.text if feedback.good and not answer.abstained else "")
    declines = bool(feedback.good and answer.abstained and not feedback.corrected)
    if not (right or declines):
        return None  # that an answer is wrong does not say which one is right
    return {
        "id": f"turn-{turn.id}",
        "question": answer.prompt.question,
        "answers": [right] if right else [],
        "answerable": not declines,
        "context": [retrieved.passage.text for retrieved in best_first(answer)],
        "note": feedback.note,
    }


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
