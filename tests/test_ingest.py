"""What a sync does to a collection: nothing stored is lost, whatever lies in the folder."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from ingest import pipeline
from ingest.chunking import Chunker
from ingest.parsing import SUFFIXES, parse
from ingest.pipeline import Sync
from ingest.planning import plan
from ingest.reading import VERSION
from ingest.report import Report
from ingest.sources import CHANGED, find_files
from rag.errors import InputError, UnfinishedError
from rag.models import bundled_file
from rag.retrieval import EVERYTHING
from rag.schema import Filter
from tests.conftest import HashingEmbedder, pdf

CHUNKER = Chunker(bundled_file("embedder"))


class DirectReader:
    """Reads in this process, and counts; what `ingest.reading.Reader` does in a child."""

    def __init__(self):
        self.read_paths = []

    def read(self, path):
        self.read_paths.append(path.name)
        document = parse(path)
        return document, CHUNKER.chunk(document)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "documents"
    made.mkdir()
    for n in range(3):
        write(made / f"{n}.txt", f"Document {n} tells of boats.")
    return made


def write(file, text):
    """Write a file as it would lie there for a while: what has just changed is read again to be sure."""
    file.write_text(text)
    age(file)


def age(file, seconds=100):
    then = time.time() - seconds
    os.utime(file, (then, then))


@pytest.fixture
def reader():
    return DirectReader()


@pytest.fixture
def run(index, folder, reader):
    def run_sync(paths=None, tags=()):
        roots = paths or [folder]
        report = Report()
        reader.read_paths.clear()
        with index.writing():
            work = plan(index.catalog, find_files(roots, SUFFIXES), roots)
            Sync(index, reader, HashingEmbedder().embed_passages, report).run(work)
            index.catalog.tag([str(f.path) for f in find_files(roots, SUFFIXES)], add=tags)
        return report

    return run_sync


def stored(index):
    return {Path(d.sources[0]).name: d.text for d in index.catalog.documents()}


def test_passages_are_exact_in_the_collection(index, run):
    run()
    for document in index.catalog.documents():
        for passage in index.passages(index.catalog.passage_ids().tolist()).values():
            if passage.document_id == document.id:
                assert document.text[passage.start : passage.end] == passage.text


def test_a_sync_adds_changes_removes_and_leaves_alone(index, folder, run, reader):
    assert len(run().added) == 3
    assert run().unchanged == 3
    assert reader.read_paths == []
    write(folder / "0.txt", "A new text of another length.")
    (folder / "1.txt").unlink()
    write(folder / "3.txt", "A fourth.")
    report = run()
    assert [len(r) for r in (report.added, report.changed, report.removed)] == [1, 1, 1]
    assert stored(index) == {
        "0.txt": "A new text of another length.",
        "2.txt": "Document 2 tells of boats.",
        "3.txt": "A fourth.",
    }


def test_a_moved_file_is_moved_and_not_read(index, folder, run, reader):
    run(tags=["boats"])
    (folder / "inner").mkdir()
    (folder / "0.txt").rename(folder / "inner" / "new.txt")
    report = run()
    new, former = str(folder / "inner" / "new.txt"), str(folder / "0.txt")
    assert (report.moved, report.removed, report.added, reader.read_paths) == ({new: former}, [], [], [])
    assert str(folder / "inner" / "new.txt") in [d.sources[0] for d in index.catalog.documents()]
    assert len(index.matching(Filter(tags=("boats",)))) == 3, "its tags went with it"


def test_a_touched_file_is_hashed_and_not_read(index, folder, run, reader):
    run()
    age(folder / "0.txt", 50)
    report = run()
    assert (report.unchanged, reader.read_paths) == (3, [])


def test_a_change_of_the_same_size_within_the_same_tick_is_seen(index, folder, run):
    (folder / "0.txt").write_text("aaaa")
    then = time.time_ns()
    os.utime(folder / "0.txt", ns=(then, then))
    run()
    (folder / "0.txt").write_text("bbbb")
    os.utime(folder / "0.txt", ns=(then, then))
    run()
    assert stored(index)["0.txt"] == "bbbb"


def test_documents_of_an_older_reader_are_read_again(index, run, reader):
    run()
    index.catalog.db.execute("UPDATE documents SET reader = '1' WHERE text LIKE 'Document 1%'")
    before = index.catalog.passage_ids().tolist()
    assert len(run().changed) == 1
    assert reader.read_paths == ["1.txt"]
    assert index.catalog.passage_ids().tolist() != before
    assert set(index.catalog.readers().values()) == {VERSION}


def test_another_folder_is_left_alone(index, folder, run, tmp_path):
    run()
    other = tmp_path / "other"
    other.mkdir()
    write(other / "x.txt", "elsewhere")
    assert run([other]).removed == []
    assert len(stored(index)) == 4


def test_a_bad_file_is_quarantined_and_the_rest_goes_on(index, folder, run, reader):
    (folder / "bad.pdf").write_bytes(b"not a pdf")
    age(folder / "bad.pdf")
    report = run()
    reason = report.quarantined[str(folder / "bad.pdf")]
    assert len(report.added) == 3
    assert "PDF" in reason
    assert run().quarantined == {str(folder / "bad.pdf"): reason}
    assert reader.read_paths == [], "it did not change, so it is not tried again"
    (folder / "bad.pdf").write_bytes(pdf(["mended"]))
    assert run().quarantined == {}
    assert stored(index)["bad.pdf"] == "mended"


def test_quarantined_files_are_tried_again_by_another_reader(index, folder, run, reader):
    (folder / "bad.pdf").write_bytes(b"not a pdf")
    age(folder / "bad.pdf")
    run()
    index.catalog.set_meta("reader", "1")
    run()
    assert reader.read_paths == ["bad.pdf"]


def test_a_file_that_became_unreadable_keeps_what_was_read_before(index, folder, run):
    (folder / "a.pdf").write_bytes(pdf(["the old words"]))
    run()
    (folder / "a.pdf").write_bytes(b"half a downl")
    assert list(run().quarantined) == [str(folder / "a.pdf")]
    assert stored(index)["a.pdf"] == "the old words"
    assert list(run().quarantined) == [str(folder / "a.pdf")]


def test_a_file_that_changes_while_it_is_read_is_read_next_time(index, folder, run, reader, monkeypatch):
    def read(path):
        write(path, "And it grew.")
        return DirectReader().read(path)

    monkeypatch.setattr(reader, "read", read)
    (folder / "1.txt").unlink()
    (folder / "2.txt").unlink()
    assert list(run().quarantined.values()) == [CHANGED]
    monkeypatch.undo()
    run()
    assert stored(index) == {"0.txt": "And it grew."}


def test_equal_contents_are_stored_once(index, folder, run, reader):
    write(folder / "copy.txt", "Document 0 tells of boats.")
    run()
    assert reader.read_paths == ["0.txt", "1.txt", "2.txt"]
    assert len(stored(index)) == 3
    (folder / "0.txt").unlink()
    run()
    assert stored(index)["copy.txt"] == "Document 0 tells of boats."


def test_groups_of_documents_are_embedded_together(index, folder, reader, monkeypatch):
    sizes = []

    def embed(texts, on_progress):
        sizes.append(len(texts))
        on_progress(len(texts))
        return HashingEmbedder().embed_passages(texts)

    monkeypatch.setattr(pipeline, "_GROUP", 2)
    seen = []
    with index.writing():
        work = plan(index.catalog, find_files([folder], SUFFIXES), [folder])
        Sync(index, reader, embed, Report(), seen.append).run(work)
    assert sizes == [2, 1]
    assert [p.files for p in seen] == sorted(p.files for p in seen)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert {p.all_size for p in seen} == {size}
    assert [p.size for p in seen] == sorted(p.size for p in seen)
    assert seen[-1].size == size


def test_an_interruption_keeps_what_was_committed(index, folder, reader, monkeypatch):
    calls = []

    def embed(texts, on_progress):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return HashingEmbedder().embed_passages(texts)

    monkeypatch.setattr(pipeline, "_GROUP", 1)
    report = Report()
    work = plan(index.catalog, find_files([folder], SUFFIXES), [folder])
    with pytest.raises(KeyboardInterrupt), index.writing():
        Sync(index, reader, embed, report).run(work)
    assert sorted(stored(index)) == ["0.txt", "1.txt"]
    assert report.passages == 2
    with index.reading():
        assert len(index.search_lexical("boats", 9)) == 2


def test_missing_and_empty_folders_change_nothing(index, folder, run, tmp_path):
    run()
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="nothing was changed"):
        run()
    with pytest.raises(InputError, match="check the path"):
        run([tmp_path / "nowhere"])
    assert len(stored(index)) == 3


def test_odd_files_are_not_read(index, folder, run, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("outside")
    (folder / "link.txt").symlink_to(secret)
    (folder / "inside.txt").symlink_to(folder / "0.txt")
    os.mkfifo(folder / "pipe.txt")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / "image.png").write_bytes(b"png")
    (folder / "dangling.txt").symlink_to(folder / "nothing")
    reasons = {Path(p).name: r for p, r in run().quarantined.items()}
    assert reasons["link.txt"] == "it is a link to a file outside of the folder"
    assert reasons["pipe.txt"] == "it is not a regular file"
    assert reasons["dangling.txt"].startswith("it cannot be read")
    assert sorted(stored(index)) == ["0.txt", "1.txt", "2.txt"]


def test_an_unreadable_folder_loses_nothing(index, folder, run, monkeypatch):
    inner = folder / "inner"
    inner.mkdir()
    (inner / "deep.txt").write_text("Deep words.")
    run()

    def scandir(path, real=os.scandir):  # root may read everything, so permissions would not show it
        if os.fspath(path) == str(inner):
            raise PermissionError(13, "Permission denied", str(inner))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = run()
    assert (report.removed, report.quarantined) == ([], {str(inner): "the folder cannot be read: Permission denied"})
    assert stored(index)["deep.txt"] == "Deep words."
    monkeypatch.undo()
    assert run().quarantined == {}
    assert str(inner) not in index.catalog.sources()


def test_a_name_that_is_no_text_is_set_aside_and_the_rest_goes_on(index, folder, run):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("words")
    report = run()
    assert list(report.quarantined.values()) == ["its name is not valid UTF-8; rename it"]
    assert len(stored(index)) == 3


def test_filters_keep_what_they_say(index, folder, run):
    (folder / "old").mkdir()
    (folder / "old" / "rules.md").write_text("# Rules\n\nNo boats at night.")
    age(folder / "old" / "rules.md", 4000 * 86400)
    run(tags=["club"])
    index.catalog.tag([str(folder / "0.txt")], add=["mine"], remove=["club"])

    def names(**fields):
        passages = index.passages(index.catalog.matching(Filter(**fields)).tolist()).values()
        return sorted(Path(passage.source).name for passage in passages)

    assert names(folders=(str(folder / "old"),)) == names(types=("md",)) == names(types=(".MD",)) == ["rules.md"]
    assert names(folders=(str(folder / "ol"),)) == []
    assert names(tags=("club",)) == ["1.txt", "2.txt", "rules.md"]
    assert names(tags=("club", "mine"), types=("txt",)) == ["0.txt", "1.txt", "2.txt"]
    assert names(until="2020-12-31") == ["rules.md"]
    assert names(since="2020-12-31") == ["0.txt", "1.txt", "2.txt"]
    assert names(documents=(str(folder / "1.txt"),)) == ["1.txt"]
    assert index.matching(EVERYTHING) is None
    with index.reading():
        allowed = index.matching(Filter(types=("md",)))
        question = HashingEmbedder().embed_question("Document 0 tells of boats.")
        assert [i for i, _ in index.search_dense(question, 5, allowed)] == allowed.tolist()
        assert [i for i, _ in index.search_lexical("boats", 5, allowed)] == allowed.tolist()
        assert index.search_lexical("boats", 5, np.array([], dtype=np.int64)) == []


def test_a_file_that_takes_anothers_place_erases_it_and_keeps_its_tags(index, folder, run):
    run(tags=["keep"])
    (folder / "1.txt").rename(folder / "0.txt")
    report = run()
    assert (report.changed, report.removed, report.moved) == ([str(folder / "0.txt")], [str(folder / "1.txt")], {})
    assert stored(index) == {"0.txt": "Document 1 tells of boats.", "2.txt": "Document 2 tells of boats."}
    assert len(index.matching(Filter(tags=("keep",)))) == 2


def test_a_file_that_moved_before_an_upgrade_keeps_its_tags(index, folder, run, reader):
    run(tags=["keep"])
    index.catalog.db.execute("UPDATE documents SET reader = '1'")
    (folder / "1.txt").rename(folder / "9.txt")
    report = run()
    assert (list(report.moved), report.added, report.removed) == ([str(folder / "9.txt")], [], [])
    assert sorted(reader.read_paths) == ["0.txt", "2.txt", "9.txt"]
    assert len(index.matching(Filter(tags=("keep",)))) == 3


def test_a_reading_that_was_cut_short_is_tried_again(index, folder, run, reader, monkeypatch):
    def cut_short(path):
        raise UnfinishedError("killed")

    monkeypatch.setattr(reader, "read", cut_short)
    assert len(run().quarantined) == 3
    monkeypatch.undo()
    assert len(run().changed) == 3
    assert len(stored(index)) == 3


def test_files_that_were_named_stay_while_they_are_there(index, folder, run):
    write(folder / ".notes.txt", "Hidden words.")
    run([folder / ".notes.txt"])
    assert run().removed == []
    (folder / ".notes.txt").unlink()
    assert run().removed == [str(folder / ".notes.txt")]


def test_a_link_to_a_folder_is_said(folder, run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert run().quarantined == {str(folder / "link"): "it is a link to a folder; ingest that folder itself"}


def test_a_time_in_the_future_is_no_news(index, folder, run, reader):
    age(folder / "0.txt", -(10**6))
    run()
    run()
    assert reader.read_paths == []
    assert not plan(index.catalog, find_files([folder], SUFFIXES), [folder]).has_news
