"""The command `rag`: arguments -> calls -> output and exit codes. Every expected error is one sentence on stderr.

Exit codes: 0 done, 1 failed, 2 usage, 3 done in part, 4 wrong or missing model,
5 collection or run locked, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from rag.errors import InputError, LockedError, ModelError, RagError, SettingsError
from rag.settings import NAMES, Settings, load_settings
from ui import calibrating, chat, commands, evaluating, flags, library, runs, training

Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_EXIT_CODES: dict[type[RagError], int] = {SettingsError: 2, InputError: 2, ModelError: 4, LockedError: 5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.run is not commands.fetch_model:
        # Nothing is sent anywhere: the libraries would otherwise ask the hub whether a model changed.
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return options.run(_settings(options), options) or 0
    except RagError as error:
        print(f"rag: {error}", file=sys.stderr)
        return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"rag: {error.filename or 'a file'} cannot be used ({error.strerror}); check it.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = f"; what was finished is kept in {options.out}" if getattr(options, "out", None) else ""
        print(f"rag: interrupted{kept}.", file=sys.stderr)
        return 130


def _settings(options: argparse.Namespace) -> Settings:
    return load_settings({name: getattr(options, name, None) for name in NAMES})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rag", description="Answers questions from your own documents and shows the probability of every token."
    )
    actions = parser.add_subparsers(required=True, metavar="COMMAND")
    place, model, filters = flags.place(), flags.language_model(), flags.filters()
    reranking, retrieval = flags.reranking(), flags.retrieval()

    _add_library(actions, place, filters)

    ask = actions.add_parser(
        "ask", parents=[place, retrieval, filters, model], help="answer questions from a collection"
    )
    ask.add_argument("questions", nargs="+", metavar="QUESTION")
    ask.add_argument(
        "--evidence", action="store_true", help="which passage and sentence each part leans on; takes longer"
    )
    ask.set_defaults(run=commands.ask)
    talk = actions.add_parser(
        "chat", parents=[place, retrieval, filters, model], help="a conversation: a line of stdin a question"
    )
    talk.set_defaults(run=chat.chat)
    for answering in (ask, talk):
        answering.add_argument(
            "--stop", action="append", default=[], metavar="TEXT", help="end the answer before this text; repeatable"
        )

    search = actions.add_parser("search", parents=[place, retrieval, filters], help="show the passages for a question")
    search.add_argument("question", metavar="QUESTION")
    flags.add_mode(search)
    search.set_defaults(run=commands.search)

    _add_evaluation(actions, place, retrieval, reranking, model)

    _add_training(actions)

    web = actions.add_parser("ui", parents=[place, retrieval, model], help="open the web page")
    web.add_argument("--port", type=int, default=8501)
    web.add_argument("--address", default="127.0.0.1", help="the address to listen on (default: this machine only)")
    web.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name that browsers may call it by"
    )
    web.add_argument("--upload-limit", type=flags.positive, default=200, metavar="MB", help="largest file to upload")
    web.set_defaults(run=commands.web)

    models = actions.add_parser("models", help="list, fetch and check models").add_subparsers(
        required=True, metavar="WHAT"
    )
    models.add_parser("list", parents=[place], help="presets and what is here").set_defaults(run=commands.list_models)
    prepare = models.add_parser(
        "prepare", parents=[place], help="convert the bundled model now instead of at first use"
    )
    prepare.set_defaults(run=commands.prepare_models)
    fetch = models.add_parser("fetch", parents=[place], help="download a preset or ORG/MODEL@COMMIT")
    fetch.add_argument("name")
    fetch.set_defaults(run=commands.fetch_model)
    models.add_parser("verify", parents=[place], help="compare all models with their checksums").set_defaults(
        run=commands.verify_models
    )

    config = actions.add_parser("config", help="settings").add_subparsers(required=True, metavar="WHAT")
    show = config.add_parser("show", parents=[place, retrieval, model], help="each setting and where it came from")
    show.set_defaults(run=commands.show_settings)
    config.add_parser("templates", parents=[place], help="the named forms of prompt").set_defaults(
        run=commands.list_templates
    )
    return parser


def _add_evaluation(
    actions: Actions,
    place: argparse.ArgumentParser,
    retrieval: argparse.ArgumentParser,
    reranking: argparse.ArgumentParser,
    model: argparse.ArgumentParser,
) -> None:
    """The commands that ask many questions."""
    what = actions.add_parser("eval", help="ask many questions and measure").add_subparsers(
        required=True, metavar="WHAT"
    )
    answers = what.add_parser("answers", parents=[place, retrieval, model], help="answers against the accepted ones")
    _add_asking(answers)
    answers.set_defaults(run=evaluating.evaluate_answers)
    sweep = what.add_parser(
        "sweep", parents=[place, retrieval, flags.language_model(False)], help="answers at several temperatures"
    )
    _add_asking(sweep)
    sweep.add_argument(
        "--temperature",
        dest="temperatures",
        type=_temperatures,
        default=[0.0, 0.3, 0.7, 1.0],
        metavar="T,T,...",
        help="default 0,0.3,0.7,1",
    )
    sweep.add_argument("--samples", type=flags.positive, default=5, metavar="N", help="answers a question (default 5)")
    sweep.set_defaults(run=evaluating.evaluate_sweep)
    fit = what.add_parser(
        "calibrate", parents=[place, retrieval, model], help="fit a confidence to the answers of this model"
    )
    fit.add_argument("data", type=Path, metavar="DATA", help="questions with their answers, and some without any")
    fit.add_argument("--out", type=Path, metavar="FILE", help="where the confidence goes, for --confidence FILE")
    fit.add_argument("--rows", type=Path, metavar="FILE", help="keep each answer here; goes on where it stopped")
    fit.add_argument("--page", type=Path, metavar="FILE", help="the price of declining as an HTML page")
    fit.add_argument("--limit", type=flags.positive, metavar="N", help="a sample of N questions, always the same")
    fit.add_argument(
        "--answered",
        type=_share,
        default=2 / 3,
        metavar="SHARE",
        help="of your questions that your documents answer; some of the others are left out for it (default 0.67)",
    )
    fit.add_argument(
        "--risks",
        type=_risks,
        default=(0.2, 0.38),
        metavar="A,B",
        help="wrong answers at most: of those without a warning, of all that are given (default 0.2,0.38)",
    )
    fit.set_defaults(run=calibrating.calibrate)
    judged = what.add_parser("retrieval", parents=[place, reranking], help="does the search find the right passage?")
    judged.add_argument("data", type=Path, metavar="DATA", help="a BEIR folder or a SQuAD-format file")
    flags.add_mode(judged)
    judged.add_argument("--limit", type=flags.positive, metavar="N", help="the first N queries only")
    judged.set_defaults(run=evaluating.evaluate_retrieval)
    _add_runs(what)


def _add_asking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="JSON lines with id and question, a SQuAD-format file or a BEIR folder"
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run; it goes on where it stopped")
    parser.add_argument("--limit", type=flags.positive, metavar="N", help="the first N questions only")
    parser.add_argument("--batch", type=flags.positive, default=8, metavar="B", help="questions at a time (default 8)")
    parser.add_argument("--closed-book", action="store_true", help="without any passages")


def _add_library(actions: Actions, place: argparse.ArgumentParser, filters: argparse.ArgumentParser) -> None:
    """The commands about documents and collections."""
    ingest = actions.add_parser("ingest", parents=[place], help="read files and folders into a collection")
    ingest.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    ingest.add_argument("--tag", action="append", default=[], metavar="TAG", help="for all these files; repeatable")
    ingest.add_argument("--watch", action="store_true", help="keep the collection in step until Ctrl-C")
    ingest.set_defaults(run=library.ingest)

    documents = actions.add_parser("documents", help="list, remove and tag the documents of a collection")
    what = documents.add_subparsers(required=True, metavar="WHAT")
    listing = what.add_parser("list", parents=[place, filters], help="every file, and why one could not be read")
    listing.set_defaults(run=library.list_documents)
    remove = what.add_parser("remove", parents=[place], help="forget files; what is on the disk stays there")
    remove.add_argument("targets", nargs="+", metavar="PATH", help="a file, a folder, or a document's id")
    remove.set_defaults(run=library.remove_documents)
    tag = what.add_parser("tag", parents=[place], help="add and remove tags")
    tag.add_argument("targets", nargs="+", metavar="PATH", help="a file, a folder, or a document's id")
    tag.add_argument("--add", action="append", default=[], metavar="TAG")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG")
    tag.set_defaults(run=library.tag_documents)

    _add_collections(actions)
    doctor = actions.add_parser("doctor", parents=[place], help="check a collection")
    doctor.add_argument("--repair", action="store_true", help="mend what can be mended")
    doctor.set_defaults(run=library.doctor)


def _add_collections(actions: Actions) -> None:
    place = flags.place(with_collection=False)
    what = actions.add_parser("collections", help="list, make, carry and re-embed collections").add_subparsers(
        required=True, metavar="WHAT"
    )
    what.add_parser("list", parents=[place], help="all of them").set_defaults(run=library.list_collections)
    parts: list[tuple[str, Callable[[Settings, argparse.Namespace], int], str, list[str]]] = [
        ("create", library.create_collection, "an empty one", ["NAME"]),
        ("delete", library.delete_collection, "with all that it stores", ["NAME"]),
        ("export", library.export_collection, "into one file", ["NAME", "FILE"]),
        ("import", library.import_collection, "from one file", ["FILE", "NAME"]),
        ("reembed", library.reembed_collection, "with the present embedder", ["NAME"]),
    ]
    for name, run, text, arguments in parts:
        parser = what.add_parser(name, parents=[place], help=text)
        for argument in arguments:
            if argument == "NAME":
                parser.add_argument("collection", metavar="NAME")
            else:
                parser.add_argument("file", type=Path, metavar="FILE")
        if name == "delete":
            parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.set_defaults(run=run)


def _add_training(actions: Actions) -> None:
    """The command that makes an adapter."""
    tune = actions.add_parser(
        "finetune", parents=[flags.place(with_collection=False)], help="teach a language model to read passages"
    )
    tune.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="rows in SQuAD's format, or JSON lines: question, passage, answers",
    )
    tune.add_argument(
        "--out", type=Path, required=True, metavar="ADAPTER", help="its folder; it goes on where it stopped"
    )
    tune.add_argument("--dev", type=Path, metavar="DATA", help="rows to choose by (default: a tenth of the passages)")
    tune.add_argument(
        "--start", type=Path, metavar="ADAPTER", help="to go on from, with its rank; auto is the bundled one"
    )
    tune.add_argument("--language-model", metavar="MODEL")
    tune.add_argument("--steps", type=flags.positive, metavar="N")
    tune.add_argument("--rank", type=flags.positive, metavar="R", help="of the adapter's matrices: what it can learn")
    tune.add_argument("--learning-rate", type=float, metavar="X")
    tune.add_argument("--seed", metavar="N")
    tune.add_argument("--compile", action="store_true", help="half as fast again; needs a C++ compiler")
    tune.set_defaults(run=training.finetune)


def _add_runs(evaluate: Actions) -> None:
    """The commands about runs that were saved."""
    compare = evaluate.add_parser("compare", help="what run B does better than run A, and what chance explains")
    compare.add_argument("run_a", type=Path, metavar="RUN_A")
    compare.add_argument("run_b", type=Path, metavar="RUN_B")
    compare.add_argument("--json", action="store_true", help="data on stdout instead of text")
    compare.set_defaults(run=runs.compare_runs)
    report = evaluate.add_parser("report", help="a run as one HTML page")
    report.add_argument("folder", type=Path, metavar="RUN")
    report.add_argument("--out", type=Path, metavar="FILE", help="where to (default: RUN/report.html)")
    report.set_defaults(run=runs.report_run)


def _risks(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no pair such as 0.1,0.3, the lower one first")
    return low, high


def _share(text: str) -> float:
    if not 0 < (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share above 0, up to 1")
    return share


def _temperatures(text: str) -> list[float]:
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0,0.7") from None


if __name__ == "__main__":
    sys.exit(main())
