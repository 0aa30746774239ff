"""Uploads: a name is only a wish, nothing is overwritten, equal bytes are recognised, and nobody else can read them."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsing import SUFFIXES
from ingest.sources import find_files
from rag.errors import InputError
from ui import uploads
from ui.uploads import folder_of, is_upload, safe_parts

ROOT = Path(__file__).parents[1]


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    return folder


def store(collection, *files):
    return uploads.store(collection, [(name, io.BytesIO(content)) for name, content in files])


def outcomes(taken):
    return [upload.outcome for upload in taken]


def kept(collection):
    """What a sync would find."""
    files = find_files([folder_of(collection)], SUFFIXES)
    return {str(f.path.relative_to(folder_of(collection))): f.path.read_bytes() for f in files}


def test_files_and_folders_are_kept_as_they_came(collection):
    taken = store(collection, ("a.txt", b"a"), ("trip/2024/b.md", b"b"), ("trip/c.PDF", b"c"))
    assert outcomes(taken) == ["stored"] * 3
    assert kept(collection) == {"a.txt": b"a", "trip/2024/b.md": b"b", "trip/c.PDF": b"c"}
    for path in folder_of(collection).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, "for their owner alone"


def test_another_file_of_the_same_name_gets_a_number(collection):
    store(collection, ("a.txt", b"1"))
    taken = store(collection, ("a.txt", b"2"), ("a.txt", b"3"), ("a.txt/b.txt", b"4"))
    assert outcomes(taken) == ["renamed", "renamed", "stored"]
    assert kept(collection) == {"a.txt": b"1", "a (2).txt": b"2", "a (3).txt": b"3", "a (4).txt/b.txt": b"4"}


def test_equal_bytes_are_kept_once(collection):
    (first,) = store(collection, ("a.txt", b"same"))
    taken = store(collection, ("a.txt", b"same"), ("other/b.txt", b"same"), ("c.txt", b"more"), ("d.txt", b"more"))
    assert outcomes(taken) == ["same", "same", "stored", "same"]
    assert taken[1].path == first.path
    assert set(kept(collection)) == {"a.txt", "c.txt"}


def test_what_cannot_be_a_document_is_not_kept(collection, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 3)
    taken = store(collection, ("a.exe", b"x"), ("b", b"x"), ("c.txt", b"long"), ("d.txt", b"ok"))
    assert outcomes(taken) == ["kind", "kind", "size", "stored"]
    assert set(kept(collection)) == {"d.txt"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("../../etc/passwd.txt", ("etc", "passwd.txt")),
        ("/etc/a.txt", ("etc", "a.txt")),
        ("C:\\Users\\me\\a.txt", ("C_", "Users", "me", "a.txt")),
        ("..", ("unnamed",)),
        ("", ("unnamed",)),
        ("./.hidden/.a.txt", ("hidden", "a.txt")),
        ("a\0b\n.txt", ("a_b_.txt",)),
        ("invoice\u202efdp.txt", ("invoice_fdp.txt",)),
        ("\ud800.txt", ("_.txt",)),
        ("防火 rules.pdf", ("防火 rules.pdf",)),
        ("<img src=x onerror=alert(1)>.txt", ("<img src=x onerror=alert(1)>.txt",)),
    ],
)
def test_names_are_made_safe(name, parts):
    assert safe_parts(name) == parts


@given(st.text(), st.sampled_from(sorted(SUFFIXES)))
def test_any_name_leads_to_a_place_inside_with_its_suffix(name, suffix):
    parts = safe_parts(name + "x" + suffix)
    assert parts[-1].endswith(suffix)
    for part in parts:
        assert part
        assert not part.startswith(".")
        assert not set(part) & {"/", "\\", "\0"}
        assert len(part.encode()) <= 200
    assert len(parts) <= 9


def test_long_names_keep_their_suffix(collection):
    (taken,) = store(collection, ("文" * 500 + ".pdf", b"x"))
    assert taken.path.suffix == ".pdf"
    assert taken.path.exists()
    (deep,) = store(collection, ("d/" * 3000 + "e.txt", b"y"))
    assert deep.path.exists()


def test_links_lead_nowhere(collection, tmp_path):
    """Nobody but us writes there; should a link be there all the same, it is not followed out."""
    store(collection, ("a.txt", b"1"))
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (folder_of(collection) / "b.txt").symlink_to(outside)
    (taken,) = store(collection, ("b.txt", b"2"))
    assert taken.outcome == "renamed"
    assert outside.read_text() == "mine"


def test_a_collection_that_is_gone_is_a_sentence_and_stays_gone(tmp_path):
    with pytest.raises(InputError, match="collection is still there"):
        store(tmp_path / "none", ("a.txt", b"x"))
    assert not (tmp_path / "none").exists()


def test_a_full_disk_loses_no_other_file(collection, monkeypatch):
    real = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    taken = store(collection, ("a.txt", b"1"), ("b.txt", b"2"))
    assert outcomes(taken) == ["failed", "stored"]
    assert taken[0].problem == "No space left on device"
    assert kept(collection) == {"b.txt": b"2"}
    assert not list(folder_of(collection).glob(".new-*"))


def test_two_at_once_never_take_the_same_name(collection):
    def work(n):
        for k in range(10):
            store(collection, ("a.txt", f"{n} {k}".encode()))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept(collection).values()) == sorted(f"{n} {k}".encode() for n in range(4) for k in range(10))


SLOW = """
import io, sys, time; from pathlib import Path; from ui import uploads
class Slow(io.BytesIO):
    def read(self, size=-1):
        print("reading", flush=True); time.sleep(0.05); return super().read(1000)
uploads.hashlib.file_digest = lambda stream, kind: uploads.hashlib.sha256(b"x")
print(uploads.store(Path(sys.argv[1]), [("a.txt", Slow(bytes(10**6)))]))
"""


def test_killed_while_storing_nothing_half_is_seen_and_the_rest_is_swept(collection):
    with subprocess.Popen([sys.executable, "-c", SLOW, str(collection)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert list(folder_of(collection).glob(".new-*")), "the test could not fail"
    with pytest.raises(InputError, match="holds no document"):
        kept(collection)
    store(collection, ("b.txt", b"2"))
    assert kept(collection) == {"b.txt": b"2"}
    assert not list(folder_of(collection).glob(".new-*"))


def test_deleting_takes_originals_and_nothing_else(collection, tmp_path):
    (one, two) = store(collection, ("trip/a.txt", b"1"), ("b.txt", b"2"))
    other = tmp_path / "c.txt"
    other.write_text("3")
    sneaky = folder_of(collection) / ".." / ".." / "c.txt"
    assert not is_upload(collection, sneaky)
    uploads.remove(collection, [one.path, other, sneaky])
    assert other.exists()
    assert two.path.exists()
    assert not one.path.parent.exists(), "an empty folder goes too"
    uploads.remove(collection, [one.path])
