"""finetune(): a small adapter that teaches a language model to read passages.

What is learnt from is for `training_data` and `training_trees`, a step for `trainer`: here is the loop.

    packs of a step -> trees -> loss of the answers' tokens -> a step of AdamW -> running average of the weights

At the end come some steps on answers only, which set where declining begins.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rag.adapter import CONFIG, RECORD, WEIGHTS, rank_of, read_record, weights_identity
from rag.errors import InputError, ModelError
from rag.models import sha256_of
from rag.templates import REFUSAL, Template
from rag.tokenizer import Tokenizer
from rag.trainer import Trainer, Training
from rag.training_data import Pack, Packs, Row, short_answer
from rag.training_trees import Tree, Trees

STATE = "state.pt"  # what a training goes on from; of no use afterwards
_DECLINED = 0.15  # of the questions that have an answer: what declines more is only kept for want of better
_SAVED = 25  # steps after which it is written
_FREE = ("steps", "validations", "compiled")  # settings that a training may change on its way
_PACKAGES = ("openbook-rag", "torch", "transformers", "peft")
Progress = Callable[[int, int, dict[str, float]], None]  # (steps done, of how many, loss or validation)


def finetune(
    folder: Path,
    device: str,
    template: Template,
    packs: Packs,
    held_out: Sequence[Row],
    out: Path,
    training: Training,
    data: dict[str, dict[str, str]],
    on_progress: Progress = lambda done, total, figures: None,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train an adapter for the model in `folder`; `out` keeps the one that did best on the rows held out.

    Returns the record that goes with it. `data` has the sha256 of each file by its name, for what is learnt and what is
    held out; `start` is an adapter of the same rank to go on from, which is kept where nothing is better. A training
    that was cut off goes on, to another number of steps if wanted; one that was begun with something else is refused.
    Raises `InputError`, `ModelError`.
    """
    record = _begin(folder, template, out, training, data, start)
    trees = Trees(Tokenizer(folder), template)
    trainer = Trainer(folder, device, training)
    if start is not None:
        trainer.load(start / WEIGHTS)
    if (out / STATE).is_file():
        state = torch.load(out / STATE, weights_only=True, map_location="cpu")
        trainer.restore(state)
        record["validations"] = state["validations"]
    if trainer.step > training.steps:
        raise InputError(f"The training in {out} has made {trainer.step} steps already; give it as many or more.")
    judged = [trees_of(trees, pack) for pack in whole_passages(held_out)]

    def judge() -> None:
        trainer.swap()
        found = validate(trainer, judged)
        record["validations"].append({"step": trainer.step} | found)
        if merit(found) >= max(map(merit, record["validations"])):
            _save(trainer, out, record)
        trainer.swap()
        on_progress(trainer.step, training.steps, found)

    if start is not None and trainer.step == 0:
        judge()
    every = max(1, training.steps // training.validations)
    while trainer.step < training.steps:
        drawn = [packs[trainer.step * training.packs + n] for n in range(training.packs)]
        if trainer.step >= training.settles:
            trainer.swap()  # to the average; from the second step on both are the same
            drawn = [pack for pack in map(answered, drawn) if pack.asked]
        loss = trainer.learn([trees.of(pack) for pack in drawn])
        on_progress(trainer.step, training.steps, {"loss": loss})
        if trainer.step % every == 0 or trainer.step == training.steps:
            judge()
        if trainer.step % _SAVED == 0 or trainer.step == training.steps:
            _write(out / STATE, lambda file: torch.save(trainer.state() | {"validations": record["validations"]}, file))
    return record


def whole_passages(rows: Sequence[Row]) -> list[Pack]:
    """Each passage by itself, whole, with all of its questions."""
    packs: dict[str, list[tuple[str, str | None]]] = {}
    for row in rows:
        packs.setdefault(row.passage, []).append((row.question, short_answer(row.answers, row.passage)))
    return [Pack((passage,), tuple(asked)) for passage, asked in packs.items()]


def answered(pack: Pack) -> Pack:
    """A pack without the questions that it does not answer."""
    return Pack(pack.passages, tuple((question, answer) for question, answer in pack.asked if answer is not None))


def merit(found: dict[str, float]) -> tuple[float, float]:
    """What a validation is chosen by: right ones, but first that not too many are declined that have an answer."""
    return -max(found["refused_answerable"], _DECLINED), found["right"]


def trees_of(trees: Trees, pack: Pack) -> tuple[Tree, list[bool]]:
    """A tree with each question's answer, then a refusal of each that has one; and which of the first have one."""
    answers = [(question, answer or REFUSAL) for question, answer in pack.asked]
    refusals = [(question, REFUSAL) for question, answer in pack.asked if answer is not None]
    return trees.tree(pack.passages, [*answers, *refusals]), [answer is not None for _, answer in pack.asked]


@torch.no_grad()
def validate(trainer: Trainer, judged: Sequence[tuple[Tree, list[bool]]]) -> dict[str, float]:
    """How often greedy writing gives the very answer, and how often it refuses: where it should, where it should not.

    Each token is predicted after the right ones before it: all of a branch are right where greedy writing gives it.
    """
    trainer.model.eval()
    exact, refused_answerable, refused_unanswerable = list[bool](), list[bool](), list[bool]()
    for tree, answerable in judged:
        right = tree.whole(trainer.logits(tree).argmax(-1).cpu() == tree.wanted)
        for has_answer, is_right in zip(answerable, right, strict=False):
            (exact if has_answer else refused_unanswerable).append(is_right)
        refused_answerable += right[len(answerable) :]
    return {
        "exact": _share(exact),
        "refused_answerable": _share(refused_answerable),
        "refused_unanswerable": _share(refused_unanswerable),
        "right": _share(exact + refused_unanswerable),
    }


def _begin(
    folder: Path, template: Template, out: Path, training: Training, data: dict[str, dict[str, str]], start: Path | None
) -> dict[str, Any]:
    """The record of a training, compared with the one that is there."""
    record: dict[str, Any] = {
        "base": folder.name,
        "base_sha256": weights_identity(folder),
        "template": template.name,
        "data": data,
        "settings": asdict(training),
        "versions": {package: version(package) for package in _PACKAGES},
        "validations": [],
    }
    if start is not None:
        if start.resolve() == out.resolve():
            raise InputError(f"{out} cannot be gone on from and written to at once; choose another --out.")
        record["start"] = _started(start, record)
    out.mkdir(parents=True, exist_ok=True)
    begun = out / "begun.json"
    fixed: dict[str, Any] = {key: record[key] for key in ("base_sha256", "template", "data", "start") if key in record}
    fixed["settings"] = {key: value for key, value in record["settings"].items() if key not in _FREE}
    if begun.is_file() and (before := json.loads(begun.read_text(encoding="utf-8"))) != fixed:
        different = ", ".join(key for key in (before | fixed) if fixed.get(key) != before.get(key))
        raise InputError(f"The training in {out} was begun with another {different}; choose another --out.")
    _write(begun, lambda file: file.write_text(json.dumps(fixed, indent=1), encoding="utf-8"))
    return record


def _started(start: Path, record: dict[str, Any]) -> str:
    """The sha256 of the weights to begin with, if they belong to this model, template and rank. Raises `ModelError`."""
    rank, made = rank_of(start), read_record(start)
    for what, ours, theirs in (
        ("model", record["base_sha256"], made["base_sha256"]),
        ("template", record["template"], made["template"]),
        ("rank", record["settings"]["rank"], rank),
    ):
        if ours != theirs:
            raise ModelError(
                f"The adapter in {start} has another {what} than this training; give its own, or no start."
            )
    sha256: str = made["weights_sha256"]
    return sha256


def _save(trainer: Trainer, out: Path, record: dict[str, Any]) -> None:
    """Write the adapter, each file whole or not at all, the record last."""
    _write(out / WEIGHTS, trainer.save)
    made_for = {"base_model_name_or_path": record["base"], "inference_mode": True}  # PEFT has the folder's whole path
    config = trainer.model.peft_config["default"].to_dict() | made_for
    text = json.dumps(config, indent=1, default=lambda value: sorted(value), sort_keys=True)
    _write(out / CONFIG, lambda file: file.write_text(text, encoding="utf-8"))
    written = json.dumps(record | {"weights_sha256": sha256_of(out / WEIGHTS)}, indent=1)
    _write(out / RECORD, lambda file: file.write_text(written, encoding="utf-8"))


def _write(file: Path, write: Callable[[Path], Any]) -> None:
    aside = file.with_name(file.name + ".partial")
    write(aside)
    aside.replace(file)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
