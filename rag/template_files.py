"""Files of the user's own: templates (TOML) and worked examples (JSON lines). Reads and checks; every error says where.

A template file:

    text = '''
    Answer in one sentence.

    {passages}

    Question: {question}
    Answer:'''
    form = "chat"        # or "plain"; without it the kind of model decides
    labels = true        # [1], [2], ... before the passages
    stop = ["\\n"]        # what ends an answer

An example is a line `{"question": ..., "answers": [...], "passages": [...]}`, as in our question sets; `context` may
stand for one passage, `answer` for the first answer, and `"answerable": false` for the answer that declines.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from rag.errors import InputError, SettingsError
from rag.templates import FORMS, REFUSAL, Example, Template, check_template, is_file, split_form

_SLOTS = ("passages", "question", "language")
_KEYS: dict[str, type] = {"text": str, "form": str, "labels": bool, "stop": list}


def read_own(name: str, examples_file: Path | None) -> tuple[Template | None, tuple[Example, ...] | None]:
    """The template that a template's name is the file of, and the examples of a file; None for what is no file.

    Raises `SettingsError` for an unknown name or a wrong template, `InputError` for wrong examples.
    """
    check_template(name)
    own = read_template(Path(split_form(name)[0]).expanduser()) if is_file(name) else None
    return own, None if examples_file is None else read_examples(examples_file)


def read_template(path: Path) -> Template:
    """The template of a TOML file. Raises `SettingsError`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"The template file {path} cannot be read ({error}); correct it.") from error
    if problem := _problem(data):
        raise SettingsError(f"The template file {path} {problem}.")
    form, stop = data.get("form"), data.get("stop")
    return Template(
        text=data["text"].strip("\n"),
        chat=None if form is None else form == "chat",
        labels=data.get("labels", False),
        stop=None if stop is None else tuple(stop),
    )


def _problem(data: dict[str, Any]) -> str | None:
    """What is wrong with a template's values, as the end of a sentence."""
    for key, value in data.items():
        if key not in _KEYS:
            return f"has an unknown key {key!r}; use {', '.join(_KEYS)}"
        if not isinstance(value, _KEYS[key]):
            return f"needs a {_KEYS[key].__name__} for {key!r}"
    if data.get("form", "chat") not in FORMS:
        return f"has the form {data['form']!r}; use {' or '.join(FORMS)}"
    if not all(isinstance(text, str) and text for text in data.get("stop", [])):
        return "needs texts that are not empty for 'stop'"
    text = data.get("text", "")
    if not text.strip():
        return "has no text; write one with the slots {passages} and {question}"
    return _slot_problem(text)


def _slot_problem(text: str) -> str | None:
    slots = re.findall(r"\{(\w+)\}", text)
    for slot in ("passages", "question"):
        if slots.count(slot) != 1:
            return f"must hold the slot {{{slot}}} once, not {slots.count(slot)} times"
    if unknown := sorted(set(slots) - set(_SLOTS)):
        return f"has an unknown slot {{{unknown[0]}}}; use {', '.join(f'{{{slot}}}' for slot in _SLOTS)}"
    if text.index("{question}") < text.index("{passages}"):
        return "has {question} before {passages}; put the passages first"
    if not re.search(r"^\{passages\}$", text, re.MULTILINE):
        return "must have {passages} on a line of its own"
    return None


def read_examples(path: Path) -> tuple[Example, ...]:
    """All worked examples of a JSON lines file. Raises `InputError` naming the first bad line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"The examples file {path} cannot be read ({error}); check the path.") from error
    examples = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                examples.append(_example(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: this is no worked example ({error}).") from error
    if not examples:
        raise InputError(f"The examples file {path} holds no example; write one JSON object a line.")
    return tuple(examples)


def _example(row: object) -> Example:
    """A row as an example; a `TypeError` or `ValueError` says what is wrong."""
    if not isinstance(row, dict):
        raise TypeError("a JSON object is needed")
    question, answers = row.get("question"), row.get("answers", [row["answer"]] if "answer" in row else [])
    passages = row.get("passages", [row["context"]] if "context" in row else [])
    if row.get("answerable", True) is False:
        answers = [REFUSAL]
    for name, texts in (("question", [question]), ("answers", answers), ("passages", passages)):
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise TypeError(f"{name} must be text")
        "".join(texts).encode()  # half a surrogate pair, which JSON can hold, is no text
    if not answers:
        raise ValueError("an answer is needed")
    return Example(tuple(passages), str(question), answers[0])
