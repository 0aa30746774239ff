"""A run's folder: who may write to it, what it is continued with, and what a kill or Ctrl-C leaves."""

import json
import os
import shutil
import signal
import threading
from dataclasses import replace

import pytest
from filelock import FileLock

from rag.confidence import Calibration, Logistic
from rag.errors import InputError, LockedError
from rag.evaluation.datasets import read_questions
from rag.evaluation.run import run_answers, weights_of
from rag.evaluation.saved import read_rows
from rag.models import MANIFEST, sha256_of
from rag.schema import SamplingParams
from tests.test_evaluation import PARAMS, lines


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(json.dumps({"id": n, "question": f"Does it float? {n}"}) for n in range(3)))
    return file


def test_a_run_is_not_mixed_with_another(assistant, data, tmp_path):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    with pytest.raises(InputError, match="another params"):
        run_answers(assistant, read_questions(data), tmp_path / "run", SamplingParams(max_new_tokens=5), 2)
    data.write_text(data.read_text() + "\n")
    with pytest.raises(InputError, match="another data"):
        run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_a_run_is_not_continued_on_other_documents(assistant, data, tmp_path, put):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    put(assistant.index, ["boats sink"], prefix="later")
    with assistant.index.writing():
        assistant.index.catalog.remove_sources(["/doc0.txt"])  # as many passages as before
    with pytest.raises(InputError, match="another collection"):
        run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_one_process_writes_to_a_run(assistant, data, tmp_path):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    with FileLock(tmp_path / "run" / "writer.lock"), pytest.raises(LockedError, match="Another process"):
        run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_the_manifest_is_json_whatever_the_settings(assistant, data, tmp_path):
    params = replace(PARAMS, logit_bias=((5, float("-inf")),))

    def no_number(name):
        raise AssertionError(name)

    for _ in range(2):
        run_answers(assistant, read_questions(data), tmp_path / "run", params, 2)
    text = (tmp_path / "run" / "manifest.json").read_text()
    assert json.loads(text, parse_constant=no_number)["params"]["logit_bias"] == [[5, None]]
    with pytest.raises(InputError, match=r"another params.logit_bias;"):
        run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_a_last_line_cut_inside_a_character_is_written_again(assistant, tmp_path):
    data = lines(tmp_path / "q.jsonl", *({"id": n, "question": f"Wo ist die Tür {n}, 舟?"} for n in range(3)))
    run_answers(assistant, data, tmp_path / "run", PARAMS, 2)
    file = tmp_path / "run" / "answers.jsonl"
    content = file.read_bytes()
    for end in (0, content.index("ü".encode()) + 1, content.rindex("舟".encode()) + 2, len(content) - 1):
        file.write_bytes(content[:end])
        assert run_answers(assistant, data, tmp_path / "run", PARAMS, 2)["questions"] == 3
        assert [row["token_ids"] for row in read_rows(file)] == [
            json.loads(line)["token_ids"] for line in content.splitlines()
        ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
@pytest.mark.parametrize(("out", "said"), [([], "rag: interrupted.\n"), (["--out", "RUN"], "is kept in RUN.\n")])
def test_ctrl_c_claims_only_what_is_kept(rag, tmp_path, monkeypatch, out, said):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")  # the command waits here for its questions
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    code, _, err = rag("eval", "answers", "pipe", *out)
    timer.join()
    assert code == 130
    assert err.endswith(said)


def test_a_line_that_nothing_can_be_made_of_is_said(assistant, data, tmp_path):
    run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)
    for line, says in (("{", "line 1 is no JSON"), ("[]", "line 1 is no JSON"), ("{}", "line 1 has no usable id")):
        (tmp_path / "run" / "answers.jsonl").write_text(f"{line}\n")
        with pytest.raises(InputError, match=says):
            run_answers(assistant, read_questions(data), tmp_path / "run", PARAMS, 2)


def test_weights_have_a_fingerprint(tiny_folder, bundled_folder, tmp_path):
    assert weights_of(tiny_folder("llama")) != weights_of(tiny_folder("qwen"))
    assert weights_of(bundled_folder) == sha256_of(bundled_folder / MANIFEST)
    copy = shutil.copytree(tiny_folder("llama"), tmp_path / "copy")
    assert weights_of(copy) == weights_of(tiny_folder("llama"))
    (copy / "tokenizer_config.json").write_text("{}")  # its chat template is part of a prompt
    assert weights_of(copy) != weights_of(tiny_folder("llama"))


def test_a_run_declines_as_the_program_does(assistant, data, tmp_path):
    rows, greedy = {}, replace(PARAMS, temperature=0)
    for name, z in (("sure", 3.0), ("unsure", -3.0)):
        model = Logistic(z, {"margin": (0.0, 1.0, 0.5)})
        assistant.calibration = Calibration(model, 0.8, 0.3, {}, "9 answers to x")
        result = run_answers(assistant, read_questions(data), tmp_path / name, greedy, 2, batch=2)
        assert result["metrics"]["refused_answerable"] == (name == "unsure")
        rows[name] = read_rows(tmp_path / name / "answers.jsonl")
        given = {
            answer.prompt.question: answer for answer in (assistant.ask(r["question"], greedy) for r in rows[name])
        }
        for row in rows[name]:
            answer = given[row["question"]]
            assert row["confidence"] == pytest.approx(answer.confidence, abs=1e-3)
            assert (row["abstained"], row["answer"]) == (answer.abstained, answer.text)
    assert [row["answer"] for row in rows["sure"]] == [row["answer"] for row in rows["unsure"]]
    with pytest.raises(InputError, match="another confidence"):
        run_answers(assistant, read_questions(data), tmp_path / "sure", greedy, 2)
