"""An adapter's folder, its merging into a model, and which settings it serves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from rag.adapter import BUNDLED, CONFIG, RECORD, WEIGHTS, check, merged, read_record, weights_identity
from rag.assistant import (
    CONFIDENCES,
    language_model_folder,
    load_calibration,
    load_language_model,
    load_reranker,
    load_template,
    model_name,
    reading_adapter,
)
from rag.confidence import FEATURES
from rag.errors import ModelError
from rag.finetuning import STATE, Training, finetune
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel
from rag.models import prepared, sha256_of, verify
from rag.settings import Settings
from rag.templates import TEMPLATES, choose_template
from rag.tokenizer import Tokenizer
from rag.training_data import Packs, Row
from tests.conftest import HashingEmbedder

ROWS = [Row(f"Whose is boat {n}?", f"Boat {n} is Ann{n}'s.", (f"Ann{n}",)) for n in range(4)]
STRONG = Training(steps=3, packs=1, rank=4, learning_rate=0.05, warmup=1, average=0.5, validations=1)


@pytest.fixture(scope="module")
def base(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture(scope="module")
def made(base, tmp_path_factory):
    """An adapter for the tiny model, in plain form."""
    out = tmp_path_factory.mktemp("adapters") / "boats"
    packs = Packs(ROWS, HashingEmbedder().embed_passages, 0)
    finetune(base, "cpu", choose_template("plain", None), packs, ROWS[:1], out, STRONG, {"rows": "0"})
    (out / STATE).unlink()  # of no use afterwards
    return out


@pytest.fixture
def adapter(made, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "boats"))


def read(model, ids=(1, 2, 3, 4, 5)):
    return model.read([list(ids)], model.new_cache(), keep=len(ids))[0]


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


# merging


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_a_merged_model_computes_what_the_adapter_beside_the_model_does(base, made, tmp_path):
    before = contents(base)
    model = LanguageModel(merged(base, made, tmp_path), "cpu")
    unmerged = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), made)
    with torch.no_grad():
        expected = unmerged(torch.tensor([[1, 2, 3, 4, 5]])).logits[0]
    torch.testing.assert_close(read(model), expected, atol=1e-4, rtol=0)
    assert (read(model) - read(LanguageModel(base, "cpu"))).abs().max() > 0.01
    assert contents(base) == before, "the base is as it was"


def test_tokenizer_chat_format_and_ends_come_along(base, made, tmp_path):
    one, other = Tokenizer(base), Tokenizer(merged(base, made, tmp_path))
    text = "<|start|>Whose is the boat — 谁？<|end|>"
    for trusted in (True, False):
        assert one.encode(text, trusted) == other.encode(text, trusted)
    assert one.chat_frame() == other.chat_frame()
    assert one.chat_frame() is not None
    assert (one.end_tokens, one.context_window) == (other.end_tokens, other.context_window)


def test_a_merged_model_is_made_once_and_can_be_verified(base, made, tmp_path):
    folder = merged(base, made, tmp_path)
    assert prepared(tmp_path) == [folder]
    assert verify(folder) == []
    before = contents(folder)
    assert merged(base, made, tmp_path) == folder
    assert contents(folder) == before


def test_another_adapter_or_another_copy_of_the_model_gets_a_folder_of_its_own(base, made, adapter, tmp_path):
    folder = merged(base, made, tmp_path / "models")
    copy = shutil.copytree(base, tmp_path / base.name)
    assert merged(Path(copy), made, tmp_path / "models") != folder
    record = read_record(adapter)
    (adapter / RECORD).write_text(json.dumps(record | {"weights_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="is damaged"):  # looked at afresh, since it is another
        merged(base, adapter, tmp_path / "models")


def test_a_model_that_is_reached_by_a_link_is_not_merged_again(base, made, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "linked").symlink_to(base.parent)
    first = merged(base, made, tmp_path / "models")
    assert merged(tmp_path / "linked" / base.name, made, tmp_path / "models") == first
    assert len(prepared(tmp_path / "models")) == 1


def test_a_model_is_known_by_its_tensors_in_however_many_files_they_lie(tmp_path):
    def identity(*files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for n, (tensors, header) in enumerate(files):
            save_file(tensors, folder / f"{n}.safetensors", header)
        return weights_identity(folder)

    one, other = {"a": torch.ones(3)}, {"b": torch.zeros(2, 2)}
    together = identity((one | other, {"format": "pt"}))
    assert together == identity((one, None), (other, {"written": "by another version"}))
    assert len({together, identity((one, None)), identity((one | {"b": torch.zeros(4)}, None))}) == 3


@pytest.mark.parametrize("content", [b"", b"a", b"\xff" * 100, (2).to_bytes(8, "little") + b"[]"])
def test_damaged_weights_are_one_sentence(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="get the model again"):
        weights_identity(tmp_path)


# what is refused


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a: damage(a / WEIGHTS), "is damaged; make it or install it again"),
        (lambda a: (a / WEIGHTS).unlink(), "is damaged; make it or install it again"),
        (lambda a: (a / RECORD).unlink(), "is no adapter of `rag finetune`"),
        (lambda a: (a / RECORD).write_text("{"), "is no adapter of `rag finetune`"),
        (lambda a: (a / RECORD).write_text("[]"), "is no adapter of `rag finetune`"),
        (lambda a: (a / RECORD).write_text('{"template": "plain"}'), "is no adapter of `rag finetune`"),
        (lambda a: (a / RECORD).write_bytes(b"\xff"), "is no adapter of `rag finetune`"),
        (
            lambda a: (a / RECORD).write_text('{"template": 1, "weights_sha256": 2, "base_sha256": 3}'),
            "The record of the adapter in .* is damaged",
        ),
        (shutil.rmtree, "is no adapter of `rag finetune`"),
        (lambda a: (a / CONFIG).unlink(), "does not fit llama"),
        (lambda a: (a / CONFIG).write_text("{"), "does not fit llama"),
        (lambda a: (a / CONFIG).write_text("{}"), "does not fit llama"),
        (lambda a: (a / CONFIG).write_text('{"peft_type": "POEM"}'), "does not fit llama"),
        (lambda a: (a / CONFIG).write_bytes(b"\xff"), "does not fit llama"),
        (
            lambda a: (a / CONFIG).write_text((a / CONFIG).read_text().replace('"r": 4', '"r": 5')),
            "does not fit llama",
        ),
    ],
)
def test_a_damaged_adapter_is_one_sentence_and_leaves_no_model(base, adapter, tmp_path, spoil, says):
    spoil(adapter)
    with pytest.raises(ModelError, match=says) as refused:
        merged(base, adapter, tmp_path / "models")
    assert "\n" not in str(refused.value)
    assert prepared(tmp_path / "models") == []


@pytest.mark.parametrize("kind", ["qwen", "gpt2"])
def test_an_adapter_for_another_model_is_refused(tiny_folder, made, tmp_path, kind):
    with pytest.raises(ModelError, match=r"was made for another model than .*; choose none"):
        merged(tiny_folder(kind), made, tmp_path)
    assert prepared(tmp_path) == []


def test_a_model_that_changed_is_another_model(base, made, tmp_path):
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    merged(copy, made, tmp_path / "models")
    damage(copy / "model.safetensors")
    with pytest.raises(ModelError, match="was made for another model"):
        merged(copy, made, tmp_path / "models")


def test_a_model_without_safetensors_is_refused(made, tmp_path):
    with pytest.raises(ModelError, match="holds no safetensors"):
        merged(tmp_path, made, tmp_path / "models")


# which settings it serves


@pytest.fixture
def settings(base, made, tmp_path):
    return Settings(home=tmp_path, language_model=str(base), adapter=str(made), device="cpu")


@pytest.mark.parametrize(
    ("changes", "serves"),
    [
        ({}, True),
        ({"template": "plain"}, True),
        ({"adapter": "none"}, False),
        ({"adapter": "auto"}, False),  # not the bundled model
        ({"template": "examples"}, False),
        ({"template": "cited"}, False),
        ({"template": "plain:chat"}, False),
        ({"examples": 2}, False),
        ({"examples": 0}, False),
        ({"examples_file": Path("worked.jsonl")}, False),
        ({"adapter": "none", "template": "plain"}, False),
    ],
)
def test_an_adapter_serves_its_template_without_worked_examples(settings, base, made, changes, serves):
    changed = replace(settings, **changes)
    assert reading_adapter(changed) == (made if serves else None)
    assert model_name(changed) == (f"{base} + boats" if serves else str(base))
    expected = merged(base, made, changed.models_dir) if serves else base
    assert language_model_folder(changed) == expected


def test_auto_means_the_template_that_the_adapter_was_trained_with(settings, base):
    tuned, came = load_language_model(settings), load_language_model(replace(settings, adapter="none"))
    assert load_template(settings, tuned).name == "plain"
    assert load_template(replace(settings, adapter="none"), came).name == "chat"
    assert not torch.equal(read(tuned.model), read(came.model))
    assert torch.equal(read(came.model), read(LanguageModel(base, "cpu")))


def test_a_reranking_language_model_is_used_as_it_came(settings):
    tuned = load_language_model(settings)
    reranking = replace(settings, rerank="language-model")
    found = ["Boat 1 is Ann1's.", "Tea is hot.", "Boat 2 is red."]
    as_it_came = load_reranker(replace(reranking, adapter="none")).score("Whose is boat 1?", found)
    assert load_reranker(reranking, tuned).score("Whose is boat 1?", found) == as_it_came
    given = load_reranker(replace(reranking, adapter="none"), tuned)
    assert given.score("Whose is boat 1?", found) != as_it_came, "a generator as it came is not loaded again"
    assert load_reranker(settings, tuned) is None


def test_a_folder_that_is_no_adapter_is_one_sentence(settings, tmp_path):
    for name in (str(tmp_path), "/no/such/folder", "reader"):
        with pytest.raises(ModelError, match="name the folder of one"):
            reading_adapter(replace(settings, adapter=name))


# the bundled one


def test_the_bundled_model_has_its_adapter(bundled_folder):
    assert reading_adapter(Settings()) == BUNDLED
    assert reading_adapter(Settings(template="cited")) is None
    assert model_name(Settings()) == "embedded + reader"
    assert sorted(path.name for path in BUNDLED.iterdir()) == sorted(
        [WEIGHTS, CONFIG, RECORD, *CONFIDENCES.values(), "README.md"]
    )
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 15_000_000
    check(BUNDLED)
    record = read_record(BUNDLED)
    assert record["base_sha256"] == weights_identity(bundled_folder)
    assert record["weights_sha256"] == sha256_of(BUNDLED / WEIGHTS)
    assert record["template"] in TEMPLATES
    assert json.loads((BUNDLED / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"] == bundled_folder.name
    for name in (CONFIG, RECORD, *CONFIDENCES.values()):
        assert '"/' not in (BUNDLED / name).read_text(encoding="utf-8"), "no path of a machine"


@pytest.mark.parametrize("read_each", [False, True])
def test_the_bundled_confidence_is_for_what_is_bundled(language_model, read_each):
    generator, settings = LocalGenerator(language_model), Settings(read_each=read_each)
    calibration = load_calibration(settings, load_template(settings, generator))
    assert calibration, "fit it anew (`rag eval calibrate`) after a change of weights, template or embedder"
    of_rereading = {"alone", "alone_second", "reread"}  # unknown where passages are read together
    assert set(calibration.model.terms) == set(FEATURES) - (set() if read_each else of_rereading)
    assert 0 < calibration.decline_below < calibration.answer_from < 1
    for other in (Settings(template="cited"), Settings(adapter="none"), Settings(confidence="none")):
        assert load_calibration(other, load_template(other, generator)) is None
