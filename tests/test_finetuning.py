"""Fine-tuning: what is learnt, what is kept, and that a training that was cut off loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from rag.adapter import CONFIG, RECORD, WEIGHTS
from rag.errors import InputError, ModelError, PromptError
from rag.finetuning import (
    STATE,
    answered,
    finetune,
    merit,
    trees_of,
    validate,
    whole_passages,
)
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel, load_weights
from rag.models import sha256_of
from rag.prompting import build_prompt
from rag.schema import Passage, RetrievedPassage, SamplingParams
from rag.templates import REFUSAL, choose_template
from rag.tokenizer import Tokenizer
from rag.trainer import Trainer, Training, merge
from rag.training_data import Pack, Packs, Row
from rag.training_trees import Trees
from tests.conftest import HashingEmbedder

PLAIN = choose_template("plain", None)
ROWS = [
    row
    for n in range(4)
    for passage in [f"Boat {n} is Ann{n}'s. It cost £{n}0."]
    for row in (
        Row(f"Whose is boat {n}?", passage, (f"Ann{n}",)),
        Row(f"What did boat {n} cost?", passage, (f"£{n}0",)),
        Row(f"Who sails boat {n}?", passage, ()),
    )
]
SHORT = Training(steps=30, packs=1, rank=2, learning_rate=5e-3, warmup=3, settling=0.1, average=0.8, validations=5)
DATA = {"learnt": {"rows.jsonl": "0" * 64}, "held out": {}}


def train(folder, out, training=SHORT, rows=ROWS, held_out=ROWS[:3], data=DATA, **options):
    packs = Packs(rows, HashingEmbedder().embed_passages, training.seed)
    return finetune(folder, "cpu", PLAIN, packs, held_out, out, training, data, **options)


def files(out):
    """What an adapter consists of, byte by byte."""
    return {name: (out / name).read_bytes() for name in (WEIGHTS, CONFIG, RECORD)}


@pytest.fixture(scope="module")
def folder(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """An adapter of a training that nothing interrupted, its record, and what was said while it ran."""
    out, said = tmp_path_factory.mktemp("trained"), []
    record = train(folder, out, on_progress=lambda *progress: said.append(progress))
    return out, record, said


# what is learnt


@pytest.mark.parametrize("kind", ["llama", "qwen", "gpt2"])
def test_learning_lowers_the_loss_and_changes_the_adapter_only(tiny_folder, kind):
    folder = tiny_folder(kind)
    trainer = Trainer(folder, "cpu", SHORT)
    trees = Trees(Tokenizer(folder), PLAIN)
    pack = whole_passages(ROWS)[0]
    base = {name: p.clone() for name, p in trainer.model.named_parameters() if name not in trainer.weights}
    losses = [trainer.learn([trees.of(pack)]) for _ in range(20)]
    assert losses[-1] < 0.98 * losses[0]
    assert all("lora_" in name for name in trainer.weights)
    for name, p in trainer.model.named_parameters():
        assert p.requires_grad == (name in trainer.weights)
        assert name in trainer.weights or torch.equal(p, base[name])
    assert trainer.step == 20


def test_the_loss_is_the_mean_of_the_answers(folder):
    trees = Trees(Tokenizer(folder), PLAIN)
    one, other = (trees.of(pack) for pack in whole_passages(ROWS)[:2])
    losses = [Trainer(folder, "cpu", SHORT).learn(step) for step in ([one], [other], [one, other])]
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2, rel=1e-5)


def test_an_adapter_that_learnt_nothing_changes_nothing(folder, transformers_model):
    trainer = Trainer(folder, "cpu", SHORT)
    tree = Trees(Tokenizer(folder), PLAIN).of(whole_passages(ROWS)[0])
    with torch.no_grad():
        output = transformers_model(folder)(
            input_ids=tree.ids[None], attention_mask=tree.mask(), position_ids=tree.positions[None]
        )
        logits = trainer.logits(tree)
    expected = output.logits[0, tree.predicting]
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().max() < 0.02 * expected.abs().max(), "but for products in bfloat16"


def test_the_rate_goes_up_stays_falls_and_settles():
    training = Training(steps=125, learning_rate=1.0, warmup=10, decay=0.4, settling=0.2, settling_rate=0.3)
    rates = [training.rate(step) for step in range(100)]
    assert {training.rate(step) for step in range(100, 125)} == {0.3}
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert set(rates[10:60]) == {1.0}
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert 0 < rates[-1] < 0.05


def test_the_average_follows_the_weights(folder):
    trainer = Trainer(folder, "cpu", SHORT)
    tree = Trees(Tokenizer(folder), PLAIN).of(whole_passages(ROWS)[0])
    expected = {name: weight.detach().clone() for name, weight in trainer.weights.items()}
    for step in range(1, 4):
        trainer.learn([tree])
        keep = min(SHORT.average, step / (step + 10))
        expected = {name: keep * expected[name] + (1 - keep) * p.detach() for name, p in trainer.weights.items()}
    own = {name: weight.detach().clone() for name, weight in trainer.weights.items()}
    for name, kept in expected.items():
        torch.testing.assert_close(trainer.average[name], kept)
    trainer.swap()
    assert all(torch.equal(trainer.average[name], own[name]) for name in own)
    assert not all(torch.equal(weight, own[name]) for name, weight in trainer.weights.items())
    trainer.swap()
    assert all(torch.equal(weight, own[name]) for name, weight in trainer.weights.items())


def test_settling_begins_with_the_average_and_learns_answers_only(folder, tmp_path):
    training = replace(SHORT, steps=12, settling=0.25, average=0.99, settling_rate=0.0)
    record = train(folder, tmp_path, training)
    assert (training.settles, [entry["step"] for entry in record["validations"]]) == (9, [2, 4, 6, 8, 10, 12])
    state = torch.load(tmp_path / STATE, weights_only=True)
    trainer = Trainer(folder, "cpu", training)
    packs = Packs(ROWS, HashingEmbedder().embed_passages, 0)
    trees = Trees(Tokenizer(folder), PLAIN)
    for step in range(9):
        trainer.learn([trees.of(packs[step])])
    for name, average in trainer.average.items():
        torch.testing.assert_close(state["weights"][name], average)
        assert torch.equal(state["average"][name], state["weights"][name])
    pack = Pack(("Ann sails.",), (("Who?", "Ann"), ("Why?", None)))
    assert answered(pack) == Pack(("Ann sails.",), (("Who?", "Ann"),))


def test_a_training_made_shorter_settles_from_its_average_too(folder, tmp_path):
    def cut(done, *_):
        if done == 26:  # 25 are kept
            raise CutOffError

    longer = replace(SHORT, steps=200, average=0.99, settling_rate=0.0)
    with pytest.raises(CutOffError):
        train(folder, tmp_path, longer, on_progress=cut)
    average = torch.load(tmp_path / STATE, weights_only=True)["average"]
    shorter = replace(longer, steps=26, validations=1)
    assert shorter.settles == 24
    train(folder, tmp_path, shorter)
    for name, weight in torch.load(tmp_path / STATE, weights_only=True)["weights"].items():
        torch.testing.assert_close(weight, average[name])


def test_nothing_to_settle_on_changes_nothing(folder, tmp_path):
    rows = [replace(row, answers=()) for row in ROWS]
    train(folder, tmp_path, replace(SHORT, steps=10, settling=0.5), rows, rows)
    weights = torch.load(tmp_path / STATE, weights_only=True)["weights"]
    train(folder, tmp_path / "five", replace(SHORT, steps=5, settling=0.0, validations=1), rows, rows)
    for name, average in torch.load(tmp_path / "five" / STATE, weights_only=True)["average"].items():
        torch.testing.assert_close(weights[name], average)


def test_an_adapter_that_declines_too_much_is_only_kept_for_want_of_better():
    def found(declined, right):
        return {"refused_answerable": declined, "right": right}

    assert merit(found(0.15, 0.4)) > merit(found(0.16, 0.9)) > merit(found(0.5, 0.95))
    assert merit(found(0.05, 0.4)) < merit(found(0.14, 0.41))


def test_rows_held_out_are_judged_by_whole_passages(folder):
    packs = whole_passages([*ROWS[:2], ROWS[3], ROWS[2]])
    assert [pack.passages for pack in packs] == [(ROWS[0].passage,), (ROWS[3].passage,)]
    assert packs[0].asked == ((ROWS[0].question, "Ann0"), (ROWS[1].question, "£00"), (ROWS[2].question, None))
    tree, answerable = trees_of(Trees(Tokenizer(folder), PLAIN), packs[0])
    assert answerable == [True, True, False]
    said = Tokenizer(folder).decode(tree.wanted.tolist())
    assert said == f" Ann0\n £00\n {REFUSAL}\n {REFUSAL}\n {REFUSAL}\n", "answers, then refusals of what has one"


@pytest.fixture(scope="module")
def refuser(tiny_folder, tmp_path_factory):
    """A model with clear opinions, an adapter that has learnt to refuse everything, and its record."""
    folder = tmp_path_factory.mktemp("sharp")
    model = load_weights(tiny_folder("llama"), torch.float32)
    with torch.no_grad():
        model.lm_head.weight.mul_(10)
    model.save_pretrained(folder)
    Tokenizer(tiny_folder("llama")).tokenizer.save_pretrained(folder)
    out = tmp_path_factory.mktemp("refuser")
    rows = [replace(row, answers=()) for row in ROWS]
    training = replace(SHORT, steps=150, rank=8, learning_rate=1e-2, settling=0.0, validations=3)
    return folder, out, training, rows, train(folder, out, training, rows, rows)


def test_what_validation_finds_is_what_greedy_writing_gives(refuser, tmp_path):
    folder, out, _, rows, record = refuser
    assert record["validations"][-1] == {
        **{"step": 150, "exact": 0.0, "refused_answerable": 0.0, "refused_unanswerable": 1.0, "right": 1.0}
    }
    merge(folder, out, tmp_path)
    Tokenizer(folder).tokenizer.save_pretrained(tmp_path)
    model = LanguageModel(tmp_path, "cpu")
    for row in rows[:4]:
        passage = Passage(1, "", "", "", row.passage, 0, len(row.passage), "", None, None, ())
        prompt = build_prompt(
            PLAIN, row.question, [RetrievedPassage(passage, 1, 0.0, None, None)], model.encode, 2048, None
        )
        steps = LocalGenerator(model).stream(prompt.token_ids, SamplingParams(max_new_tokens=40, stop=("\n",)))
        assert "".join(step.text for step in steps) == f" {REFUSAL}"


def test_validation_counts_answers_refusals_and_refusals_of_what_has_an_answer(refuser):
    folder, out, training, _, _ = refuser
    trainer = Trainer(folder, "cpu", training)
    trainer.restore(torch.load(out / STATE, weights_only=True))
    trainer.swap()
    trees = Trees(Tokenizer(folder), PLAIN)
    found = validate(trainer, [trees_of(trees, pack) for pack in whole_passages(ROWS)])
    assert found["exact"] == 0.0
    assert found["refused_answerable"] == found["refused_unanswerable"] == 1.0
    assert found["right"] == pytest.approx(1 / 3), "a third of the rows has no answer"


def test_the_adapter_of_the_best_validation_is_kept(refuser):
    folder, out, training, rows, record = refuser
    before = files(out)
    impossible = [Row("Whose?", "Boat 1 is Ann1's.", ("Ann1",))]
    longer = train(folder, out, replace(training, steps=152, validations=152), rows, impossible)
    assert longer["validations"][: len(record["validations"])] == record["validations"]
    assert [entry["right"] for entry in longer["validations"][-2:]] == [0.0, 0.0]
    assert files(out) == before


# what is kept


def test_an_adapter_says_what_it_is_and_where_it_came_from_but_not_of_which_machine(folder, trained):
    out, record, _ = trained
    weights = safetensors.torch.load_file(out / WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert all("lora_" in name for name in weights)
    config = json.loads((out / CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["r"], config["inference_mode"]) == (folder.name, 2, True)
    written = json.loads((out / RECORD).read_text())
    assert written["weights_sha256"] == sha256_of(out / WEIGHTS)
    assert {**record, "weights_sha256": written["weights_sha256"]} == written
    assert (written["base"], written["template"], written["data"]) == (folder.name, "plain", DATA)
    assert written["settings"] == asdict(SHORT)
    assert set(written["versions"]) == {"openbook-rag", "torch", "transformers", "peft"}
    for content in files(out).values():
        assert str(folder.parent).encode() not in content
        assert str(Path.home()).encode() not in content
    assert not list(out.glob("*.partial"))


def test_every_step_and_validation_is_said(trained):
    _, record, said = trained
    steps = [(done, total) for done, total, figures in said if "loss" in figures]
    assert steps == [(n, 30) for n in range(1, 31)]
    found = [{"step": done} | figures for done, _, figures in said if "right" in figures]
    assert found == record["validations"]
    assert [entry["step"] for entry in found] == [6, 12, 18, 24, 30]


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(folder, trained, tmp_path):
    train(folder, tmp_path / "same")
    assert files(tmp_path / "same") == files(trained[0])
    train(folder, tmp_path / "other", replace(SHORT, seed=1))
    assert files(tmp_path / "other")[WEIGHTS] != files(trained[0])[WEIGHTS]


# cut off


class CutOffError(Exception):
    """What a test raises in the middle of a training."""


@pytest.mark.parametrize("after", [3, 7, 32, 35], ids=lambda n: f"after {n} reports")
def test_a_training_that_was_cut_off_ends_as_if_it_had_not_been(folder, trained, tmp_path, after):
    said = []

    def cut(*progress):
        said.append(progress)
        if len(said) == after:
            raise CutOffError

    with pytest.raises(CutOffError):
        train(folder, tmp_path, on_progress=cut)
    resumed = []
    record = train(folder, tmp_path, on_progress=lambda done, *_: resumed.append(done))
    assert resumed[0] == (26 if after > 30 else 1)
    assert files(tmp_path) == files(trained[0])
    assert record == trained[1]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_finetuning import SHORT, train

def kill(done, *_):
    if done == 27:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), Path(sys.argv[2]), on_progress=kill)
"""


def test_a_training_that_was_killed_ends_as_if_it_had_not_been(folder, trained, tmp_path):
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path)]
    root = Path(__file__).parents[1]
    killed = subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / STATE).is_file()
    train(folder, tmp_path)
    assert files(tmp_path) == files(trained[0])


def test_a_finished_training_is_not_done_again(folder, trained):
    out, record, _ = trained
    before, said = files(out), []
    assert train(folder, out, on_progress=lambda *progress: said.append(progress)) == record
    assert (files(out), said) == (before, [])


@pytest.mark.parametrize(
    ("changes", "which"),
    [
        ({"data": {"learnt": {"rows.jsonl": "1" * 64}, "held out": {}}}, "data"),
        ({"data": {"learnt": {}, "held out": DATA["learnt"]}}, "data"),
        ({"training": replace(SHORT, rank=3)}, "settings"),
        ({"training": replace(SHORT, seed=1), "data": {}}, "data, settings"),
    ],
)
def test_what_was_begun_with_something_else_is_not_gone_on_with(folder, trained, changes, which):
    before = files(trained[0])
    with pytest.raises(InputError, match=f"was begun with another {which}; choose another --out"):
        train(folder, trained[0], **changes)
    assert files(trained[0]) == before


def test_another_model_or_template_is_another_training(tiny_folder, trained):
    with pytest.raises(InputError, match="begun with another base_sha256"):
        train(tiny_folder("qwen"), trained[0])
    with pytest.raises(ModelError, match="holds no safetensors"):
        train(trained[0].parent, trained[0])


def test_more_steps_are_allowed_and_fewer_than_were_made_are_not(folder, tmp_path):
    train(folder, tmp_path, replace(SHORT, steps=2))
    said = []
    record = train(folder, tmp_path, replace(SHORT, steps=4), on_progress=lambda done, *_: said.append(done))
    assert (said[0], said[-1], record["settings"]["steps"]) == (3, 4, 4)
    with pytest.raises(InputError, match="has made 4 steps already"):
        train(folder, tmp_path, replace(SHORT, steps=3))


def test_a_passage_that_fits_no_prompt_is_one_sentence_before_anything_is_learnt(folder, tmp_path):
    said = []
    with pytest.raises(PromptError, match="do not fit into 2048 tokens"):
        train(folder, tmp_path, held_out=[Row("Who?", "x" * 5000, ())], on_progress=lambda *p: said.append(p))
    assert said == []


# going on from an adapter


def test_a_training_can_begin_with_the_weights_of_an_adapter(folder, trained, tmp_path):
    begun = trained[0]
    still = replace(SHORT, learning_rate=0.0, settling=0.0, steps=1)
    record = train(folder, tmp_path / "same", still, start=begun)
    assert record["start"] == sha256_of(begun / WEIGHTS)
    assert [entry["step"] for entry in record["validations"]] == [0, 1], "it is a candidate itself"
    assert (tmp_path / "same" / WEIGHTS).read_bytes() == (begun / WEIGHTS).read_bytes(), "at rate 0 it stays as it was"
    with pytest.raises(InputError, match="begun with another start; choose another --out"):
        train(folder, tmp_path / "same", still)
    with pytest.raises(InputError, match="cannot be gone on from and written to at once"):
        train(folder, begun, start=begun)


def test_where_nothing_is_better_the_beginning_is_kept(folder, trained, tmp_path, monkeypatch):
    found = iter([0.5, 0.1, 0.2])
    rights = {"exact": 0.0, "refused_answerable": 0.0, "refused_unanswerable": 0.0}
    monkeypatch.setattr("rag.finetuning.validate", lambda *_: rights | {"right": next(found)})
    train(folder, tmp_path, replace(SHORT, steps=2, validations=2), start=trained[0])
    assert (tmp_path / WEIGHTS).read_bytes() == (trained[0] / WEIGHTS).read_bytes()


def test_what_began_with_an_adapter_and_was_cut_off_ends_as_if_it_had_not_been(folder, trained, tmp_path):
    def cut(done, total, figures):
        if done == 27:  # two steps after its state was written
            raise CutOffError

    train(folder, tmp_path / "whole", start=trained[0])
    with pytest.raises(CutOffError):
        train(folder, tmp_path / "cut", start=trained[0], on_progress=cut)
    train(folder, tmp_path / "cut", start=trained[0])
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("model", "training", "which"), [("llama", replace(SHORT, rank=3), "rank"), ("qwen", SHORT, "model")]
)
def test_an_adapter_of_another_kind_is_not_begun_with(tiny_folder, trained, tmp_path, model, training, which):
    with pytest.raises(ModelError, match=f"has another {which} than this training; give its own, or no start"):
        train(tiny_folder(model), tmp_path / "out", training, start=trained[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content"), [(WEIGHTS, b"x"), (CONFIG, b"{}"), (CONFIG, b'{"r": Infinity}'), (RECORD, b"{}")]
)
def test_a_damaged_adapter_is_not_begun_with(folder, trained, tmp_path, file, content):
    shutil.copytree(trained[0], tmp_path / "damaged")
    (tmp_path / "damaged" / file).write_bytes(content)
    with pytest.raises(ModelError, match=r"is damaged; make it or install it again|is no adapter of `rag finetune`"):
        train(folder, tmp_path / "out", start=tmp_path / "damaged")
    assert not (tmp_path / "out").exists()


def test_matrices_that_do_not_fit_are_not_loaded_in_part(folder, trained, tmp_path):
    trainer = Trainer(folder, "cpu", SHORT)
    matrices = safetensors.torch.load_file(trained[0] / WEIGHTS)
    first, *others = matrices
    for changed in (
        {name: matrices[name] for name in others},
        {**matrices, "base_model.model.model.layers.9.mlp.up_proj.lora_A.weight": torch.zeros(2, 16)},
        {**matrices, first: torch.zeros(3, 3)},
    ):
        safetensors.torch.save_file(changed, tmp_path / WEIGHTS)
        with pytest.raises(ModelError, match="do not fit the model; make the adapter again"):
            trainer.load(tmp_path / WEIGHTS)
