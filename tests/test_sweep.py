"""A sweep over temperatures: what its figures are, that it can be cut off, and that it asks no passage twice."""

import json

import pytest

from rag.assistant import Assistant
from rag.evaluation.datasets import read_questions
from rag.evaluation.run import run_answers
from rag.evaluation.saved import read_rows
from rag.evaluation.sweep import by_temperature, run_sweep
from rag.generation import LocalGenerator
from rag.schema import SamplingParams
from tests.conftest import HashingEmbedder

PARAMS = [SamplingParams(max_new_tokens=3, temperature=t, seed=0) for t in (0, 2.0)]


class Counted(HashingEmbedder):
    """Counts the questions that it embeds."""

    asked = 0

    def embed_question(self, question):
        self.asked += 1
        return super().embed_question(question)


@pytest.fixture
def assistant(index, put, tiny):
    put(index, ["boats float", "oars row"])
    return Assistant(index, Counted(), LocalGenerator(tiny()), "tiny", "plain")


@pytest.fixture
def data(tmp_path):
    rows = [{"id": n, "question": f"Does it float? {n}", "answers": ["yes"]} for n in range(3)]
    (tmp_path / "q.jsonl").write_text("\n".join([*map(json.dumps, rows), "{"]))
    return read_questions(tmp_path / "q.jsonl")


def samples(run):
    return {
        (row["id"], row["temperature"], row["sample"]): row.get("token_ids") for row in read_rows(run / "samples.jsonl")
    }


def test_each_question_is_answered_at_each_temperature_from_passages_found_once(assistant, data, tmp_path):
    result = run_sweep(assistant, data, tmp_path / "run", PARAMS, 4, 2)
    found = samples(tmp_path / "run")
    assert {key for key in found if key[0] == "0"} == {("0", 0, 0), *(("0", 2, n) for n in range(4))}
    assert len({str(found["0", 2, n]) for n in range(4)}) > 1  # their seeds differ
    assert assistant.embedder.asked == 3
    assert (result["questions"], result["errors"], result["samples"]) == (4, 5, 4)
    cold, hot = result["temperatures"]
    assert (cold["metrics"]["distinct"], cold["metrics"]["agreement"], cold["questions"]) == (1, 1, 3)
    assert hot["metrics"]["distinct"] > 1
    run_answers(assistant, data, tmp_path / "single", PARAMS[1], 2)
    assert {row["id"]: row.get("token_ids") for row in read_rows(tmp_path / "single" / "answers.jsonl")} == {
        name: ids for (name, temperature, n), ids in found.items() if (temperature, n) == (2, 0)
    }


def test_a_sweep_goes_on_where_it_stopped(assistant, data, tmp_path):
    whole = run_sweep(assistant, data, tmp_path / "run", PARAMS, 3, 2)
    file = tmp_path / "run" / "samples.jsonl"
    before, content = samples(tmp_path / "run"), file.read_text().splitlines()
    file.write_text("\n".join(content[:5]) + "\n" + content[5][:20])
    assert run_sweep(assistant, data, tmp_path / "run", PARAMS, 3, 2) == whole
    assert samples(tmp_path / "run") == before


def test_what_is_no_temperature_is_said(rag, tmp_path):
    code, _, err = rag("eval", "sweep", tmp_path / "q.jsonl", "--temperature", "0,warm")
    assert code == 2
    assert "'0,warm' is no list of numbers such as 0,0.7" in err


def test_figures_by_hand():
    def rows(name, *answers, accepted=("Paris",)):
        for n, answer in enumerate(answers):
            exact = None if not accepted else float(answer.lower() == accepted[0].lower())
            yield {"id": name, "sample": n, "answer": answer, "answers": accepted, "exact_match": exact, "f1": exact}

    made = [
        *rows("right", "paris!", "Paris", "Rome", "the Paris"),  # three of four agree, and are right
        *rows("wrong", "Rome", "Paris", "Paris", "Rome"),  # as many as for the other: the earlier one
        *rows("unknown", "x", "y", accepted=()),
    ]
    made = [row | {"error": None, "temperature": 0.7} for row in made]
    made += [{"id": "right", "sample": 4, "error": "failed", "temperature": 0.7}, made[0] | {"temperature": 0.1}]
    result = by_temperature(list(reversed(made)), 0.7)
    assert result["questions"] == 3
    assert result["metrics"] == {
        "exact_match": pytest.approx((1 / 4 + 2 / 4) / 2),  # as the rows say
        "f1": pytest.approx((1 / 4 + 2 / 4) / 2),
        "majority_exact_match": 0.5,
        "distinct": pytest.approx((2 + 2 + 2) / 3),
        "agreement": pytest.approx((3 / 4 + 2 / 4 + 1 / 2) / 3),
    }
    assert result["intervals"]["majority_exact_match"] == [0, 1]
