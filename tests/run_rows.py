"""Runs written by hand: rows as `rag eval answers` saves them."""

import json

ANSWERED = {
    "error": None,
    "abstained": None,
    "finish_reason": "end_token",
    "token_ids": [1, 2],
    "logprobs": [-0.25, -0.75],
    "logprob": -1.0,
    "passages": [{"rank": 1, "source": "/boats.txt", "place": "page 2", "id": 7}],
    "timings": {"retrieval": 0.1, "first_token": 0.2, "total": 0.5},
}


def row(number, f1=1.0, **more):
    """A question that was answered, right unless `f1` says otherwise; None for a question that has no answer."""
    asked = {"id": f"q{number}", "question": f"Question {number}?", "answers": ["oak"] if f1 is not None else []}
    scores = {"f1": f1, "exact_match": None if f1 is None else float(f1 == 1)}
    return asked | ANSWERED | scores | {"answerable": f1 is not None, "answer": "oak" if f1 else "elm"} | more


def failed(number):
    """A question whose answer failed."""
    asked = {"id": f"q{number}", "question": f"Question {number}?", "answers": ["oak"], "answerable": True}
    return asked | {"error": "It failed."}


def save(folder, rows, **manifest):
    """The folder of a run."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(
        json.dumps({"data": {"name": "d.jsonl"}, "language_model": "tiny"} | manifest)
    )
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
