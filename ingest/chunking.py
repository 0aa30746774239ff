"""chunk(document) -> spans: pieces of a document along its structure, each inside the embedder's window."""

import bisect
import json
import re
from pathlib import Path

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from rag.errors import ModelError
from rag.schema import Document, Span

# Half of the bundled embedder's window, and what it was trained on; shorter passages are also read sooner.
PASSAGE_TOKENS = 128
_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$|^(?:```|~~~)", re.MULTILINE)
_WITH_HEADINGS = frozenset({"text/markdown", "text/html"})


class Chunker:
    """Cuts documents by the embedder's own count of tokens."""

    def __init__(self, embedder_folder: Path, max_tokens: int = PASSAGE_TOKENS) -> None:
        """Read the embedder's tokenizer and window; a passage never exceeds it. Raises `ModelError`."""
        try:
            tokenizer = Tokenizer.from_str((embedder_folder / "tokenizer.json").read_text(encoding="utf-8"))
            window = json.loads((embedder_folder / "sentence_bert_config.json").read_text(encoding="utf-8"))[
                "max_seq_length"
            ]
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The embedder in {embedder_folder} has no readable tokenizer; choose another.") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        room = window - tokenizer.num_special_tokens_to_add(False)
        capacity = min(max_tokens, room)
        self._markdown = MarkdownSplitter.from_huggingface_tokenizer(tokenizer, capacity)
        self._plain = TextSplitter.from_huggingface_tokenizer(tokenizer, capacity)

    def chunk(self, document: Document) -> list[Span]:
        """Spans in the order of the text; `document.text[span.start:span.end]` is never empty."""
        structured = document.media_type in _WITH_HEADINGS
        splitter = self._markdown if structured else self._plain
        headings = _headings(document.text) if structured else []
        return [
            Span(
                start,
                start + len(text),
                bisect.bisect_right(document.page_starts, start) if document.page_starts else None,
                _path_at(headings, start),
            )
            for start, text in splitter.chunk_indices(document.text)
        ]


def _headings(text: str) -> list[tuple[int, int, str]]:
    """(offset, level, title) of the Markdown headings outside of fenced code."""
    found = []
    fenced = False
    for match in _HEADING.finditer(text):
        if match[1] is None:
            fenced = not fenced
        elif not fenced:
            found.append((match.start(), len(match[1]), match[2]))
    return found


def _path_at(headings: list[tuple[int, int, str]], offset: int) -> tuple[str, ...]:
    """The titles of the headings that an offset stands under, outermost first."""
    path: list[tuple[int, str]] = []
    for at, level, title in headings:
        if at > offset:
            break
        path = [*(entry for entry in path if entry[0] < level), (level, title)]
    return tuple(title for _, title in path)
