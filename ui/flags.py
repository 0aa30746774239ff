"""Flags that several commands share, by what they are about."""

import argparse

from rag.templates import TEMPLATES


def place(with_collection: bool = True) -> argparse.ArgumentParser:
    """Where things lie, and how to print."""
    parser = argparse.ArgumentParser(add_help=False)
    if with_collection:
        parser.add_argument("--collection", metavar="NAME")
    parser.add_argument("--home", metavar="FOLDER", help="where collections and prepared models lie")
    parser.add_argument("--embedder", metavar="MODEL")
    parser.add_argument("--embedder-precision", metavar="P", help="float32, or int8 on a CPU: faster, nearly the same")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu")
    parser.add_argument("--json", action="store_true", help="data on stdout instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def retrieval() -> argparse.ArgumentParser:
    """What is read."""
    parser = argparse.ArgumentParser(add_help=False, parents=[reranking()])
    parser.add_argument("--passages", metavar="K", help="how many passages to read")
    parser.add_argument(
        "--join", action=argparse.BooleanOptionalAction, default=None, help="neighbours in a document become one"
    )
    return parser


def reranking() -> argparse.ArgumentParser:
    """What orders the passages that were found."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--rerank", metavar="MODEL", help="none, language-model, or a cross-encoder's folder or ORG/MODEL@COMMIT"
    )
    return parser


def filters() -> argparse.ArgumentParser:
    """Which documents may answer."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("which documents may answer (--since and --until once, the others repeatable)")
    group.add_argument("--folder", action="append", default=[], metavar="FOLDER", help="under this folder")
    group.add_argument("--type", action="append", default=[], metavar="SUFFIX", help="pdf, docx, ...")
    group.add_argument("--with-tag", action="append", default=[], metavar="TAG", help="with this tag")
    group.add_argument("--document", action="append", default=[], metavar="DOCUMENT", help="this path or id")
    group.add_argument("--since", metavar="DAY", help="YYYY-MM-DD, of the contents where they state one")
    group.add_argument("--until", metavar="DAY")
    return parser


def language_model(with_temperature: bool = True) -> argparse.ArgumentParser:
    """The language model, its prompt and its sampling."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--language-model", metavar="MODEL")
    parser.add_argument(
        "--language-model-precision", metavar="P", help="float32, or int8 on a CPU: faster, nearly the same"
    )
    parser.add_argument(
        "--adapter", metavar="FOLDER", help="auto, none, or what `rag finetune` made; for the short-answer template"
    )
    parser.add_argument(
        "--read-each",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="read each passage by itself too and keep the best answer, with an adapter for short answers",
    )
    parser.add_argument(
        "--confidence", metavar="FILE", help="auto, none, or what `rag eval calibrate --out` wrote for this model"
    )
    parser.add_argument(
        "--template",
        metavar="NAME",
        help=f"auto, {', '.join(TEMPLATES)}, or a template file (.toml); NAME:plain and NAME:chat choose the form",
    )
    parser.add_argument("--examples-file", metavar="FILE", help="worked examples for the prompt, JSON lines")
    parser.add_argument("--examples", metavar="N", help="how many of them (default: 3 of a file, all of a template)")
    parser.add_argument("--target-language", metavar="NAME", help="what the translation templates translate into")
    parser.add_argument("--max-new-tokens", metavar="N")
    parser.add_argument("--min-new-tokens", metavar="N", help="nothing ends the answer before so many")
    if with_temperature:
        parser.add_argument("--temperature", metavar="T", help="0 is greedy")
    parser.add_argument("--top-k", metavar="K", help="the K most probable tokens; 0 keeps all")
    parser.add_argument("--top-p", metavar="P", help="the most probable tokens with this mass; 1 keeps all")
    parser.add_argument("--min-p", metavar="P", help="tokens at least P times as probable as the best; 0 keeps all")
    parser.add_argument("--typical-p", metavar="P", help="the most typical tokens with this mass; 1 keeps all")
    parser.add_argument(
        "--repetition-penalty", metavar="X", help="above 1 makes written tokens less probable; 1 is none"
    )
    parser.add_argument("--no-repeat-ngram", metavar="N", help="no N tokens come twice in a row; 0 lets them")
    parser.add_argument(
        "--penalties-read-prompt",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="these two count the prompt's tokens too",
    )
    parser.add_argument("--logit-bias", metavar="ID:VALUE,...", help="added to a token's logit; -inf bans the token")
    parser.add_argument("--beams", metavar="N", help="above 1: the best answer of a beam search; nothing is drawn")
    parser.add_argument("--length-penalty", metavar="X", help="of the beam search: above 0 prefers long answers")
    parser.add_argument("--seed", metavar="N")
    parser.add_argument("--stop-at-sentence-end", action=argparse.BooleanOptionalAction, default=None)
    return parser


def add_mode(parser: argparse.ArgumentParser) -> None:
    """How to search where no answer is written."""
    parser.add_argument(
        "--mode", choices=["hybrid", "dense", "lexical"], default="hybrid", help="by vectors, by words or by both"
    )
    parser.add_argument("--language-model", metavar="MODEL", help="for --rerank language-model")


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number
