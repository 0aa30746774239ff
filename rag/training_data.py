"""Rows of question, passage and answers -> packs: passages shown together, and every question that is asked of them.

A pack is drawn at random from the rows: which passages stand together and in what order, how much of each is shown,
which questions have their answer in what is shown, and which do not. Tokens are for `training_trees`.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag.errors import InputError
from rag.stopping import sentence_end

_PASSAGES = {1: 0.4, 2: 0.15, 3: 0.35, 4: 0.1}  # how many stand together, and how often
_NEAR = 12  # of how many nearest passages a distractor is one
_ASKED = 32  # questions a pack
_ELSEWHERE = 3  # of them, at most, from passages that are near, but not shown
_WITHOUT = 0.15  # how often the passage that was looked for is missing
_WINDOWED = 0.3  # how often a passage is shown in part
_REFUSED = 0.4  # refusals to each answer
_SPOKEN = 0.15  # how often a question is written as one is typed into a search box
_LONG = 1600  # characters up to which a passage may be shown whole

Made = Callable[[], Any]  # a row of a file, still to be read
Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]  # n texts -> (n, dimension), of length 1


@dataclass(frozen=True, slots=True)
class Row:
    """A question about a passage; without answers where the passage does not hold one."""

    question: str
    passage: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Passages, the best first as retrieval gives them, and questions with their answers; None is a refusal."""

    passages: tuple[str, ...]
    asked: tuple[tuple[str, str | None], ...]


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file (question, passage or context, answers, answerable) or of a SQuAD-format one.

    Raises `InputError`.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")  # with the mark that Windows puts first, or without
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The training file {path} cannot be read ({error}); check the path.") from error
    squad = _squad(path, content)
    rows = [_row(path, place, made) for place, made in (_lines(content) if squad is None else squad)]
    if not rows:
        raise InputError(f"The training file {path} holds no row; write one JSON object a line.")
    return rows


def _lines(content: str) -> list[tuple[str, Made]]:
    lines = [(n, line) for n, line in enumerate(content.split("\n"), start=1) if line.strip()]
    return [(f"line {n}", partial(json.loads, line)) for n, line in lines]


def _squad(path: Path, content: str) -> list[tuple[str, Made]] | None:
    """The questions of a SQuAD-format file, which is one object that holds `data`; None for a file of lines."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(whole, dict) or not isinstance(whole.get("data"), list):
        return None
    try:
        paragraphs = [paragraph for topic in whole["data"] for paragraph in topic["paragraphs"]]
        asked = [(paragraph["context"], question) for paragraph in paragraphs for question in paragraph["qas"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no SQuAD-format file ({error!r}); check it.") from error
    return [(f"question {n}", partial(_of_squad, *one)) for n, one in enumerate(asked, start=1)]


def _of_squad(context: str, asked: dict[str, Any]) -> dict[str, Any]:
    found = [] if asked.get("is_impossible") else [answer["text"] for answer in asked["answers"]]
    return {"question": asked["question"], "passage": context, "answers": found}


def _row(path: Path, place: str, made: Made) -> Row:
    try:
        row = made()
        passage = row["passage"] if "passage" in row else row["context"]
        answers = row.get("answers", [])
        texts = [row["question"], passage, *answers]
        if not isinstance(answers, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise TypeError("question and passage must be texts, answers a list of texts")
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            raise ValueError("half a surrogate pair, which JSON can hold, is no text")
        answerable = row.get("answerable", bool(answers))
        if not isinstance(answerable, bool) or (answerable and not answers):
            raise TypeError("answerable must be true or false, and true needs answers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}, {place}: a JSON object with question, passage and answers is needed ({error!r})."
        ) from error
    return Row(row["question"].strip(), passage, tuple(answers) if answerable else ())


class Packs:
    """Draws packs from rows. The n-th pack is the same for the same rows and seed, whatever was drawn before."""

    def __init__(self, rows: Sequence[Row], embed: Embed, seed: int) -> None:
        """Embed the passages and the questions once: distractors are what retrieval would find."""
        self.rows = rows
        self.seed = seed
        self._passages = list(dict.fromkeys(row.passage for row in rows))
        places = {passage: n for n, passage in enumerate(self._passages)}
        self._home = [places[row.passage] for row in rows]
        self._asked: list[list[int]] = [[] for _ in self._passages]
        for n, home in enumerate(self._home):
            self._asked[home].append(n)
        similar = embed([row.question for row in rows]) @ embed(self._passages).T
        similar[np.arange(len(rows)), self._home] = -1
        near = min(_NEAR, len(self._passages) - 1)
        self._near = np.argsort(-similar, axis=1)[:, :near]  # (rows, near) passages
        self._found_by: list[list[int]] = [[] for _ in self._passages]  # questions from elsewhere, by passage
        for n, passages in enumerate(self._near):
            for passage in passages[: near // 2]:
                self._found_by[passage].append(n)

    def __getitem__(self, number: int) -> Pack:
        """The pack of this number; every row is the one a pack is made for once in `len(rows)` packs."""
        epoch, at = divmod(number, len(self.rows))
        order = list(range(len(self.rows)))
        random.Random(f"{self.seed} {epoch}").shuffle(order)  # noqa: S311 - not for secrets
        rng = random.Random(f"{self.seed} {number}")  # noqa: S311
        while not (pack := self._draw(order[at], rng)).asked:  # each answer stood where it is not told from a wrong one
            pass
        return pack

    def _draw(self, row: int, rng: random.Random) -> Pack:
        wanted = rng.choices(list(_PASSAGES), list(_PASSAGES.values()))[0]
        near = [int(passage) for passage in self._near[row]]
        others = rng.sample(near, min(len(near), wanted))
        missing = bool(others) and rng.random() < _WITHOUT
        places = others if missing else [self._home[row], *others[: wanted - 1]]
        rng.shuffle(places)
        shown = {place: _shown(self._passages[place], rng) for place in places}
        beside = [n for place in places for n in self._asked[place] if n != row]
        elsewhere = [n for place in places for n in self._found_by[place] if self._home[n] not in shown and n != row]
        elsewhere = list(dict.fromkeys(elsewhere))
        elsewhere = rng.sample(elsewhere, min(len(elsewhere), rng.randint(0, _ELSEWHERE)))
        asked = [row, *elsewhere, *rng.sample(beside, min(len(beside), _ASKED - 1 - len(elsewhere)))]
        answered, refused = self._questions(asked, shown)
        refused.sort(key=lambda n: rng.random() + (0.5 if self.rows[n].answers else 0))  # those made to mislead first
        chosen = [*answered.items(), *((n, None) for n in refused[: max(2, round(_REFUSED * len(answered)))])]
        rng.shuffle(chosen)
        written = [_as_typed if rng.random() < _SPOKEN else str for _ in chosen]
        questions = [(write(self.rows[n].question), answer) for write, (n, answer) in zip(written, chosen, strict=True)]
        return Pack(tuple(shown.values()), tuple(questions))

    def _questions(self, asked: Sequence[int], shown: dict[int, str]) -> tuple[dict[int, str], list[int]]:
        """Questions with the answer that what is shown holds, and questions that it does not answer.

        Neither are those whose answer's words stand only in another passage than their own.
        """
        everything = "\n".join(shown.values())
        answered, refused = dict[int, str](), list[int]()
        for n in asked:
            answer = short_answer(self.rows[n].answers, shown.get(self._home[n], ""))
            if answer is not None:
                answered[n] = answer
            elif not any(text.strip() and text in everything for text in self.rows[n].answers):
                refused.append(n)
        return answered, refused


def short_answer(answers: Sequence[str], passage: str) -> str | None:
    """The answer to learn: of those in the passage the one of middle length, without article; None where none is."""
    held = {_bare(answer) for answer in answers if answer in passage} - {""}
    return sorted(held, key=lambda text: (len(text), text))[(len(held) - 1) // 2] if held else None


def _bare(answer: str) -> str:
    return answer.strip().removeprefix("The ").removeprefix("the ").rstrip(".,;")


def _shown(passage: str, rng: random.Random) -> str:
    """A passage, or some of its sentences in a row; of a sentence without end its beginning."""
    if len(passage) <= _LONG and rng.random() >= _WINDOWED:
        return passage
    sentences = list(_sentences(passage))
    first = rng.randrange(len(sentences))
    last = first + rng.randint(1, len(sentences))
    while last > first + 1 and sum(map(len, sentences[first:last])) > _LONG:
        last -= 1
    return "".join(sentences[first:last]).strip()[:_LONG]


def _sentences(text: str) -> Iterator[str]:
    while (end := sentence_end(text)) is not None and text[end:].strip():
        yield text[:end]
        text = text[end:]
    yield text


def _as_typed(question: str) -> str:
    return question.rstrip("?").rstrip().lower()
