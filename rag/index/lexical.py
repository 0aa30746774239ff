"""BM25 over the catalogue's passages with tantivy. A cache on disk that records which state of the catalogue it shows.

Words are lower-cased, folded to ASCII and stemmed as English. Runs of Chinese, Japanese and Korean characters have no
spaces; they become overlapping pairs of characters, which on XQuAD-zh finds what whole runs do not.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tantivy

from rag.schema import Passage

_ANALYZER = "words_and_pairs"
_CJK_RUN = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿가-힣\U00020000-\U0003134f]+")
_STATE_FILE = "openbook-state"
_HEAP_BYTES = 50_000_000


def split_cjk(text: str) -> str:
    """Text whose runs of CJK characters are replaced by their overlapping pairs: 防火门 -> 防火 火门."""
    return _CJK_RUN.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


class LexicalIndex:
    """A tantivy index of (id, text) in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Open the index; one that is not there or damaged is empty until the next `update` makes it anew."""
        self._folder = folder
        folder.mkdir(exist_ok=True, mode=0o700)
        self._schema = (
            tantivy.SchemaBuilder()
            .add_integer_field("id", stored=True, indexed=True, fast=True)
            .add_text_field("text", tokenizer_name=_ANALYZER)
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
        """The index in the folder; None where it is damaged. tantivy reports damage as an error or as a panic."""
        try:
            index = tantivy.Index(self._schema, path=str(self._folder))
        except BaseException as error:  # a panic is no Exception, and its class cannot be imported
            if isinstance(error, ValueError) or type(error).__name__ == "PanicException":
                return None
            raise
        index.register_tokenizer(_ANALYZER, self._analyzer)
        return index

    def _start_anew(self) -> tantivy.Index:
        shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o700)
        index = tantivy.Index(self._schema, path=str(self._folder))
        index.register_tokenizer(_ANALYZER, self._analyzer)
        return index

    def state(self) -> str | None:
        """The catalogue's state that was last recorded with `update`; None where an update was cut off."""
        self._index = self._index or self._open()  # another process may have made a damaged one anew
        file = self._folder / _STATE_FILE
        return file.read_text(encoding="utf-8") if self._index and file.is_file() else None

    def ids(self) -> npt.NDArray[np.int64]:
        """The ids of all passages in the index, in no particular order."""
        if self._index is None:
            return np.array([], dtype=np.int64)
        self._index.reload()
        searcher = self._index.searcher()
        hits = searcher.search(tantivy.Query.all_query(), limit=max(1, searcher.num_docs)).hits
        return np.array(searcher.fast_field_values("id", [address for _, address in hits]), dtype=np.int64)

    def update(self, removed: Iterable[int], added: Iterable[Passage], state: str) -> None:
        """Remove and add passages and record the catalogue's state that the index shows then. For the writer only."""
        self._index = self._index or self._start_anew()
        (self._folder / _STATE_FILE).unlink(missing_ok=True)
        writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        for passage_id in removed:
            # The id is a signed field: tantivy-py 0.27 deletes nothing by a term of an unsigned one.
            writer.delete_documents_by_term("id", passage_id)
        for passage in added:
            document = tantivy.Document()
            document.add_integer("id", passage.id)
            document.add_text("text", split_cjk(passage.text))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        (self._folder / _STATE_FILE).write_text(state, encoding="utf-8")

    def search(self, text: str, k: int) -> list[tuple[int, float]]:
        """(id, BM25) of the k passages that match the text's words best, best first."""
        if self._index is None:
            return []
        self._index.reload()
        words = sorted(set(self._analyzer.analyze(split_cjk(text))))
        terms = [(tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "text", word)) for word in words]
        if not terms:
            return []
        searcher = self._index.searcher()
        hits = searcher.search(tantivy.Query.boolean_query(terms), limit=k).hits
        return [(int(searcher.doc(address)["id"][0]), float(score)) for score, address in hits]
