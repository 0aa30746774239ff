"""Judged retrieval data: passages, queries, and which passages are relevant to which query.

Reads BEIR folders (Thakur et al. 2021) and SQuAD-format files (Rajpurkar et al. 2016); asks nothing.
"""

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rag.errors import InputError


@dataclass(frozen=True, slots=True)
class Judged:
    """Texts by id, and a grade above 0 for each relevant passage of each query."""

    passages: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]


def read_judged(path: Path, limit: int | None = None) -> Judged:
    """A BEIR folder or a SQuAD-format file, or its first `limit` queries against all of its passages.

    Raises `InputError`.
    """
    try:
        data = _beir(path) if path.is_dir() else _squad(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise InputError(
            f"{path} is neither a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv) nor a SQuAD-format file "
            f"({error!r}); check it."
        ) from error
    queries = dict(islice(((i, text) for i, text in data.queries.items() if text.strip()), limit))
    if not data.passages or not queries:
        raise InputError(f"{path} holds no judged query; nothing can be measured.")
    return Judged(data.passages, queries, {query: data.relevant[query] for query in queries})


def squad_paragraphs(whole: dict[str, Any]) -> Iterator[tuple[str, str, list[dict[str, Any]], str | None]]:
    """Each paragraph's name, its text, the questions under it, its article's title; equal texts have one name."""
    for article in whole["data"]:
        title = article.get("title")
        for paragraph in article["paragraphs"]:
            text = clean(paragraph["context"])
            topic = clean(title) if isinstance(title, str) else None
            yield hashlib.sha256(text.encode()).hexdigest(), text, paragraph["qas"], topic


def clean(value: object) -> str:
    """A string that is text: JSON can hold halves of characters, which nothing can store."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.encode("utf-8", "replace").decode()


def _squad(file: Path) -> Judged:
    """Each distinct paragraph is a passage, unsplit; relevant to a question is the paragraph that it stands under."""
    data = Judged({}, {}, {})
    for passage, text, questions, _ in squad_paragraphs(json.loads(file.read_text(encoding="utf-8-sig"))):
        data.passages[passage] = text
        for question in questions:
            query = clean(str(question["id"]))
            data.queries[query] = clean(question["question"])
            data.relevant[query] = {passage: 1}
    return data


def _beir(folder: Path) -> Judged:
    """Title and text are one passage; the judgements are those of the test split, else of dev or train."""
    rows = {clean(str(row["_id"])): _passage(row) for row in _lines(folder / "corpus.jsonl")}
    questions = {clean(str(row["_id"])): clean(row["text"]) for row in _lines(folder / "queries.jsonl")}
    files = [folder / "qrels" / f"{split}.tsv" for split in ("test", "dev", "train")]
    file = next((file for file in files if file.is_file()), files[0])
    relevant: dict[str, dict[str, int]] = {}
    with file.open(encoding="utf-8-sig", newline="") as content:
        for row in csv.DictReader(content, delimiter="\t"):
            query, passage, grade = row["query-id"], row["corpus-id"], int(row["score"])
            if grade > 0 and query in questions and passage in rows:
                relevant.setdefault(query, {})[passage] = grade
    return Judged(rows, {query: questions[query] for query in relevant}, relevant)


def _passage(row: dict[str, Any]) -> str:
    return clean(f"{row.get('title') or ''} {row['text']}".strip())


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8-sig") as content:
        for line in content:
            if line.strip():
                yield json.loads(line)
