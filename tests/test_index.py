"""A collection on disk: what is committed is found, what is deleted is gone, and the caches follow the catalogue."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from rag.errors import CollectionError, LockedError, ModelError
from rag.index import open_index
from rag.index.lexical import split_cjk
from rag.index.records import Source
from rag.index.vectors import VectorIndex
from rag.retrieval import EVERYTHING
from tests.conftest import IDENTITY, HashingEmbedder

TEXTS = [
    "the tea room serves soup",
    "the slipway floods at spring tide",
    "工坊的防火门每天晚上关闭",
    "oak ribs are steamed for an hour",
]


def found(index, text, k=3, keep=EVERYTHING):
    """What vectors and what words find, in one committed state."""
    with index.reading():
        allowed = index.matching(keep)
        dense = index.search_dense(HashingEmbedder().embed_question(text), k, allowed)
        return dense, index.search_lexical(text, k, allowed)


def texts(index, hits):
    passages = index.passages([i for i, _ in hits])
    return [passages[i].text for i, _ in hits]


def reopened(index):
    return open_index(index.folder, IDENTITY)


def test_save_and_open_is_the_identity(index, put):
    put(index, TEXTS)
    again = reopened(index)
    for question in ("tea room soup", "spring tide", "防火门", "steamed oak"):
        assert found(again, question) == found(index, question)
    assert list(again.catalog.documents()) == list(index.catalog.documents())
    assert again.catalog.passages(range(9)) == index.catalog.passages(range(9))


def test_nearest_by_vector_and_by_word(index, put):
    put(index, TEXTS)
    dense, lexical = found(index, "the tea room")
    assert texts(index, dense)[0] == texts(index, lexical)[0] == TEXTS[0]
    assert texts(index, found(index, "防火")[1]) == [TEXTS[2]]
    assert found(index, "?!")[1] == []
    assert [score for _, score in dense] == sorted((score for _, score in dense), reverse=True)


def test_vectors_come_back_bit_for_bit(index, put):
    put(index, TEXTS)
    ids, vectors = next(index.catalog.vectors_between(0, 99))
    assert np.array_equal(vectors, HashingEmbedder().embed_passages(TEXTS))
    assert ids.tolist() == index.catalog.passage_ids().tolist() == [1, 2, 3, 4]


def test_a_removed_document_stops_answering_and_its_id_is_not_reused(index, put):
    put(index, TEXTS)
    with index.writing():
        index.catalog.remove_sources(["/doc3.txt"])
    put(index, ["a new one about oak"], prefix="new")
    dense, lexical = found(index, "steamed oak ribs", k=9)
    assert TEXTS[3] not in texts(index, dense) + texts(index, lexical)
    assert index.catalog.passage_ids().tolist() == [1, 2, 3, 5]
    assert TEXTS[3].encode() not in (index.folder / "catalog.sqlite").read_bytes()


def test_equal_contents_are_one_document_until_the_last_path_goes(index, put):
    put(index, TEXTS[:1])
    document_id = next(index.catalog.documents()).id
    with index.writing():
        index.catalog.put_source(Source("/copy.txt", 1, 1, document_id))
        assert next(index.catalog.documents()).sources == ("/copy.txt", "/doc0.txt")
        index.catalog.remove_sources(["/doc0.txt"])
        assert [d.sources for d in index.catalog.documents()] == [("/copy.txt",)]
        index.catalog.remove_sources(["/copy.txt"])
    assert found(index, "tea room") == ([], [])


def test_a_document_is_stored_whole_or_not_at_all(index, put):
    from rag.schema import Document, Span

    put(index, TEXTS[:1])
    before = index.catalog.state()
    document = Document("x", ("/x",), "t", "text/plain", "some text")
    with pytest.raises(ValueError, match="shorter"), index.writing():
        index.put_document(document, [Span(0, 4), Span(5, 9)], np.zeros((1, 64), np.float32), Source("/x", 1, 1, "x"))
    assert index.catalog.state() == before
    assert not index.catalog.has_document("x")


def test_a_reader_follows_what_another_process_commits(index, put):
    put(index, TEXTS[:2])
    reader = reopened(index)
    assert len(found(reader, "oak", 9)[0]) == 2
    put(index, TEXTS[3:], prefix="late")
    assert texts(reader, found(reader, "oak")[0])[0] == texts(reader, found(reader, "oak")[1])[0] == TEXTS[3]
    with index.writing():
        index.catalog.remove_sources(["/late0.txt"])
    assert TEXTS[3] not in texts(reader, found(reader, "oak", 9)[0])


@pytest.mark.parametrize("harm", ["gone", "state lost", "damaged", "cut off", "stale"])
def test_the_word_index_is_rebuilt_from_the_catalogue(index, put, harm):
    put(index, TEXTS[:3])
    folder = index.folder / "lexical"
    stale = index.folder.with_name("stale")
    shutil.copytree(folder, stale)
    put(index, TEXTS[3:], prefix="late")
    expected = found(index, "防火门 oak slipway", 9)
    index.close()
    if harm == "state lost":
        (folder / "state.json").unlink()
    elif harm == "damaged":
        (folder / "meta.json").write_text("{")
    elif harm == "cut off":
        for segment in folder.glob("*.store"):
            segment.write_bytes(segment.read_bytes()[:10])
        for segment in [*folder.glob("*.idx"), *folder.glob("*.term"), *folder.glob("*.fast")]:
            segment.write_bytes(b"")
    else:
        shutil.rmtree(folder)
        if harm == "stale":
            shutil.copytree(stale, folder)
    again = reopened(index)
    assert texts(again, found(again, "防火门 oak slipway", 9)[1]) == texts(again, expected[1])


def test_a_damaged_word_index_that_another_process_mended_is_taken_up(index, put):
    put(index, TEXTS[:3])
    meta = index.folder / "lexical" / "meta.json"
    whole = meta.read_text()
    meta.write_text("{")
    reader = reopened(index)
    assert reader._lexical.search("oak", 3) == []
    meta.write_text(whole)
    assert texts(reader, found(reader, "防火门")[1]) == [TEXTS[2]]
    assert len(reader._lexical.ids()) == 3


def test_there_is_one_writer_at_a_time(index):
    other = reopened(index)
    with index.writing(), pytest.raises(LockedError, match="wait until it ends"), other.writing():
        pass
    with other.writing():
        pass


def test_another_embedder_is_refused_and_changes_nothing(index, put):
    put(index, TEXTS)
    for key, value in (("weights_sha256", "1"), ("dimension", 32), ("configuration_sha256", "1")):
        with pytest.raises(ModelError, match="another embedder"):
            open_index(index.folder, IDENTITY | {key: value})
    assert open_index(index.folder, IDENTITY | {"name": "renamed"}).catalog.count() == 4


def test_what_is_no_collection_is_refused(tmp_path):
    with pytest.raises(CollectionError, match="rag ingest"):
        open_index(tmp_path / "nothing", IDENTITY)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "catalog.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(CollectionError, match="not a readable catalogue"):
        open_index(tmp_path, IDENTITY)
    assert (tmp_path / "catalog.sqlite").read_bytes() == b"no database at all" * 100


def test_another_format_is_refused(index):
    index.catalog.set_meta("format", "99")
    with pytest.raises(CollectionError, match="format 99"):
        reopened(index)


def test_folders_are_for_the_owner_alone(index):
    assert index.folder.stat().st_mode & 0o777 == 0o700


WRITER = """
import sys, itertools
from pathlib import Path
from rag.index import open_index
from rag.index.records import Source
from rag.index.vectors import VectorIndex
from rag.schema import Document, Span
from rag.retrieval import EVERYTHING
from tests.conftest import IDENTITY, HashingEmbedder
index = open_index(Path(sys.argv[1]), IDENTITY, create=True)
with index.writing():
    for n in itertools.count():
        text = f"document number {n} has two parts"
        spans = [Span(0, 10), Span(11, len(text))]
        vectors = HashingEmbedder().embed_passages([text[s.start:s.end] for s in spans])
        document = Document(str(n), (str(n),), "t", "text/plain", text)
        index.put_document(document, spans, vectors, Source(str(n), 1, 1, str(n)))
        print(n, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    """kill -9 is not a power cut; that the file system keeps what was flushed is taken for granted here."""
    folder = tmp_path / "collection"
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        acknowledged = -1
        while acknowledged < 7:
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        writer.wait()
        writer.stdout.close()
        index = open_index(folder, IDENTITY)
        documents = [int(d.id) for d in index.catalog.documents()]
        assert sorted(documents) in ([*range(acknowledged + 1)], [*range(acknowledged + 2)])
        assert index.catalog.count() == 2 * len(documents)
        assert len(found(index, "document number", 999)[1]) == len(documents)
        with index.writing():
            pass
        index.close()


def test_a_busy_catalogue_is_waited_for(index, put):
    put(index, TEXTS)
    other = sqlite3.connect(index.folder / "catalog.sqlite")
    other.execute("BEGIN IMMEDIATE")  # a writer in the middle of a transaction keeps no reader out
    assert len(found(reopened(index), "oak")[0]) == 3
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("防火门", "防火 火门"),
        ("开门 9点", "开门 9 点"),
        ("火", "火"),
        ("no change", "no change"),
        ("カタカナ", "カタ タカ カナ"),
    ],
)
def test_cjk_runs_become_pairs(text, words):
    assert split_cjk(text).split() == words.split()


def test_damage_inside_the_catalogue_is_a_sentence(index, put):
    put(index, [f"text {n} {'long ' * 300}" for n in range(50)])
    index.close()
    file = index.folder / "catalog.sqlite"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    file.write_bytes(content)
    with pytest.raises(CollectionError, match=r"restore it from a copy|check the disk"):
        found(reopened(index), "text")


def test_a_collection_keeps_its_first_embedder(index):
    with pytest.raises(ModelError):
        open_index(index.folder, IDENTITY | {"name": "late", "weights_sha256": "9"}, create=True)
    assert index.catalog.meta("embedder_weights_sha256") == "0"


def test_what_was_deleted_neither_answers_nor_is_written_to(index, put):
    put(index, TEXTS)
    late = reopened(index)
    shutil.rmtree(index.folder)
    with pytest.raises(CollectionError, match="deleted or replaced"):
        found(late, "oak")
    with pytest.raises(CollectionError, match="deleted or replaced"), late.writing():
        pass
    assert not index.folder.exists()
    open_index(index.folder, IDENTITY, create=True)
    with pytest.raises(CollectionError, match="deleted or replaced"), late.writing():
        pass


def test_a_collection_that_cannot_be_written_to_is_searched(index, put, monkeypatch):
    put(index, TEXTS)
    before = sorted((file, file.stat().st_mtime_ns) for file in index.folder.rglob("*"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    reader = reopened(index)
    assert texts(reader, found(reader, "steamed oak")[1]) == [TEXTS[3]]
    reader.close()
    assert sorted((file, file.stat().st_mtime_ns) for file in index.folder.rglob("*")) == before


def test_a_filter_finds_k_though_all_that_it_keeps_lies_in_lists_far_from_the_question():
    rng = np.random.default_rng(0)
    near, far = (rng.normal(size=(2000, 8)) + 9 * sign * np.eye(8)[0] for sign in (1, -1))
    rows = np.vstack([near, far]).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = VectorIndex(8, "IVF256,Flat", rows)
    index.add(np.arange(1, 4001), rows)
    found = index.search(rows[0], 10, np.arange(2001, 4001))
    assert len(found) == 10
    assert min(found) > 2000
