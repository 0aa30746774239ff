"""How good a fitted confidence is on other questions, beside what it has to beat.

    python -m benchmarks.confidence FITTED.json DATA... [--rows FOLDER] [--limit N]

FITTED.json is what `rag eval calibrate --out` wrote for the settings' model, template and embedder; DATA are question
sets of the same kinds. Passages are retrieved from each set's own. `--rows` keeps the answers, a file a set: a second
call goes on where the first one stopped. `--limit` asks a sample, always the same. Device, precision and the rest are
those of the settings, such as RAG_DEVICE.
"""

import argparse
import json
import tempfile
from pathlib import Path

from rag.assistant import (
    Assistant,
    calibrated_for,
    load_embedder,
    load_language_model,
    load_template,
    model_name,
    reads_each,
)
from rag.evaluation.calibration import measure
from rag.evaluation.collection import make_collection
from rag.evaluation.datasets import read_questions
from rag.evaluation.labelling import label_all, own_passages, to_ask
from rag.models import embedder_identity, resolve_embedder
from rag.schema import SamplingParams
from rag.settings import load_settings

NAMES = {
    "ece": "debiased ECE",
    "rms_error": "root of the debiased squared error",
    "brier": "Brier",
    "auroc": "AUROC",
    "aurc": "AURC",
    "accuracy_at_50": "accuracy at 50 % coverage",
    "accuracy_at_80": "at 80 %",
    "accuracy_at_90": "at 90 %",
}


def cell(value: list) -> str:
    found, low, high = value
    return "" if found is None else f"{found:.3f} ({low:.3f} to {high:.3f})"


def show(name: str, result: dict) -> None:
    figures = result["figures"]
    table = figures["measured"]
    print(f"\n{name}: {result['answers']} answers, {figures['right']} right, to {figures['questions']} questions, ")
    print(f"{figures['refused']} that the model itself would have declined, {figures['errors']} errors\n")
    print(f"| figure (95 % interval) | {' | '.join(table)} |\n|{'---|' * (len(table) + 1)}")
    for figure, label in NAMES.items():
        print(f"| {label} | {' | '.join(cell(of[figure]) for of in table.values())} |")
    if own := figures["not_refused"]:
        print(f"\nwhere the model did not decline: AUROC {cell(own['auroc'])}, debiased ECE {cell(own['ece'])}")
    for heading, where in (("keeping 80 % of its right answers", "keeping_80"), ("at the stored threshold", None)):
        found = figures[where]["declined"] if where else figures["declined"]
        shares = (
            f"{k} {v['share']:.3f} ({v['interval'][0]:.3f} to {v['interval'][1]:.3f})" for k, v in found.items() if v
        )
        print(f"\ndeclined, {heading}: {', '.join(shares)}")
    print(f"steps: {figures['steps']}\nreasons: {figures['reasons']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fitted", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--rows", type=Path, help="a folder that keeps the answers")
    parser.add_argument("--limit", type=int, help="so many questions of each set")
    options = parser.parse_args()

    settings = load_settings()
    record = json.loads(options.fitted.read_text(encoding="utf-8"))
    embedder, generator = load_embedder(settings), load_language_model(settings)
    template = load_template(settings, generator)
    made_for = calibrated_for(settings, template)
    if made_for != record["made_for"]:
        parser.error(f"{options.fitted} was fitted for {record['made_for']}, but {made_for} answers here")
    print(f"{model_name(settings)} on {generator.model.device}, fitted on {record['data']['name']}")
    folder = resolve_embedder(settings.embedder, settings.models_dir)
    identity = embedder_identity(settings.embedder, folder, settings.embedder_precision)
    params = SamplingParams(max_new_tokens=settings.max_new_tokens, seed=0)
    for path in options.data:
        data = read_questions(path)
        with tempfile.TemporaryDirectory() as place:
            index = make_collection(Path(place) / "own", own_passages(data), embedder, identity=identity)
            assistant = Assistant(
                index, embedder, generator, model_name(settings), template, read_each=reads_each(settings)
            )
            rows = label_all(
                assistant,
                to_ask(data, options.limit),
                settings.passages,
                params,
                {"made_for": made_for, "data": data.sha256, "passages": settings.passages, "limit": options.limit},
                options.rows and options.rows / f"{path.stem}.rows.jsonl",
            )
            index.close()
        show(path.name, measure(record, rows))
        if rest := [row for row in rows if row["kind"] == "withheld"]:
            own = measure(record, [row for row in rows if row not in rest])["figures"]["measured"]["confidence"]
            print(f"without the {len(rest)} withheld ones: AUROC {cell(own['auroc'])}, debiased ECE {cell(own['ece'])}")


if __name__ == "__main__":
    main()
