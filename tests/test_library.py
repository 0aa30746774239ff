"""The commands about documents and collections, as they are typed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.parsing import SUFFIXES
from tests.bad_files import BAD_FILES, LIMITED, REASONS
from tests.conftest import EXAMPLES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "papers"
    (made / "old").mkdir(parents=True)
    (made / "tea.txt").write_text("The tea room serves soup.")
    (made / "tide.md").write_text("# Tides\n\nThe slipway floods at spring tide.")
    (made / "old" / "fees.csv").write_text("Who,Fee\nAdult,£4\nChild,£2\n")
    for file in made.rglob("*.*"):
        os.utime(file, (1e9, 1e9))
    return made


@pytest.fixture
def mine(rag, folder, request):
    """Run a command on a collection of its own, which holds the folder."""
    name = f"mine-{abs(hash(request.node.nodeid))}"
    place = ["--collection", name, "--quiet"]
    assert rag("ingest", folder, *place)[0] == 0

    def run(*arguments):
        return rag(*arguments, *place)

    run.name = name
    return run


def listed(mine, *arguments):
    return {Path(row["path"]).name: row for row in json.loads(mine("documents", "list", "--json", *arguments)[1])}


def test_ingest_says_what_it_did(rag, mine, folder):
    code, out, _ = mine("ingest", folder)
    assert (code, "3 unchanged" in out, "index Flat" in out) == (0, True, True)
    (folder / "tea.txt").rename(folder / "old" / "tea-room.txt")
    (folder / "tide.md").unlink()
    (folder / "page.html").write_text("<nav>Home</nav><p>Open at nine.</p><p style='display:none'>secret</p>")
    report = json.loads(mine("ingest", folder, "--json")[1])
    assert list(report["moved"].values()) == [str(folder / "tea.txt")]
    assert (report["added"], report["removed"]) == ([str(folder / "page.html")], [str(folder / "tide.md")])
    assert report["dropped"] == {str(folder / "page.html"): {"boilerplate": 4, "hidden": 6}}
    assert "left out: 6 hidden" in mine("documents", "list")[1]


def test_documents_are_listed_filtered_tagged_and_removed(mine, folder):
    assert listed(mine)["fees.csv"]["media_type"] == "text/csv"
    assert listed(mine)["tea.txt"]["date"] == "2001-09-09"
    assert set(listed(mine, "--folder", folder / "old")) == set(listed(mine, "--type", "csv")) == {"fees.csv"}
    assert "Tagged 1 files" in mine("documents", "tag", folder / "old", "--add", "money", "--add", "dull")[1]
    mine("documents", "tag", folder / "old" / "fees.csv", "--remove", "dull")
    assert listed(mine, "--with-tag", "money")["fees.csv"]["tags"] == ["money"]
    assert listed(mine, "--with-tag", "dull") == {}
    code, out, _ = mine("documents", "remove", folder / "old", listed(mine)["tea.txt"]["document"])
    assert (code, "Removed 2 files" in out, "still on the disk" in out) == (0, True, True)
    assert set(listed(mine)) == {"tide.md"}
    code, _, err = mine("documents", "remove", folder / "nothing")
    assert (code, "rag documents list" in err) == (2, True)


def test_filters_reach_the_search(mine, folder):
    found = json.loads(mine("search", "fee for the slipway soup", "--json", "--type", "csv")[1])
    assert [Path(p["passage"]["source"]).name for p in found] == ["fees.csv"]
    assert found[0]["passage"]["unit"] == "row"
    assert "rows 2 to 3" in mine("search", "fee for adults", "--type", "csv")[1]
    assert mine("search", "fee", "--since", "2030-01-01")[1] == ""
    code, _, err = mine("search", "fee", "--since", "yesterday")
    assert (code, "YYYY-MM-DD" in err) == (2, True)


def test_tags_at_ingest_stay_with_what_was_there_before(mine, folder):
    mine("ingest", folder, "--tag", "harbour")
    assert len(listed(mine, "--with-tag", "harbour")) == 3


def test_collections_are_made_carried_and_deleted(rag, mine, tmp_path):
    name, copy = mine.name, f"{mine.name}-copy"
    export = tmp_path / "export.openbook"
    assert rag("collections", "export", name, export)[0] == 0
    assert rag("collections", "import", export, copy)[0] == 0
    assert (
        rag("search", "soup", "--json", "--collection", copy)[1]
        == rag("search", "soup", "--json", "--collection", name)[1]
    )
    rows = {row["name"]: row for row in json.loads(rag("collections", "list", "--json")[1])}
    assert (rows[copy]["documents"], rows[copy]["index"]) == (3, "Flat")
    assert f"{copy}: 3 documents" in rag("collections", "list")[1]
    assert rag("collections", "delete", copy)[0] == 1
    assert rag("collections", "delete", copy, "--yes")[0] == 0
    assert rag("collections", "create", copy)[0] == 0
    assert rag("collections", "create", copy)[0] == 2
    assert rag("search", "soup", "--json", "--collection", copy)[1] == "[]\n"
    assert rag("collections", "delete", copy, "--yes")[0] == 0
    assert rag("collections", "import", tmp_path / "none", "../x")[0] == 2


def test_another_embedder_is_refused_with_the_command_that_helps(rag, mine, tmp_path, embedder):
    other = tmp_path / "other-embedder"
    embedder._model.save(str(other))
    (other / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": false}')
    for arguments in (["search", "soup"], ["ingest", EXAMPLES / "documents"]):
        code, _, err = mine(*arguments, "--embedder", other)
        assert (code, f"rag collections reembed {mine.name}" in err) == (4, True)
    assert rag("doctor", "--collection", mine.name, "--embedder", other)[0] == 1
    code, out, _ = rag("collections", "reembed", mine.name, "--embedder", other)
    assert (code, "3 passages" in out) == (0, True)
    found = json.loads(mine("search", "soup", "--json", "--embedder", other)[1])
    assert found[0]["passage"]["text"] == "The tea room serves soup."
    assert mine("search", "soup")[0] == 4
    assert rag("doctor", "--collection", mine.name, "--embedder", other)[0] == 0


def test_the_doctor_finds_and_repairs(rag, mine, home):
    assert "is whole" in mine("doctor")[1]
    for file in (home / "collections" / mine.name / "lexical").glob("*.term"):
        file.write_bytes(b"\0" * 50)
    code, out, _ = mine("doctor")
    assert (code, "rag doctor --repair" in out) == (1, True)
    assert json.loads(mine("doctor", "--repair", "--json")[1])[0]["repaired"] is True
    assert mine("doctor")[0] == 0


def test_every_bad_file_is_quarantined_with_its_reason_and_the_good_ones_are_read(rag, tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    for name, make in BAD_FILES.items():
        content = make()
        if Path(name).suffix in SUFFIXES and (REASONS[name] is not None or len(content) < 50_000):
            (folder / name).write_bytes(content)  # larger ones that can be read only take their time to be embedded
    (folder / "good.txt").write_text("A good text.")
    os.mkfifo(folder / "pipe.txt")
    (folder / "outside.txt").symlink_to("/etc/passwd")
    code, out, _ = rag("ingest", folder, "--collection", "bad", "--quiet", "--json")
    report = json.loads(out)
    reasons = {Path(path).name: reason for path, reason in report["quarantined"].items()}
    assert code == 3
    for name, pattern in REASONS.items():
        if pattern is None or not (folder / name).exists():
            assert name not in reasons
        else:
            assert re.search(pattern, reasons[name]) or name in LIMITED
    assert set(reasons) >= LIMITED
    assert {"pipe.txt", "outside.txt"} <= set(reasons)
    assert str(folder / "good.txt") in report["added"]
    assert "root:" not in rag("search", "root passwd", "--collection", "bad", "--json")[1]


def started(home, *arguments):
    command = [sys.executable, "-m", "ui.cli", *map(str, arguments), "--home", str(home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_watching_keeps_in_step(rag, home, folder):
    watcher = started(home, "ingest", folder, "--watch", "--collection", "watched", "--json")
    try:
        assert len(json.loads(watcher.stdout.readline())["added"]) == 3
        (folder / "new.txt").write_text("A new boat has come.")
        assert json.loads(watcher.stdout.readline())["added"] == [str(folder / "new.txt")]
        (folder / "new.txt").unlink()
        assert json.loads(watcher.stdout.readline())["removed"] == [str(folder / "new.txt")]
        moved = folder.rename(folder.with_name("away"))
        assert "check the path" in json.loads(watcher.stdout.readline())["problem"]
        moved.rename(folder)
        (folder / "tea.txt").write_text("The tea room is closed.")
        assert json.loads(watcher.stdout.readline())["changed"] == [str(folder / "tea.txt")]
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(30) == 0
        assert "no longer watching" in watcher.stderr.read()
    finally:
        watcher.kill()
        watcher.communicate()


def test_ctrl_c_keeps_what_was_stored_and_says_so(rag, home, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(400):
        (folder / f"{n:03}.txt").write_text(
            "\n\n".join(f"Boat {n} has {m} ribs of oak and elm." * 20 for m in range(5))
        )
    run = started(home, "ingest", folder, "--collection", "interrupted")
    catalog = home / "collections" / "interrupted" / "catalog.sqlite"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (catalog.exists() and catalog.stat().st_size > 300_000):
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == 130
    assert "Traceback" not in said
    stored = json.loads(rag("collections", "list", "--json")[1])
    documents = next(row["documents"] for row in stored if row["name"] == "interrupted")
    assert 0 < documents < 400
    told = int(re.search(r"interrupted; (\d+) documents were stored whole and are kept", said)[1])
    assert told in (documents, documents - 1), "it may come between a commit and the count"
    assert rag("doctor", "--collection", "interrupted")[0] == 0


def test_a_thousand_unchanged_files_are_not_opened(rag, tmp_path):
    folder = tmp_path / "thousand"
    folder.mkdir()
    for n in range(1000):
        file = folder / f"{n}.txt"
        file.write_text(f"note {n}")
        os.utime(file, (1e9, 1e9))
    place = ["--collection", "thousand", "--quiet", "--json"]
    assert len(json.loads(rag("ingest", folder, *place)[1])["added"]) == 1000
    for file in folder.iterdir():
        file.chmod(0)
    (folder / "0.txt").chmod(0o600)
    os.utime(folder / "0.txt", (2e9, 1.5e9))
    report = json.loads(rag("ingest", folder, *place)[1])
    assert (report["unchanged"], report["quarantined"]) == (1000, {})


def test_paths_may_be_relative(mine, folder, monkeypatch):
    monkeypatch.chdir(folder / "old")
    assert set(listed(mine, "--folder", "..")) == {"fees.csv", "tea.txt", "tide.md"}
    assert set(listed(mine, "--folder", "/")) == {"fees.csv", "tea.txt", "tide.md"}
    assert set(listed(mine, "--document", "../tea.txt")) == {"tea.txt"}
    assert "Removed 1 files" in mine("documents", "remove", "../tea.txt")[1]


@pytest.mark.parametrize("day", ["20240101", "2024-W01-1", "today"])
def test_days_are_written_in_one_way(mine, day):
    code, _, err = mine("documents", "list", "--since", day)
    assert (code, "YYYY-MM-DD" in err) == (2, True)


def test_a_tag_is_text(mine, folder):
    for arguments in (["documents", "tag", folder, "--add", "\udcff"], ["ingest", folder, "--tag", " "]):
        code, _, err = mine(*arguments)
        assert (code, "is no tag" in err) == (2, True)
