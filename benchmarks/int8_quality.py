"""Does the int8 language model answer as well? The same questions in both precisions, and the paired difference in F1.

    python -m benchmarks.int8_quality ROWS.jsonl --out FOLDER [--questions 1000]

ROWS are `{question, answers, answerable, context}`, a JSON object a line; the answerable ones are asked with their own
passage, greedily, by the default template. Answers are kept in FOLDER as they come, so a run can go on later.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from rag.evaluation.metrics import exact_match, f1
from rag.generation import LocalGenerator
from rag.language_model import LanguageModel, convert_gguf
from rag.models import resolve_language_model
from rag.prompting import build_prompt
from rag.schema import Passage, RetrievedPassage, SamplingParams
from rag.settings import default_home
from rag.templates import choose_template

BATCH = 8
TEMPLATE = choose_template("examples", None, False)


def answers(generator, rows, file, n):
    """Answer the first n rows that the file has no line for yet; all lines."""
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    model = generator.model
    params = SamplingParams(max_new_tokens=32, stop=TEMPLATE.stops, alternatives=0)
    with file.open("a", encoding="utf-8") as out:
        for start in range(len(done), min(n, len(rows)), BATCH):
            block = rows[start : start + BATCH]
            prompts = [prompt(row, model) for row in block]
            texts = [""] * len(block)
            for number, step in generator.batch(prompts, [params] * len(block)):
                texts[number] += step.text
            for row, text in zip(block, texts, strict=True):
                line = {
                    "f1": f1(text, tuple(row["answers"])),
                    "em": exact_match(text, tuple(row["answers"])),
                    "text": text,
                }
                done.append(line)
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
            out.flush()
    return done


def prompt(row, model):
    passage = Passage(0, "d", "/d.txt", "", row["context"], 0, len(row["context"]), "page", None, None, ())
    retrieved = [RetrievedPassage(passage, 1, 1.0, None, None)]
    return build_prompt(TEMPLATE, row["question"], retrieved, model.encode, model.context_window - 32).token_ids


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--only", choices=["float32", "int8"], help="answer in this precision and compare nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["answerable"]]
    folder = resolve_language_model("embedded", default_home() / "models", convert_gguf)
    results = {}
    for precision in [options.only] if options.only else ["float32", "int8"]:
        generator = LocalGenerator(LanguageModel(folder, "cpu", precision))
        results[precision] = answers(generator, rows, options.out / f"{precision}.jsonl", options.questions)
        means = {key: np.mean([row[key] for row in results[precision]]) for key in ("f1", "em")}
        print(
            f"{precision}: {len(results[precision])} questions, F1 {means['f1']:.4f}, EM {means['em']:.4f}", flush=True
        )
    if options.only:
        return
    one, other = (np.array([row["f1"] for row in results[precision]]) for precision in ("float32", "int8"))
    difference = other - one
    samples = np.random.default_rng(0).integers(0, len(one), (10_000, len(one)))
    low, high = np.percentile(difference[samples].mean(axis=1), [2.5, 97.5])
    same = np.mean([a["text"] == b["text"] for a, b in zip(*results.values(), strict=True)])
    print(f"F1 int8 - float32: {difference.mean():+.4f} (95 % {low:+.4f} to {high:+.4f}), same answer {same:.3f}")


if __name__ == "__main__":
    main()
