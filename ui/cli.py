"""The command `rag`: arguments -> calls -> output and exit codes. Every expected error is one sentence on stderr.

Exit codes: 0 done, 1 failed, 2 usage, 3 done in part, 4 wrong or missing model, 5 collection locked, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rag.errors import InputError, LockedError, ModelError, RagError, SettingsError
from rag.settings import NAMES, Settings, load_settings
from ui import commands

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
        print("rag: interrupted; what was finished is kept.", file=sys.stderr)
        return 130


def _settings(options: argparse.Namespace) -> Settings:
    return load_settings({name: getattr(options, name, None) for name in NAMES})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rag", description="Answers questions from your own documents and shows the probability of every token."
    )
    actions = parser.add_subparsers(required=True, metavar="COMMAND")
    place, model, retrieval = _place(), _language_model(), _retrieval()

    ingest = actions.add_parser("ingest", parents=[place], help="read files and folders into a collection")
    ingest.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    ingest.set_defaults(run=commands.ingest)

    ask = actions.add_parser("ask", parents=[place, retrieval, model], help="answer questions from a collection")
    ask.add_argument("questions", nargs="+", metavar="QUESTION")
    ask.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end the answer before this text; repeatable"
    )
    ask.set_defaults(run=commands.ask)

    search = actions.add_parser("search", parents=[place, retrieval], help="show the passages for a question")
    search.add_argument("question", metavar="QUESTION")
    search.set_defaults(run=commands.search)

    documents = actions.add_parser("documents", parents=[place], help="list the documents of a collection")
    documents.set_defaults(run=commands.list_documents)

    evaluate = actions.add_parser("eval", help="ask many questions and measure").add_subparsers(
        required=True, metavar="WHAT"
    )
    answers = evaluate.add_parser(
        "answers", parents=[place, retrieval, model], help="answers against the accepted ones"
    )
    answers.add_argument("data", type=Path, metavar="DATA", help="JSON lines: id, question, answers, answerable")
    answers.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="folder of the run; it goes on where it stopped"
    )
    answers.set_defaults(run=commands.evaluate_answers)

    web = actions.add_parser("ui", parents=[place, retrieval, model], help="open the web page")
    web.add_argument("--port", type=int, default=8501)
    web.add_argument("--address", default="127.0.0.1", help="the address to listen on (default: this machine only)")
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
    return parser


def _place() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--collection", metavar="NAME")
    flags.add_argument("--home", metavar="FOLDER", help="where collections and prepared models lie")
    flags.add_argument("--embedder", metavar="MODEL")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu")
    flags.add_argument("--json", action="store_true", help="data on stdout instead of text")
    flags.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return flags


def _retrieval() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--passages", metavar="K", help="how many passages to read")
    return flags


def _language_model() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--language-model", metavar="MODEL")
    flags.add_argument("--template", metavar="NAME", help="auto, examples, plain or chat")
    flags.add_argument("--max-new-tokens", metavar="N")
    flags.add_argument("--temperature", metavar="T", help="0 is greedy")
    flags.add_argument("--top-k", metavar="K", help="0 keeps all")
    flags.add_argument("--top-p", metavar="P", help="1 keeps all")
    flags.add_argument("--seed", metavar="N")
    flags.add_argument("--stop-at-sentence-end", action=argparse.BooleanOptionalAction, default=None)
    return flags


if __name__ == "__main__":
    sys.exit(main())
