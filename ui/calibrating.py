"""`rag eval calibrate`: a confidence fitted to a model's answers. Heavy modules are imported where they are used."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.settings import Settings
from ui.commands import print_device, sampling_params
from ui.evaluating import bring_collection
from ui.output import Options, counted, out, print_json, status

if TYPE_CHECKING:
    from rag.assistant import Assistant
    from rag.evaluation.datasets import QuestionSet


def calibrate(settings: Settings, options: Options) -> int:
    """`rag eval calibrate DATA`: ask, label, fit; 3 where some questions failed."""
    from rag.assistant import calibrated_for
    from rag.evaluation import calibration, labelling

    params = sampling_params(settings, (), default_seed=0)
    with _asking(settings, options) as (assistant, data), counted(options) as advance:
        made_for = calibrated_for(settings, assistant.template)
        described = {
            "name": data.name,
            "sha256": data.sha256,
            "limit": options.limit,
            "answered": options.answered,
            "passages": settings.passages,
        }
        own = settings.sources["collection"] != "flag"
        asked = labelling.to_ask(data, options.limit, own, options.answered)
        rows = labelling.label_all(
            assistant,
            asked,
            settings.passages,
            params,
            {"made_for": made_for, "data": described, "params": asdict(params), **_searched(settings)},
            options.rows,
            lambda done, total: advance(done, total, "questions"),
        )
    with status(options, "fitting"):
        record = calibration.calibrate(rows, made_for, described, options.risks)
    for file in filter(None, (options.out, options.page)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.page:
        from ui.price import page

        options.page.write_text(page(record), encoding="utf-8")
    if options.json:
        print_json(record)
    else:
        show(record)
    return 3 if record["figures"]["errors"] else 0


def show(record: dict[str, Any]) -> None:
    """Print the figures of a fitted confidence beside its baselines, and what its thresholds do."""
    figures = record["figures"]
    table = figures["cross_validated"]
    out.print(f"{'cross-validated':18}" + "".join(f"{name:>24}" for name in table))
    for name in table["confidence"]:
        out.print(f"{name:18}" + "".join(f"{_cell(of[name]):>24}" for of in table.values()), markup=False)
    out.print(
        f"over {record['answers']} answers, {figures['right']} of them right, to {figures['questions']} questions of "
        f"{record['data']['name']}; the model itself would decline {figures['refused']}, {figures['errors']} errors",
        markup=False,
    )
    if own := figures["not_refused"]:
        out.print(f"where it did not: auroc {_cell(own['auroc'])}, ece {_cell(own['ece'])}")
    for step, (low, high) in _bounds(record["thresholds"]).items():
        count = figures["steps"][step]
        out.print(f"{step:8} confidence {low:.2f} to {high:.2f}: {count['answers']} answers, {count['right']} right")
    kept = figures["keeping_80"]
    out.print(
        f"keeping 80 in 100 right answers (confidence {kept['threshold']:.2f} and more), declined of the questions"
    )
    for kind, found in kept["declined"].items():
        if found:
            low, high = found["interval"]
            out.print(f"{kind:12} {found['share']:.3f}   95 % interval {low:.3f} to {high:.3f}, {found['questions']}")


def _bounds(thresholds: dict[str, float]) -> dict[str, tuple[float, float]]:
    low, high = thresholds["decline_below"], thresholds["answer_from"]
    return {"answer": (high, 1.0), "warn": (low, high), "decline": (0.0, low)}


def _cell(value: list[float | None]) -> str:
    found, low, high = value
    if found is None or low is None or high is None:
        return "-"
    return f"{found:.3f} ({low:.3f}-{high:.3f})"


@contextmanager
def _asking(settings: Settings, options: Options) -> "Iterator[tuple[Assistant, QuestionSet]]":
    """Who answers and what is asked. Passages are found in the set's own, unless it has none or --collection is given.

    The confidence that the settings name is not used.
    """
    from rag.assistant import Assistant, load_assistant, load_language_model, load_template, model_name, reads_each
    from rag.evaluation.datasets import read_questions
    from rag.evaluation.labelling import own_passages

    settings = replace(settings, confidence="none")
    data = read_questions(options.data)
    own = {} if settings.sources["collection"] == "flag" else own_passages(data)
    with tempfile.TemporaryDirectory() as folder:
        with status(options, "loading the models"):
            if own:
                generator = load_language_model(settings)
                template = load_template(settings, generator)
                name, each = model_name(settings), reads_each(settings)
                assistant = Assistant(None, None, generator, name, template, read_each=each)
            else:
                assistant = load_assistant(settings)
        if own:
            bring_collection(settings, options, assistant, own, Path(folder))
        if not options.quiet:
            print_device(settings, assistant)
        try:
            yield assistant, data
        finally:
            if assistant.index:
                assistant.index.close()


def _searched(settings: Settings) -> dict[str, object]:
    own = settings.sources["collection"] != "flag"
    return {"collection": None if own else settings.collection, "rerank": settings.rerank, "join": settings.join}
