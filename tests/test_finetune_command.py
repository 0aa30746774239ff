"""`rag finetune`: what it makes, what `rag ask` makes of that, and what it says to rows it cannot learn from."""

import json

import pytest

from rag.adapter import RECORD
from rag.models import sha256_of


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"question": f"Whose is boat {n}?", "passage": f"Boat {n} is Ann{n}'s.", "answers": [f"Ann{n}"]}
        for n in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_rag_finetune_makes_an_adapter_that_rag_ask_uses(rag, data, tmp_path):
    out = tmp_path / "adapter"
    command = ["finetune", data, "--out", out, "--language-model", "TINY", "--rank", "2", "--quiet"]
    code, printed, _ = rag(*command, "--steps", "2", "--json")
    said = json.loads(printed)
    assert (code, said["adapter"], [entry["step"] for entry in said["validations"]]) == (0, str(out), [1, 2])
    assert said["best"] == said["validations"][-1], "of equals the last is kept"
    code, printed, _ = rag(*command, "--steps", "3", "--json")
    assert [entry["step"] for entry in json.loads(printed)["validations"]] == [1, 2, 3]
    record = json.loads((out / RECORD).read_text())
    assert (record["template"], record["data"]) == ("chat", {"learnt": {"rows.jsonl": sha256_of(data)}, "held out": {}})
    code, printed, _ = rag(*command, "--steps", "3")
    assert (code, f"--adapter {out}" in printed, "refused_unanswerable" in printed) == (0, True, True)
    asked = [
        "ask",
        "Whose?",
        "--language-model",
        "TINY",
        "--adapter",
        out,
        "--max-new-tokens",
        "2",
        "--json",
        "--quiet",
    ]
    code, printed, _ = rag(*asked)
    assert (code, json.loads(printed)["language_model"].endswith(" + adapter")) == (0, True)
    code, _, err = rag(*command, "--steps", "3", "--seed", "5")
    assert (code, "begun with another settings" in err) == (2, True)


def test_rag_finetune_goes_on_from_an_adapter_with_rows_of_several_files(rag, data, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    command = ["finetune", "--language-model", "TINY", "--steps", "1", "--quiet"]
    assert rag(*command, data, "--out", first, "--rank", "2")[0] == 0
    lines = data.read_text().splitlines()
    few = [tmp_path / "few.jsonl", tmp_path / "fewer.jsonl"]
    for path, rows in zip(few, (lines[:4], lines[4:8]), strict=True):
        path.write_text("\n".join(rows))
    code, _, err = rag(*command, few[0], "--out", second, "--start", first)
    assert (code, "too few to hold some out" in err) == (2, True)
    code, _, _ = rag(*command, *few, "--out", second, "--start", first)
    record = json.loads((second / RECORD).read_text())
    assert (code, record["settings"]["rank"], set(record["data"]["learnt"])) == (0, 2, {"few.jsonl", "fewer.jsonl"})
    assert record["start"] == json.loads((first / RECORD).read_text())["weights_sha256"]
    assert rag(*command, *few[::-1], "--out", second, "--start", first)[0] == 0, "the order of files says nothing"
    code, _, err = rag(*command, few[0], "--dev", few[1], "--out", second, "--start", first)
    assert (code, "begun with another data" in err) == (2, True)
    code, _, err = rag(*command, data, "--out", third, "--start", "auto")
    assert (code, "has another model than this training" in err) == (4, True)
    code, _, err = rag(*command, data, "--out", third, "--start", tmp_path / "none")
    assert (code, "is no adapter of `rag finetune`" in err, err.count("\n")) == (4, True, 1)
    code, _, err = rag(*command, data, data, "--out", third)
    assert (code, "the same name" in err) == (2, True)
    assert not third.exists()


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ('{"question": "Who?"}', 2, "line 1"),
        ("", 2, "holds no row"),
        (None, 2, "cannot be read"),
        ('{"question": "Who?", "passage": "Ann.", "answers": ["Ann"]}', 2, "give others with --dev"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_one_sentence_and_an_exit_code(rag, tmp_path, content, code, says):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    got, _, err = rag("finetune", path, "--out", tmp_path / "adapter", "--language-model", "TINY", "--quiet")
    assert (got, says in err, err.count("\n")) == (code, True, 1)
    assert not (tmp_path / "adapter").exists()


def test_a_place_that_cannot_be_written_to_is_one_sentence(rag, data):
    command = ["finetune", data, "--out", "/dev/null", "--language-model", "TINY", "--steps", "1", "--quiet"]
    code, _, err = rag(*command)
    assert (code, "/dev/null cannot be used" in err) == (1, True)
