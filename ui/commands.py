"""What each command of `rag` does. Heavy modules are imported where they are used: `rag --help` must not load torch."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rag.errors import SettingsError
from rag.settings import NAMES, Settings
from ui.library import filter_of
from ui.output import Options, counted, err, out, print_json, status
from ui.serving import location, streamlit_command

if TYPE_CHECKING:
    from rag.assistant import Assistant
    from rag.embedding import Embedder
    from rag.evidence import Evidence
    from rag.retrieval import Reranker
    from rag.schema import Answer, SamplingParams


def ask(settings: Settings, options: Options) -> int:
    """`rag ask QUESTION...`: answer, sources and token probabilities of each question."""
    from rag import load_assistant
    from ui import evidence, terminal

    params, keep = sampling_params(settings, tuple(options.stop)), filter_of(options)
    with status(options, "loading the models"):
        assistant = load_assistant(settings)
    if not options.quiet:
        print_device(settings, assistant)
    for question in options.questions:
        events = assistant.stream(question, params, settings.passages, keep)
        if options.json:
            answer = terminal.last(events)
        elif options.evidence:
            answer = terminal.show_answer(out, events)
        else:
            answer = terminal.show_answer(out, events, assistant.support)
        found = _evidence(assistant, answer, options) if options.evidence else None
        if options.json:
            data = terminal.as_data(answer)
            if options.evidence:
                data["evidence"] = found and terminal.as_data(found)
                data["reason"] = evidence.reason(answer, found) if found else answer.reason
            print_json(data)
        elif found:
            evidence.show_evidence(out, answer, found)
        elif options.evidence:
            out.print(evidence.NOTHING_READ)
    return 0


def _evidence(assistant: "Assistant", answer: "Answer", options: Options) -> "Evidence | None":
    """Where an answer comes from; None where no passage was read."""
    from rag.attribution import attribute

    if not answer.prompt.passages or not answer.steps:
        return None
    with counted(options) as advance:
        return attribute(answer, assistant.template, assistant.generator, advance=advance)


def search(settings: Settings, options: Options) -> int:
    """`rag search QUESTION`: the passages with every score."""
    from rag.index import LocalIndex, open_catalog
    from rag.retrieval import retrieve
    from ui import terminal

    keep = filter_of(options)
    if options.mode == "lexical":
        index = LocalIndex(open_catalog(settings.collection_dir))  # whatever embedder made it
    else:
        from rag.assistant import open_collection

        index = open_collection(settings)
    with status(options, "loading the models"):
        embed, reranker = judges(settings, options.mode)
    question = embed.embed_question if embed else _no_vector
    found = retrieve(index, question, options.question, settings.passages, keep, options.mode, reranker, settings.join)
    if options.json:
        print_json([terminal.as_data(passage) for passage in found])
    else:
        terminal.show_passages(out, found)
    return 0


def web(settings: Settings, options: Options) -> int:
    """`rag ui`: become the Streamlit app, on this machine only unless another address is given."""
    from rag.template_files import read_own

    sampling_params(settings, ())  # wrong settings are for the terminal, not for the page
    read_own(settings.template, settings.examples_file)
    environment = os.environ | {f"RAG_{n.upper()}": str(v) for n in NAMES if (v := getattr(settings, n)) is not None}
    command = streamlit_command(options)
    err.print(f"Openbook listens on {location(options.address, options.port)} (Ctrl-C ends it)", markup=False)
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own command; signals reach it directly


def list_models(settings: Settings, options: Options) -> int:
    """`rag models list`: the presets, and whether each is on this machine."""
    from rag import models

    rows = [
        {
            "kind": kind,
            "name": name,
            "model": preset.model or "bundled",
            "here": models.is_here(preset, settings.models_dir),
        }
        | {key: getattr(preset, key) for key in ("languages", "parameters", "download", "memory")}
        for kind, presets in models.PRESETS.items()
        for name, preset in presets.items()
    ]
    if options.json:
        print_json(rows)
        return 0
    for row in rows:
        out.print(f"[bold]{row['kind']}[/bold] {row['name']}{'' if row['here'] else '  (not fetched)'}")
        out.print(f"    {row['model']}: {row['languages']}, {row['parameters']} parameters", markup=False)
        out.print(f"    download {row['download']}, memory {row['memory']}", markup=False)
    return 0


def prepare_models(settings: Settings, options: Options) -> int:
    """`rag models prepare`: convert the bundled language model, if that was not done before."""
    from rag import adapter, models
    from rag.language_model import convert_gguf

    with status(options, "preparing the bundled models (once per machine)"):
        models.resolve_embedder("embedded", settings.models_dir)
        folder = models.resolve_language_model("embedded", settings.models_dir, convert_gguf)
        tuned = adapter.merged(folder, adapter.BUNDLED, settings.models_dir)
    out.print(f"Bundled models are ready; the language model lies in {folder}", markup=False)
    out.print(f"With the adapter for short answers it lies in {tuned}", markup=False)
    return 0


def fetch_model(settings: Settings, options: Options) -> int:
    """`rag models fetch NAME`: the one command that reaches a network."""
    from rag import models

    for folder in models.fetch(options.name, settings.models_dir, os.environ.get("HF_ENDPOINT")):
        out.print(f"Fetched into {folder}", markup=False)
    return 0


def verify_models(settings: Settings, options: Options) -> int:
    """`rag models verify`: every checksum, the bundled packages' too; 4 where one does not hold."""
    from rag import adapter, models

    for kind in models.BUNDLED:
        models.bundled_file(kind)
        out.print(f"ok: the bundled {kind}")
    adapter.check(adapter.BUNDLED)
    out.print("ok: the bundled adapter")
    damaged = {folder: bad for folder in models.prepared(settings.models_dir) if (bad := models.verify(folder))}
    for folder in models.prepared(settings.models_dir):
        out.print(f"{'damaged' if folder in damaged else 'ok'}: {folder}", markup=False)
    for folder, files in damaged.items():
        err.print(
            f"rag: {folder} does not match its checksums ({', '.join(files)}); delete it and prepare it again.",
            markup=False,
        )
    return 4 if damaged else 0


def show_settings(settings: Settings, options: Options) -> int:
    """`rag config show`: each value and where it came from."""
    if options.json:
        print_json({n: {"value": _plain(getattr(settings, n)), "source": settings.sources[n]} for n in NAMES})
        return 0
    for name in NAMES:
        out.print(f"{name:22} {getattr(settings, name)!s:40} {settings.sources[name]}", markup=False)
    return 0


def list_templates(settings: Settings, options: Options) -> int:
    """`rag config templates`: the named forms of prompt."""
    from rag.templates import TEMPLATES

    if options.json:
        print_json({name: template.text for name, template in TEMPLATES.items()})
        return 0
    for name, template in TEMPLATES.items():
        form = {True: "chat form", False: "plain form", None: "the form that suits the model"}[template.chat]
        out.print(f"[bold]{name}[/bold]  ({form}, {len(template.examples)} worked examples)")
        out.print("".join(f"    {line}\n" for line in template.text.splitlines()), markup=False)
    return 0


def judges(settings: Settings, mode: str) -> "tuple[Embedder | None, Reranker | None]":
    """The models that a search needs: words need none, and torch takes seconds to load."""
    if mode == "lexical" and settings.rerank == "none":
        return None, None
    from rag.assistant import load_embedder, load_reranker

    return None if mode == "lexical" else load_embedder(settings), load_reranker(settings)


def _no_vector(question: str) -> NoReturn:
    raise ValueError("words need no vector")


def sampling_params(settings: Settings, stop: tuple[str, ...], default_seed: int | None = None) -> "SamplingParams":
    """The settings that the sampling loop reads. Raises `SettingsError`."""
    from rag.schema import SamplingParams

    own = ("seed", "stop", "logit_bias")
    names = [f.name for f in dataclasses.fields(SamplingParams) if f.name in NAMES and f.name not in own]
    try:
        return SamplingParams(
            **{name: getattr(settings, name) for name in names},
            seed=default_seed if settings.seed is None else settings.seed,
            stop=stop,
            logit_bias=_logit_bias(settings.logit_bias),
        )
    except ValueError as error:
        raise SettingsError(f"{error}.") from error


def _logit_bias(text: str) -> tuple[tuple[int, float], ...]:
    """`ID:VALUE,ID:VALUE` -> (token id, value). Raises `ValueError` with a sentence."""
    try:
        pairs = [pair.split(":") for pair in text.split(",") if pair.strip()]
        return tuple((int(token_id), float(value)) for token_id, value in pairs)
    except ValueError:
        raise ValueError(f"logit_bias must be written ID:VALUE,ID:VALUE, not {text!r}") from None


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def print_device(settings: Settings, assistant: "Assistant") -> None:
    """Say which model answers, and where it runs."""
    precision = ", int8" if settings.language_model_precision == "int8" else ""
    device = assistant.generator.model.device
    err.print(f"language model {assistant.language_model} on {device}{precision}", markup=False, style="dim")
