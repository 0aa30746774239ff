"""Trainer: a language model with an adapter (LoRA, Hu et al. 2021), its optimiser, and one step of learning.

The only module that uses PEFT. The loop around it is in `finetuning`.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from rag.errors import ModelError
from rag.language_model import load_weights, quiet
from rag.training_trees import Tree


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

    def load(self, file: Path) -> None:
        """Take the matrices of an adapter of this rank, made for this model. Raises `ModelError`."""
        try:
            loaded: Any = peft.set_peft_model_state_dict(self.model, safetensors.torch.load_file(file))
        except (ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"The weights in {file} do not fit the model; make the adapter again.") from error
        if loaded.unexpected_keys or any("lora_" in name for name in loaded.missing_keys):
            raise ModelError(f"The weights in {file} do not fit the model; make the adapter again.")
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def save(self, file: Path) -> None:
        """Write the adapter's matrices, in bfloat16."""
        matrices = {
            name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
            for name, tensor in peft.get_peft_model_state_dict(self.model, save_embedding_layers=False).items()
        }
        safetensors.torch.save_file(matrices, file, {"format": "pt"})

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


@contextlib.contextmanager
def _peft_quiet() -> Iterator[None]:
    """Keep off the terminal what PEFT 0.21 says where nothing is wrong: an old name, the layers of GPT-2."""
    with warnings.catch_warnings():
        for message in (r"`is_gradient_checkpointing` is deprecated", r"fan_in_fan_out is set to False"):
            warnings.filterwarnings("ignore", message=message)
        yield
