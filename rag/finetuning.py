"""finetune(): a small adapter (LoRA, Hu et al. 2021) that teaches a language model to read passages.

The only module that uses PEFT. Several questions about the same passages share one reading of them: a tree whose trunk
is the prompt up to the question, and whose branches are the questions with their answers. A token sees the trunk and
its own branch, so that the loss is what it would be for each prompt alone. Only the answers' tokens count.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from rag.errors import InputError
from rag.language_model import LanguageModel
from rag.prompting import build_prompt
from rag.schema import Passage, RetrievedPassage
from rag.templates import REFUSAL, Template
from rag.training_data import Pack, Packs, Row, short_answer

STATE = "state.pt"
_CONTEXT = 2048  # tokens of a prompt while training


@dataclass(frozen=True, slots=True)
class Training:
    """How to train."""

    steps: int = 600
    packs: int = 2  # a step
    rank: int = 24
    alpha: int = 48
    learning_rate: float = 4e-4
    decay: float = 0.4  # the last part of the steps, in which the learning rate falls to 0
    warmup: int = 30  # steps
    average: float = 0.98  # of the running average of the weights, a step
    validations: int = 8
    seed: int = 0
    compiled: bool = False  # half as fast again, for a C++ compiler and half a minute

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0: up, level, down."""
        falling = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, falling)


@dataclass(frozen=True, slots=True)
class Tree:
    """A trunk and its branches as one sequence of L tokens, of which n are to be predicted."""

    ids: Tensor  # (L,)
    positions: Tensor  # (L,) counted along trunk and branch
    branch: Tensor  # (L,) 0 for the trunk
    before: Tensor  # (n,) the places that predict
    wanted: Tensor  # (n,) what they are to predict

    def mask(self) -> Tensor:
        """(1, 1, L, L): what each token sees."""
        sees = (self.branch[None, :] == 0) | (self.branch[None, :] == self.branch[:, None])
        return (sees & torch.ones_like(sees).tril())[None, None]


class Reader:
    """A template and a model's tokenizer: passages, questions and answers -> trees."""

    def __init__(self, model: LanguageModel, template: Template) -> None:
        self._encode = lru_cache(maxsize=10_000)(model.encode)
        self._frame = model.chat_frame()
        self._template = template
        self._budget = min(_CONTEXT, model.context_window)
        # A model in chat form says itself where it ends; in plain form a line's end does.
        self._end = [min(model.end_tokens)] if template.chat else model.encode("\n", False)

    def tree(self, passages: Sequence[str], asked: Iterable[tuple[str, str]]) -> Tree:
        """Passages, the best first, and questions with what is to be answered."""
        retrieved = [_retrieved(text, rank) for rank, text in enumerate(passages, start=1)]
        prompts, answers = [], []
        for question, answer in asked:
            prompt = build_prompt(self._template, question, retrieved, self._encode, self._budget, self._frame)
            prompts.append(list(prompt.token_ids))
            answers.append(self._encode(answer if self._template.chat else f" {answer}", False) + self._end)
        n = len(os.path.commonprefix(prompts)) if len(prompts) > 1 else len(prompts[0]) - 1
        ids, positions, branch, before, wanted = prompts[0][:n], list(range(n)), [0] * n, [], []
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
            tokens = prompt[n:] + answer[:-1]  # what the last one predicts is the end
            before += range(len(ids) + len(prompt) - n - 1, len(ids) + len(tokens))
            wanted += answer
            ids += tokens
            positions += range(n, n + len(tokens))
            branch += [number] * len(tokens)
        return Tree(*(torch.tensor(values) for values in (ids, positions, branch, before, wanted)))


def _retrieved(text: str, rank: int) -> RetrievedPassage:
    passage = Passage(rank, "", "", "", text, 0, len(text), "", None, None, ())
    return RetrievedPassage(passage, rank, 0.0, None, None)


class Trainer:
    """A model with a new adapter, its optimiser, and the running average of the adapter's weights."""

    def __init__(self, folder: Path, device: str, training: Training) -> None:
        torch.manual_seed(training.seed)
        base = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        config = peft.LoraConfig(
            r=training.rank,
            lora_alpha=training.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.model: Any = peft.get_peft_model(base.to(device), config)
        if training.compiled:
            for layer in base.base_model.layers:
                layer.compile(dynamic=True)
        self.device = torch.device(device)
        self.training = training
        self.weights = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.weights.items()}
        self.optimiser = torch.optim.AdamW(self.weights.values(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
        self.step = 0

    def logits(self, tree: Tree) -> Tensor:
        """Float32 (n, V) at the tree's predicting places."""
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.model(
                input_ids=tree.ids[None].to(self.device),
                attention_mask=tree.mask().to(self.device),
                position_ids=tree.positions[None].to(self.device),
                use_cache=False,
                logits_to_keep=tree.before.to(self.device),
            )
        return output.logits[0].float()

    def learn(self, trees: Sequence[Tree]) -> float:
        """One step; the mean negative log-probability of an answer, in nats."""
        self.model.train()
        branches = sum(int(tree.branch[-1]) for tree in trees)
        total = 0.0
        for tree in trees:
            loss = functional.cross_entropy(self.logits(tree), tree.wanted.to(self.device), reduction="sum") / branches
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        keep = min(self.training.average, self.step / (self.step + 10))
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
        return {
            "step": self.step,
            "weights": {name: p.detach() for name, p in self.weights.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])


def validation(rows: Sequence[Row]) -> list[Pack]:
    """Each passage by itself, whole, with all of its questions."""
    packs: dict[str, list[tuple[str, str | None]]] = {}
    for row in rows:
        packs.setdefault(row.passage, []).append((row.question, short_answer(row.answers, row.passage)))
    return [Pack((passage,), tuple(asked)) for passage, asked in packs.items()]


@torch.no_grad()
def validate(trainer: Trainer, reader: Reader, packs: Sequence[Pack]) -> dict[str, float]:
    """How often greedy writing would give the very answer, or refuse, where it should and where it should not."""
    trainer.model.eval()
    counts = dict.fromkeys(("answerable", "exact", "refused_answerable", "unanswerable", "refused_unanswerable"), 0)
    nll, tokens = 0.0, 0
    for pack in packs:
        asked = [(q, a or REFUSAL) for q, a in pack.asked] + [(q, REFUSAL) for q, a in pack.asked if a]
        tree = reader.tree(pack.passages, asked)
        logits, wanted = trainer.logits(tree).cpu(), tree.wanted
        right = [bool(r) for r in _per_branch(logits.argmax(-1) == wanted, tree)]
        nll += float(functional.cross_entropy(logits, wanted, reduction="sum"))
        tokens += len(wanted)
        answerable = [a is not None for _, a in pack.asked]
        refuses = iter(right[len(answerable) :])
        for has_answer, is_right in zip(answerable, right, strict=False):
            counts["answerable" if has_answer else "unanswerable"] += 1
            counts["exact" if has_answer else "refused_unanswerable"] += is_right
            if has_answer:
                counts["refused_answerable"] += next(refuses)
    a, u = max(1, counts["answerable"]), max(1, counts["unanswerable"])
    return {
        "exact": counts["exact"] / a,
        "refused_answerable": counts["refused_answerable"] / a,
        "refused_unanswerable": counts["refused_unanswerable"] / u,
        "right": (counts["exact"] + counts["refused_unanswerable"]) / (counts["answerable"] + counts["unanswerable"]),
    }


def _per_branch(right: Tensor, tree: Tree) -> list[bool]:
    branch = tree.branch[tree.before]
    wrong = set(branch[~right].tolist())
    return [number not in wrong for number in range(1, int(tree.branch[-1]) + 1)]


def finetune(
    folder: Path,
    device: str,
    template: Template,
    packs: Packs,
    dev: Sequence[Row],
    out: Path,
    training: Training,
    on_step: Callable[[int, int, dict[str, Any]], None],
) -> dict[str, float]:
    """Train an adapter for the model in a folder, and keep the one of the best validation in `out`."""
    reader = Reader(LanguageModel(folder, "cpu"), template)
    trainer = Trainer(folder, device, training)
    out.mkdir(parents=True, exist_ok=True)
    log: list[dict[str, Any]] = []
    held_out = validation(dev)
    if (out / STATE).exists():
        state = torch.load(out / STATE, weights_only=True)
        trainer.restore(state)
        log = state["log"]
    every = max(1, training.steps // training.validations)
    losses: list[float] = []
    while trainer.step < training.steps:
        trees = [
            reader.tree(pack.passages, [(q, a or REFUSAL) for q, a in pack.asked])
            for n in range(training.packs)
            if (pack := packs[trainer.step * training.packs + n]).asked
        ]
        if trees:
            losses.append(trainer.learn(trees))
        on_step(trainer.step, training.steps, {"loss": losses[-1], "branches": sum(int(t.branch[-1]) for t in trees), "tokens": sum(len(t.ids) for t in trees)})
        if trainer.step % every == 0 or trainer.step == training.steps:
            trainer.swap()
            found = validate(trainer, reader, held_out)
            log.append({"step": trainer.step, "loss": sum(losses) / len(losses)} | found)
            losses = []
            on_step(trainer.step, training.steps, log[-1])
            if found["right"] >= max(entry["right"] for entry in log):
                _save(trainer, out)
            trainer.swap()
        if trainer.step % 25 == 0 or trainer.step == training.steps:
            aside = out / (STATE + ".partial")
            torch.save(trainer.state() | {"log": log}, aside)
            aside.rename(out / STATE)
    return log[-1]


def _save(trainer: Trainer, out: Path) -> None:
    trainer.model.save_pretrained(out)
