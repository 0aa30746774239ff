"""BM25 over the catalogue's passages with tantivy. A cache on disk that knows which state of the catalogue it shows.

Words are lower-cased, folded to ASCII and stemmed as English. Runs of Chinese, Japanese and Korean characters have no
spaces; they become overlapping pairs of characters, which on XQuAD-zh finds what whole runs do not.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tantivy

from rag.errors import CollectionError
from rag.index.records import EMPTY, Ids, State

_ANALYZER = "words_and_pairs"
_CJK_RUN = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿가-힣\U00020000-\U0003134f]+")
_SUMS = "checksums.json"
_STATE = "state.json"
_HEAP_BYTES = 50_000_000
_MOST_TERMS = 20_000  # ids that are listed in a query; above, hits are sifted afterwards

Texts = Iterable[tuple[int, str]]  # (passage id, text)


def split_cjk(text: str) -> str:
    """Text whose runs of CJK characters are replaced by their overlapping pairs: 防火门 -> 防火 火门."""
    return _CJK_RUN.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """tantivy reports damage as an error or as a panic, which is no Exception and whose class cannot be imported."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise ValueError(str(error)) from None
        raise


class LexicalIndex:
    """A tantivy index of (id, text) in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Open the index; one that is not there or damaged has no state until the next `update` makes it anew."""
        self._folder = folder
        self._schema = (
            tantivy.SchemaBuilder()
            .add_integer_field("id", stored=False, indexed=True, fast=True)
            .add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
            .build()
        )
        self._analyzer = (
            tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
            .filter(tantivy.Filter.lowercase())
            .filter(tantivy.Filter.ascii_fold())
            .filter(tantivy.Filter.stemmer("english"))
            .build()
        )
        self._index = self._open()

    def _open(self) -> tantivy.Index | None:
        """The index in the folder; None where there is none or it is damaged."""
        try:
            if not (self._folder / "meta.json").is_file():
                return None
            if any(_checksum(self._folder / name) not in (None, known) for name, known in self._sums().items()):
                return None
            with _panics_as_errors():
                return self._tantivy()
        except (ValueError, OSError):
            return None

    def _tantivy(self) -> tantivy.Index:
        index = tantivy.Index(self._schema, path=str(self._folder))
        index.register_tokenizer(_ANALYZER, self._analyzer)
        index.config_reader("manual")  # we say when to look for a commit; no thread does so behind our back
        return index

    def _sums(self) -> dict[str, str]:
        """The checksums of the files, none of which changes once it is written. Raises `ValueError`."""
        file = self._folder / _SUMS
        sums: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return sums

    def _record_sums(self) -> None:
        known = self._sums()
        names = [file.name for file in self._folder.glob("[!.]*.*") if file.suffix not in (".json", ".lock")]
        self._write(_SUMS, {name: known.get(name) or _checksum(self._folder / name) for name in names})

    def reset(self) -> None:
        """Throw everything away; the next `update` starts anew."""
        self._index = None
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def state(self) -> State | None:
        """The catalogue's state that the last `update` showed; None where there is none that is whole."""
        self._index = self._index or self._open()  # another process may have made a damaged one anew
        if self._index is None:
            return None
        try:
            recorded = json.loads((self._folder / _STATE).read_text(encoding="utf-8"))
            seq, token, count = recorded["before" if self._meta()["opstamp"] == recorded["opstamp"] else "after"]
            with _panics_as_errors():
                self._index.reload()
                whole = self._index.searcher().num_docs == count
        except (ValueError, KeyError, TypeError):
            self._index = None
            return None
        except OSError:
            return None
        return State(seq, token) if whole else None

    def _meta(self) -> Any:
        """tantivy's own list of its segments, which a commit replaces as a whole."""
        return json.loads((self._folder / "meta.json").read_text(encoding="utf-8"))

    def ids(self) -> Ids:
        """The ids of all passages in the index, ascending."""
        return np.sort(np.array([i for i, _ in self._addresses()], dtype=np.int64))

    def _addresses(self) -> list[tuple[int, tantivy.DocAddress]]:
        """(id, address) of all passages."""
        if self._index is None:
            return []
        self._index.reload()
        searcher = self._index.searcher()
        hits = searcher.search(tantivy.Query.all_query(), limit=max(1, searcher.num_docs)).hits
        addresses = [address for _, address in hits]
        return list(zip(_ids(searcher, addresses), addresses, strict=True))

    def update(self, removed: Iterable[int], added: Texts, state: State, count: int) -> None:
        """Remove and add passages; show this state, of so many passages, then. For the writer only.

        Raises `CollectionError`.
        """
        try:
            with _panics_as_errors():
                self._update(removed, added, state, count)
        except (ValueError, OSError) as error:
            raise CollectionError(
                f"The word index in {self._folder} cannot be written ({error}); check the disk, then run it again."
            ) from error

    def purge(self, texts: Callable[[Sequence[int]], Texts]) -> None:
        """Write those segments anew that passages were removed from, so that no word of theirs is left in a file.

        `texts` gives the texts of passages that are stored. For the writer only. Raises `CollectionError`.
        """
        state = self.state()
        if state is None or not (dirty := self._dirty_segments()):
            return
        addresses = self._addresses()
        ids = [i for i, address in addresses if address.segment_ord in dirty]
        self.update(ids, texts(ids), state, len(addresses))
        if self._dirty_segments():  # tantivy counts its segments in another way than it lists them
            self.reset()
            self.update([], texts([i for i, _ in addresses]), state, len(addresses))

    def _dirty_segments(self) -> set[int]:
        return {n for n, segment in enumerate(self._meta()["segments"]) if segment["deletes"]}

    def _update(self, removed: Iterable[int], added: Texts, state: State, count: int) -> None:
        before = self.state()
        if before is None or self._index is None:
            self.reset()
            self._folder.mkdir(mode=0o700)
            self._index = self._tantivy()
        writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        writer.garbage_collect_files()  # a file of a commit that was cut off would be in the way of the next one
        for passage_id in removed:
            # The id is a signed field: tantivy-py 0.27 deletes nothing by a term of an unsigned one.
            writer.delete_documents_by_term("id", passage_id)
        for passage_id, text in added:
            document = tantivy.Document()
            document.add_integer("id", passage_id)
            document.add_text("text", split_cjk(text))
            writer.add_document(document)
        # Written first: a commit changes the stamp, and with it which of the two states holds.
        former = [*(before or EMPTY), self._index.searcher().num_docs]
        stamp = self._meta()["opstamp"]
        self._write(_STATE, {"opstamp": stamp, "before": former, "after": [*state, count]})
        writer.commit()
        writer.wait_merging_threads()
        self._record_sums()

    def _write(self, name: str, value: object) -> None:
        aside = self._folder / f".{name}.new"
        aside.write_text(json.dumps(value), encoding="utf-8")
        aside.replace(self._folder / name)

    def search(self, text: str, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """(id, BM25) of the k passages that match the text's words best, best first; of these ids only, if given."""
        words = sorted(set(self._analyzer.analyze(split_cjk(text))))
        if self._index is None or not words or (allowed is not None and not len(allowed)):
            return []
        query = tantivy.Query.boolean_query([(tantivy.Occur.Should, self._term(word)) for word in words])
        if allowed is None:
            return self._search(query, k)
        if len(allowed) <= _MOST_TERMS:
            wanted = tantivy.Query.term_set_query(self._schema, "id", allowed.tolist())
            must = [query, tantivy.Query.const_score_query(wanted, 0.0)]
            return self._search(tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in must]), k)
        limit = k
        while True:
            hits = self._search(query, limit)
            kept = [hits[n] for n in np.flatnonzero(np.isin([i for i, _ in hits], allowed, assume_unique=True))]
            if len(kept) >= k or len(hits) < limit:
                return kept[:k]
            limit *= 4

    def _term(self, word: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, "text", word)

    def _search(self, query: tantivy.Query, limit: int) -> list[tuple[int, float]]:
        if self._index is None:
            return []
        searcher = self._index.searcher()
        hits = searcher.search(query, limit=limit, count=False).hits
        ids = _ids(searcher, [address for _, address in hits])
        return [(i, float(score)) for i, (score, _) in zip(ids, hits, strict=True)]


def _ids(searcher: tantivy.Searcher, addresses: list[tantivy.DocAddress]) -> list[int]:
    return [int(str(i)) for i in searcher.fast_field_values("id", addresses)]


def _checksum(file: Path) -> str | None:
    """The sha256 of a file; None where it is gone, since a merge of segments may have taken it."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return None
