"""finetune(): a small adapter (LoRA, Hu et al. 2021) that teaches a language model to read passages.

The only module that uses PEFT. What is learnt from is for `training_data` and `training_trees`: here is the loop.

    packs of a step -> trees -> loss of the answers' tokens -> a step of AdamW -> running average of the weights

At the end come some steps on answers only, which set where declining begins.
"""

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from rag.adapter import CONFIG, RECORD, WEIGHTS, weights_identity
from rag.errors import InputError, ModelError
from rag.language_model import load_weights, quiet
from rag.models import sha256_of
from rag.templates import REFUSAL, Template
from rag.tokenizer import Tokenizer
from rag.training_data import Pack, Packs, Row, short_answer
from rag.training_trees import Tree, Trees

STATE = "state.pt"  # what a training goes on from; of no use afterwards
_DECLINED = 0.15  # of the questions that have an answer: what declines more is only kept for want of better
_SAVED = 25  # steps after which it is written
_FREE = ("steps", "validations", "compiled")  # settings that a training may change on its way
_PACKAGES = ("openbook-rag", "torch", "transformers", "peft")
Progress = Callable[[int, int, dict[str, float]], None]  # (steps done, of how many, loss or validation)


@dataclass(frozen=True, slots=True)
class Training:
    """How to train. How the bundled adapter was made is in docs/finetuning.md."""

    steps: int = 1200
    packs: int = 3  # a step
    rank: int = 24
    learning_rate: float = 4e-4
    warmup: int = 30  # steps
    decay: float = 0.4  # the last part of the steps before settling, in which the learning rate falls to 0
    settling: float = 0.015  # the last part of all steps: from the average of the weights on, on answers only
    settling_rate: float = 5e-5
    average: float = 0.98  # how much of the running average of the weights a step keeps
    validations: int = 6
    seed: int = 0
    compiled: bool = False  # half as fast again, for a C++ compiler and half a minute

    @property
    def settles(self) -> int:
        """The step with which settling begins, counted from 0."""
        return self.steps - int(self.settling * self.steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0: up, level, down, settling."""
        if step >= self.settles:
            return self.settling_rate
        falling = (self.settles - step) / max(1.0, self.decay * self.settles)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, falling)


class Trainer:
    """A model with a new adapter, its optimiser, and the running average of the adapter's weights."""

    def __init__(self, folder: Path, device: str, training: Training) -> None:
        """Load the model; its products are made in bfloat16, the rest in float32. Raises `ModelError`."""
        torch.manual_seed(training.seed)
        with quiet():
            base = load_weights(folder, torch.float32).to(device)
        for layer in base.base_model.modules():
            if isinstance(layer, torch.nn.Linear):  # never changed: rounded once instead of at every step
                layer.to(torch.bfloat16)
        config = peft.LoraConfig(
            r=training.rank, lora_alpha=2 * training.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        if training.compiled:
            for layer in base.base_model.layers:
                layer.compile(dynamic=True)
        self.device = torch.device(device)
        self.training = training
        with _peft_quiet():
            self.model: Any = peft.get_peft_model(base, config)
        self.weights = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.weights.items()}
        self.optimiser = torch.optim.AdamW(self.weights.values(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
        self.step = 0

    def logits(self, tree: Tree) -> Tensor:
        """Float32 (n, V) where the tree predicts, on the CPU or the device."""
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.model(
                input_ids=tree.ids[None].to(self.device),
                attention_mask=tree.mask().to(self.device),
                position_ids=tree.positions[None].to(self.device),
                use_cache=False,
                logits_to_keep=tree.predicting.to(self.device),
            )
        logits: Tensor = output.logits[0].float()
        return logits

    def learn(self, trees: Sequence[Tree]) -> float:
        """One step; the mean negative log-probability of an answer before it, in nats."""
        self.model.train()
        branches = sum(tree.branches for tree in trees)
        total = 0.0
        for tree in trees:
            loss: Any = functional.cross_entropy(self.logits(tree), tree.wanted.to(self.device), reduction="sum")
            (loss / branches).backward()
            total += loss.item() / branches
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        keep = min(self.training.average, self.step / (self.step + 10))  # the first steps are soon forgotten
        keep = keep if self.step <= self.training.settles else 0.0
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.average[name].lerp_(weight, 1 - keep)
        return total

    def swap(self) -> None:
        """Exchange the weights and their average."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                kept = weight.detach().clone()
                weight.copy_(self.average[name])
                self.average[name] = kept

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        return {
            "step": self.step,
            "weights": weights,
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.step = state["step"]
        self.average = {name: kept.to(self.device) for name, kept in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])


def finetune(
    folder: Path,
    device: str,
    template: Template,
    packs: Packs,
    held_out: Sequence[Row],
    out: Path,
    training: Training,
    data: dict[str, str],
    on_progress: Progress = lambda done, total, figures: None,
) -> dict[str, Any]:
    """Train an adapter for the model in `folder`; `out` keeps the one that did best on the rows held out.

    Returns the record that goes with it. `data` is the sha256 of each file by its name. A training that was cut off
    goes on, to another number of steps if wanted; one that was begun with something else is refused. Raises
    `InputError`, `ModelError`.
    """
    record = _begin(folder, template, out, training, data)
    trees = Trees(Tokenizer(folder), template)
    trainer = Trainer(folder, device, training)
    if (out / STATE).is_file():
        state = torch.load(out / STATE, weights_only=True, map_location="cpu")
        trainer.restore(state)
        record["validations"] = state["validations"]
    if trainer.step > training.steps:
        raise InputError(f"The training in {out} has made {trainer.step} steps already; give it as many or more.")
    judged = [trees_of(trees, pack) for pack in whole_passages(held_out)]
    every = max(1, training.steps // training.validations)
    while trainer.step < training.steps:
        drawn = [packs[trainer.step * training.packs + n] for n in range(training.packs)]
        if trainer.step >= training.settles:
            trainer.swap()  # to the average; from the second step on both are the same
            drawn = [pack for pack in map(answered, drawn) if pack.asked]
        loss = trainer.learn([trees.of(pack) for pack in drawn])
        on_progress(trainer.step, training.steps, {"loss": loss})
        if trainer.step % every == 0 or trainer.step == training.steps:
            trainer.swap()
            found = validate(trainer, judged)
            record["validations"].append({"step": trainer.step} | found)
            if merit(found) >= max(map(merit, record["validations"])):
                _save(trainer, out, record)
            trainer.swap()
            on_progress(trainer.step, training.steps, found)
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


def merge(model: Path, adapter: Path, folder: Path) -> None:
    """Write a model's weights with an adapter merged into them, in the model's own precision. Raises `ModelError`."""
    with quiet(), _peft_quiet():
        base = load_weights(model, "auto")
        try:
            tuned: Any = peft.PeftModel.from_pretrained(base, adapter)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ModelError(
                f"The adapter in {adapter} does not fit {model.name} ({type(error).__name__}); make it again."
            ) from error
        tuned.merge_and_unload().save_pretrained(folder)


def _begin(folder: Path, template: Template, out: Path, training: Training, data: dict[str, str]) -> dict[str, Any]:
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
    out.mkdir(parents=True, exist_ok=True)
    begun = out / "begun.json"
    fixed = {key: record[key] for key in ("base_sha256", "template", "data")}
    fixed["settings"] = {key: value for key, value in record["settings"].items() if key not in _FREE}
    if begun.is_file() and (before := json.loads(begun.read_text(encoding="utf-8"))) != fixed:
        different = ", ".join(key for key in fixed if fixed[key] != before.get(key))
        raise InputError(f"The training in {out} was begun with another {different}; choose another --out.")
    _write(begun, lambda file: file.write_text(json.dumps(fixed, indent=1), encoding="utf-8"))
    return record


def _save(trainer: Trainer, out: Path, record: dict[str, Any]) -> None:
    """Write the adapter, each file whole or not at all, the record last."""
    matrices = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in peft.get_peft_model_state_dict(trainer.model, save_embedding_layers=False).items()
    }
    _write(out / WEIGHTS, lambda file: safetensors.torch.save_file(matrices, file, {"format": "pt"}))
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


@contextlib.contextmanager
def _peft_quiet() -> Iterator[None]:
    """Keep off the terminal what PEFT 0.21 says where nothing is wrong: an old name, the layers of GPT-2."""
    with warnings.catch_warnings():
        for message in (r"`is_gradient_checkpointing` is deprecated", r"fan_in_fan_out is set to False"):
            warnings.filterwarnings("ignore", message=message)
        yield


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
