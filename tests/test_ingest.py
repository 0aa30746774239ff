"""What a sync does to a collection: nothing stored is lost, whatever lies in the folder."""

import os

import pytest

from ingest.chunking import Chunker
from ingest.parsing import SUFFIXES
from ingest.pipeline import sync
from ingest.sources import find_files
from rag.errors import InputError
from rag.models import bundled_file
from tests.conftest import HashingEmbedder, pdf

CHUNKER = Chunker(bundled_file("embedder"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "documents"
    made.mkdir()
    for n in range(3):
        (made / f"{n}.txt").write_text(f"Document {n} tells of boats.")
    return made


@pytest.fixture
def run(index, folder):
    def run_sync(paths=None):
        roots = paths or [folder]
        with index.writing():
            return sync(find_files(roots, SUFFIXES), roots, index, lambda: (CHUNKER, HashingEmbedder()))

    return run_sync


def stored(index):
    return {os.path.basename(d.sources[0]): d.text for d in index.catalog.documents()}  # noqa: PTH119


def test_passages_are_exact_in_the_collection(index, run):
    run()
    for document in index.catalog.documents():
        for passage in index.passages(index.catalog.passage_ids().tolist()).values():
            if passage.document_id == document.id:
                assert document.text[passage.start : passage.end] == passage.text


def test_a_sync_adds_changes_removes_and_leaves_alone(index, folder, run):
    assert len(run().added) == 3
    assert run().unchanged == 3
    (folder / "0.txt").write_text("A new text of another length.")
    (folder / "1.txt").unlink()
    (folder / "3.txt").write_text("A fourth.")
    report = run()
    assert [len(r) for r in (report.added, report.changed, report.removed)] == [1, 1, 1]
    assert stored(index) == {
        "0.txt": "A new text of another length.",
        "2.txt": "Document 2 tells of boats.",
        "3.txt": "A fourth.",
    }


def test_another_folder_is_left_alone(index, folder, run, tmp_path):
    run()
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text("elsewhere")
    assert run([other]).removed == []
    assert len(stored(index)) == 4


def test_a_bad_file_is_quarantined_and_the_rest_goes_on(index, folder, run):
    (folder / "bad.pdf").write_bytes(b"not a pdf")
    report = run()
    assert (len(report.added), list(report.quarantined.values())) == (3, ["it is damaged or not a PDF"])
    (folder / "bad.pdf").write_bytes(pdf(["mended"]))
    assert run().quarantined == {}
    assert stored(index)["bad.pdf"] == "mended"


def test_a_file_that_became_unreadable_keeps_what_was_read_before(index, folder, run):
    (folder / "a.pdf").write_bytes(pdf(["the old words"]))
    run()
    (folder / "a.pdf").write_bytes(b"half a downl")
    assert list(run().quarantined) == [str(folder / "a.pdf")]
    assert stored(index)["a.pdf"] == "the old words"
    assert list(run().quarantined) == [str(folder / "a.pdf")], "it is tried again each time"


def test_equal_contents_are_stored_once(index, folder, run):
    (folder / "copy.txt").write_text("Document 0 tells of boats.")
    run()
    assert len(stored(index)) == 3
    (folder / "0.txt").unlink()
    run()
    assert stored(index)["copy.txt"] == "Document 0 tells of boats."


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
    reasons = {os.path.basename(p): r for p, r in run().quarantined.items()}  # noqa: PTH119
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
