"""`rag eval`: many questions and how well they are answered. Heavy modules are imported where they are used."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.settings import Settings
from ui.commands import judges, print_device, sampling_params
from ui.output import Options, counted, out, print_json, status
from ui.terminal import printable

if TYPE_CHECKING:
    from rag.assistant import Assistant
    from rag.evaluation.datasets import QuestionSet


def evaluate_retrieval(settings: Settings, options: Options) -> int:
    """`rag eval retrieval DATA`: how well the search finds what is relevant."""
    from rag.evaluation.judged import read_judged
    from rag.evaluation.retrieval import evaluate_retrieval as evaluate

    data = read_judged(options.data, options.limit)
    with status(options, "loading the models"):
        embedder, reranker = judges(settings, options.mode)
    with counted(options) as advance:
        result = evaluate(data, embedder, options.mode, reranker, advance)
    if options.json:
        print_json(result)
        return 0
    for name, value in result["metrics"].items():
        low, high = result["intervals"][name]
        out.print(f"{name:10} {value:.4f}   95 % interval {low:.4f} to {high:.4f}")
    reranked = f", re-ranked by {result['rerank']}" if result["rerank"] else ""
    out.print(
        f"{result['mode']}{reranked}: {result['queries']} queries over {result['passages']} passages, "
        f"{result['milliseconds_per_query']:.1f} ms a query"
    )
    return 0


def evaluate_answers(settings: Settings, options: Options) -> int:
    """`rag eval answers DATA`: metrics over the answers; 3 where some failed."""
    from rag.evaluation.run import run_answers

    params = sampling_params(settings, (), default_seed=0)
    with asking(settings, options) as (assistant, data, identity), folder_of(options) as run, counted(options) as bar:
        result = run_answers(
            assistant,
            data,
            run,
            params,
            settings.passages,
            options.batch,
            identity,
            lambda done, total: bar(done, total, "questions"),
        )
    if options.json:
        print_json(result)
    else:
        show_metrics(result)
        out.print(
            f"over {result['questions']} questions, {result['answerable']} answerable, {_errors(result)}", markup=False
        )
    return 3 if result["errors"] else 0


def evaluate_sweep(settings: Settings, options: Options) -> int:
    """`rag eval sweep DATA`: what the temperature does to the answers; 3 where some failed."""
    from rag.evaluation.sweep import run_sweep

    params = [sampling_params(replace(settings, temperature=t), (), default_seed=0) for t in options.temperatures]
    with asking(settings, options) as (assistant, data, identity), folder_of(options) as run, counted(options) as bar:
        result = run_sweep(
            assistant,
            data,
            run,
            params,
            options.samples,
            settings.passages,
            options.batch,
            identity,
            lambda done, total: bar(done, total, "answers"),
        )
    if options.json:
        print_json(result)
        return 3 if result["errors"] else 0
    for part in result["temperatures"]:
        out.print(f"temperature {part['temperature']:g}")
        show_metrics(part)
    out.print(
        f"over {result['questions']} questions, up to {result['samples']} answers each, {_errors(result)}", markup=False
    )
    return 3 if result["errors"] else 0


@contextmanager
def asking(settings: Settings, options: Options) -> "Iterator[tuple[Assistant, QuestionSet, dict[str, Any]]]":
    """Who answers, what is asked, and what a manifest says of the model; only what the questions need is loaded."""
    from rag.assistant import (
        Assistant,
        load_assistant,
        load_calibration,
        load_language_model,
        load_template,
        model_name,
        reads_each,
    )
    from rag.evaluation.datasets import read_questions
    from rag.template_files import read_own
    from rag.templates import closed_book

    data = read_questions(options.data, options.limit)
    if settings.sources["collection"] == "flag":
        data = data.elsewhere()
    read_own(settings.template, settings.examples_file)  # what is wrong is said before models are loaded
    with tempfile.TemporaryDirectory() as folder:
        with status(options, "loading the models"):
            if data.needs_passages and data.passages is None and not options.closed_book:
                assistant = load_assistant(settings)
            else:
                generator = load_language_model(settings)
                template = load_template(settings, generator)
                template = closed_book(template) if options.closed_book else template
                calibration = None if options.closed_book else load_calibration(settings, template)
                assistant = Assistant(
                    None,
                    None,
                    generator,
                    model_name(settings),
                    template,
                    calibration=calibration,
                    read_each=reads_each(settings),
                )
        if data.passages is not None and not options.closed_book:
            bring_collection(settings, options, assistant, data.passages, Path(folder))
        if not options.quiet:
            print_device(settings, assistant)
        try:
            yield assistant, data, _identity(settings)
        finally:
            if assistant.index:
                assistant.index.close()


@contextmanager
def folder_of(options: Options) -> Iterator[Path]:
    """The folder of a run: the one that was named, or one that is thrown away."""
    if options.out:
        yield options.out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def show_metrics(result: dict[str, Any]) -> None:
    """A line a metric that is known, with its interval."""
    for name, value in result["metrics"].items():
        if value is not None:
            low, high = result["intervals"][name]
            out.print(f"{name:22} {value:.3f}   95 % interval {low:.3f} to {high:.3f}")


def _errors(result: dict[str, Any]) -> str:
    first = "" if result["first_error"] is None else f", the first: {printable(result['first_error'])}"
    return f"{result['errors']} errors{first}"


def bring_collection(
    settings: Settings, options: Options, assistant: "Assistant", passages: Mapping[str, str], folder: Path
) -> None:
    """Let the assistant search a set's own passages."""
    from rag.assistant import load_embedder, load_reranker
    from rag.evaluation.collection import make_collection
    from rag.models import embedder_identity, resolve_embedder

    weights = resolve_embedder(settings.embedder, settings.models_dir)
    identity = embedder_identity(settings.embedder, weights, settings.embedder_precision)
    with status(options, "loading the models"):
        assistant.embedder = load_embedder(settings)
        assistant.reranker = load_reranker(settings, assistant.generator)
        assistant.join = settings.join
    with counted(options) as advance:
        assistant.index = make_collection(folder / "own", passages, assistant.embedder, advance, identity)


def _identity(settings: Settings) -> dict[str, Any]:
    from rag.assistant import language_model_folder
    from rag.evaluation.run import weights_of

    weights = weights_of(language_model_folder(settings))
    return {"language_model_weights": weights, "precision": settings.language_model_precision}
