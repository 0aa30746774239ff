"""chunk(document) -> spans: pieces of a document along its structure, each inside the embedder's window."""

import bisect
import json
import re
from collections.abc import Iterator
from pathlib import Path

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from rag.errors import ModelError
from rag.schema import Document, Span

# Half of the bundled embedder's window, and what it was trained on; shorter passages are also read sooner.
PASSAGE_TOKENS = 128
OVERLAP_TOKENS = 24  # about a sentence, so that what a cut parts stands together in one of the two passages
_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$|^(?:```|~~~)", re.MULTILINE)
_WITHOUT_HEADINGS = frozenset({"text/plain", "text/csv", "application/pdf"})
_WORD = re.compile(r"\w{1,64}|[^\w\s]")
_LONG_WORD = 32  # characters; the tokens of longer words are only guessed
_BLOCK = 20_000  # characters
_MAX_KNOWN_WORDS = 500_000
_ROWS = frozenset({"row", "line"})  # each makes sense alone: nothing to overlap


class Chunker:
    """Cuts documents by the embedder's own count of tokens."""

    def __init__(self, embedder_folder: Path, max_tokens: int = PASSAGE_TOKENS, overlap: int = OVERLAP_TOKENS) -> None:
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
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}  # word -> tokens
        self._capacity = min(max_tokens, room)
        # (has headings, overlaps) -> splitter
        self._splitters = {
            (markdown, overlaps): (MarkdownSplitter if markdown else TextSplitter).from_callback(
                self._estimate, self._capacity, overlap=min(overlap, self._capacity // 2) if overlaps else 0
            )
            for markdown in (False, True)
            for overlaps in (False, True)
        }
        self._exact = TextSplitter.from_huggingface_tokenizer(tokenizer, self._capacity)

    def _estimate(self, text: str) -> int:
        """Tokens of a text, word by word: exact for most tokenizers, and much faster than asking them each time.

        Counting ends where the text is too long for a passage, since the splitters try whole documents too.
        """
        known = self._known
        total = 0
        for match in _WORD.finditer(text):
            word = match[0]
            count = known.get(word)
            if count is None:
                count = self._count(word)
            total += count
            if total > self._capacity:
                break
        return total

    def _count(self, word: str) -> int:
        if len(word) > _LONG_WORD:  # a tokenizer may make one token of a word of any length; a reader cannot
            return len(word) // 4 if word.isascii() else len(word)
        if len(self._known) >= _MAX_KNOWN_WORDS:
            self._known.clear()
        count = self._known[word] = len(self._tokenizer.encode(word, add_special_tokens=False).ids)
        return count

    def _pieces(self, document: Document, structured: bool) -> Iterator[tuple[int, str]]:
        """(offset, text) of all passages; where the estimate was too low, a passage is cut once more, exactly."""
        splitter = self._splitters[structured, document.unit not in _ROWS]
        pieces = [
            (begin + start, text)
            for begin, end in _blocks(document.text)
            for start, text in splitter.chunk_indices(document.text[begin:end])
        ]
        encoded = self._tokenizer.encode_batch([text for _, text in pieces], add_special_tokens=False)
        for (start, text), tokens in zip(pieces, encoded, strict=True):
            if len(tokens.ids) <= self._capacity:
                yield start, text
            else:
                yield from ((start + offset, part) for offset, part in self._exact.chunk_indices(text))

    def chunk(self, document: Document) -> list[Span]:
        """Spans in the order of the text; `document.text[span.start:span.end]` is never empty."""
        structured = document.media_type not in _WITHOUT_HEADINGS
        headings = _headings(document.text) if structured else []
        offsets = [offset for offset, _ in document.places]
        numbers = [None, *(number for _, number in document.places)]
        return [
            Span(
                start,
                start + len(text),
                numbers[bisect.bisect_right(offsets, start)],
                numbers[bisect.bisect_left(offsets, start + len(text))],
                _path_at(headings, start),
            )
            for start, text in self._pieces(document, structured)
        ]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Where to cut a text first, at the best place within reach: the splitters take quadratic time over long lines."""
    begin = 0
    while len(text) - begin > _BLOCK:
        cuts = (text.rfind(mark, begin + _BLOCK // 2, begin + _BLOCK) + len(mark) for mark in ("\n\n", "\n", " "))
        end = next((cut for cut in cuts if cut > begin + _BLOCK // 2), begin + _BLOCK)
        yield begin, end
        begin = end
    yield begin, len(text)


def _headings(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """(offset, titles from the outermost down) of each Markdown heading outside of fenced code."""
    found: list[tuple[int, tuple[str, ...]]] = []
    path: list[tuple[int, str]] = []
    fenced = False
    for match in _HEADING.finditer(text):
        if match[1] is None:
            fenced = not fenced
        elif not fenced:
            level = len(match[1])
            path = [*(entry for entry in path if entry[0] < level), (level, match[2])]
            found.append((match.start(), tuple(title for _, title in path)))
    return found


def _path_at(headings: list[tuple[int, tuple[str, ...]]], offset: int) -> tuple[str, ...]:
    """The titles of the headings that an offset stands under, outermost first."""
    n = bisect.bisect_right(headings, offset, key=lambda heading: heading[0])
    return headings[n - 1][1] if n else ()
