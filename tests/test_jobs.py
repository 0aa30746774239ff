"""Jobs in processes of their own: one at a time, seen from anywhere, ended at any moment with nothing lost."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rag.errors import InputError
from rag.index import LocalIndex, open_catalog
from rag.index.collections import delete, import_
from rag.settings import load_settings
from ui import folders, jobs
from ui.collections_panel import create
from ui.store import connect

ROOT = Path(__file__).parents[1]
MANY = 700  # more than are embedded together
ENDED = {"done", "failed", "stopped", "interrupted"}


@pytest.fixture
def settings(tmp_path):
    made = load_settings({"home": tmp_path / "home", "collection": "mine"}, environ={})
    create(made)
    yield made
    jobs.stop_all(made.home, "mine")


@pytest.fixture
def papers(tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "tea.txt").write_text("The tea room serves soup.")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nonsense")
    return folder


@pytest.fixture
def many(tmp_path):
    """Enough to be at work for some seconds."""
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(MANY):
        (folder / f"{n:03}.txt").write_text(f"File {n} speaks of oak, tar and tides.")
    return folder


def job_of(settings, number):
    return next(job for job in jobs.jobs(settings.home, settings.collection) if job.id == number)


def wait(settings, number, *states, seconds=90):
    deadline = time.monotonic() + seconds
    while (job := job_of(settings, number)).state not in (states or ENDED):
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def sync(settings, *folders):
    return jobs.start(settings, "sync", {"paths": [str(folder) for folder in folders]})


def stored(settings):
    with closing(open_catalog(settings.collection_dir)) as catalog:
        return {Path(path).name: source.document_id for path, source in catalog.sources().items()}


def wait_until_some_are_stored(settings, number):
    wait(settings, number, "running")
    while not stored(settings):
        assert job_of(settings, number).is_alive
        time.sleep(0.05)
    return job_of(settings, number)


def test_a_job_brings_documents_in_and_says_what_came_of_it(settings, papers):
    job = wait(settings, sync(settings, papers))
    assert (job.state, job.problem) == ("done", None)
    assert (job.report["added"], job.report["passages"], job.report["not_read"]) == (1, 1, 1)
    assert stored(settings)["tea.txt"]
    assert not stored(settings)["bad.pdf"]
    # What could not be read is read again when that is asked for.
    (papers / "bad.pdf").write_bytes((ROOT / "examples/documents/annual-report-2024.pdf").read_bytes())
    os.utime(papers / "bad.pdf", (1e9, 1e9))
    paths = {"paths": [str(papers / "bad.pdf"), str(papers / "gone.pdf")]}
    job = wait(settings, jobs.start(settings, "retry", paths))
    assert (job.state, job.report["not_read"]) == ("done", 0)
    assert stored(settings)["bad.pdf"]
    job = wait(settings, jobs.start(settings, "retry", {"paths": [str(papers / "gone.pdf")]}))
    assert job.state == "failed"
    assert "no longer there" in job.problem


def test_a_killed_job_is_seen_as_interrupted_and_goes_on_when_run_again(settings, many):
    number = sync(settings, many)
    os.kill(wait_until_some_are_stored(settings, number).pid, signal.SIGKILL)
    job = wait(settings, number)
    assert job.state == "interrupted"
    assert 0 < job.done < job.total
    assert 0 < len(stored(settings)) < MANY
    job = wait(settings, jobs.again(settings, job), seconds=180)
    assert job.state == "done"
    assert len(stored(settings)) == MANY
    assert jobs.find(settings.home, number) is None, "run again, it is another one"


def test_stopping_ends_a_job_in_order_and_what_it_stored_stays(settings, many):
    number = sync(settings, many)
    later = jobs.start(settings, "export")
    wait_until_some_are_stored(settings, number)
    assert job_of(settings, later).state == "waiting", "one at a time"
    jobs.stop(settings.home, number)
    assert wait(settings, number).state == "stopped"
    assert wait(settings, later).state == "done"
    with closing(LocalIndex(open_catalog(settings.collection_dir))) as index, index.reading():
        assert index.search_lexical("tides", 3), "it can be searched as it is"


def test_a_job_ends_with_the_process_that_started_it(settings, many):
    code = (
        "import sys, time; from pathlib import Path; from ui import jobs; from rag.settings import load_settings\n"
        "s = load_settings({'home': Path(sys.argv[1]), 'collection': 'mine'}, environ={})\n"
        "print(jobs.start(s, 'sync', {'paths': [sys.argv[2]]}), flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(settings.home), str(many)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        number = int(server.stdout.readline())
        wait(settings, number, "running")
        server.kill()
    assert wait(settings, number).state == "interrupted"


def test_a_job_waits_for_whoever_else_writes(settings, papers):
    with closing(LocalIndex(open_catalog(settings.collection_dir))) as index:
        with index.locked():
            number = sync(settings, papers)
            wait(settings, number, "running")
            wait(settings, number, "waiting")
        assert wait(settings, number).state == "done"


def test_a_collection_that_was_deleted_is_not_made_anew(settings, papers):
    with closing(LocalIndex(open_catalog(settings.collection_dir))) as index, index.locked():
        number = sync(settings, papers)
        wait(settings, number, "waiting", "running")
        settings.collection_dir.rename(settings.home / "elsewhere")
    job = wait(settings, number)
    assert job.state == "failed"
    assert "no collection" in job.problem or "deleted or replaced" in job.problem
    assert not (settings.collection_dir / "catalog.sqlite").exists()


def test_an_error_that_nobody_expected_is_a_sentence(settings):
    job = wait(settings, jobs.start(settings, "sync", {"no": "paths"}))
    assert job.state == "failed"
    assert job.problem == "The work ended unexpectedly (KeyError); its log says more. Run it again to go on."
    assert "Traceback" in (settings.home / "app" / "jobs" / f"{job.id}.log").read_text()


def test_all_jobs_end_before_a_collection_goes(settings, many):
    numbers = [
        sync(settings, many),
        jobs.start(settings, "export"),
        jobs.start(settings, "watch", {"paths": [str(many)]}),
    ]
    wait(settings, numbers[0], "running")
    folders.add(settings.home, "mine", str(many))
    jobs.stop_all(settings.home, "mine")
    assert {job.state for job in jobs.jobs(settings.home, "mine")} == {"stopped"}
    delete(settings.collection_dir)
    jobs.forget_collection(settings.home, "mine")
    folders.forget(settings.home, "mine")
    assert jobs.jobs(settings.home, "mine") == []
    assert folders.listed(settings.home, "mine") == []
    assert list((settings.home / "app" / "jobs").iterdir()) == []


def test_watching_follows_a_folder_also_one_that_comes_later(settings, papers):
    other = papers.with_name("later")
    number = jobs.start(settings, "watch", {"paths": [str(papers), str(other)]})
    assert jobs.start(settings, "watch", {"paths": [str(papers)]}) == number, "one watches"
    deadline = time.monotonic() + 180
    while not (problem := job_of(settings, number).problem):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert f"no file or folder {other}" in problem
    other.mkdir()
    (other / "new.txt").write_text("The slipway floods.")
    while "new.txt" not in stored(settings):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while job_of(settings, number).problem:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert wait(settings, sync(settings, papers)).state == "done", "others need not wait for who watches"
    jobs.stop(settings.home, number)
    assert wait(settings, number).state == "stopped"


def test_an_export_can_be_imported_and_is_removed_with_its_job(settings, papers):
    wait(settings, sync(settings, papers))
    number = jobs.start(settings, "export")
    assert wait(settings, number).state == "done"
    file = jobs.export_file(settings.home, number)
    assert file.stat().st_mode & 0o077 == 0
    import_(file, settings.home / "collections" / "copy")
    assert stored(replace(settings, collection="copy")) == stored(settings)
    jobs.forget(settings.home, number)
    assert not file.exists()


def test_an_embedder_that_is_the_same_has_nothing_to_do(settings):
    job = wait(settings, jobs.start(settings, "reembed"))
    assert (job.state, job.report["passages"]) == ("done", 0)


def test_equal_jobs_wait_once_and_not_too_many_wait(settings, many, monkeypatch):
    monkeypatch.setattr(jobs, "_WAITING", 2)
    wait(settings, sync(settings, many), "running")
    first, second = jobs.start(settings, "export"), sync(settings, many)
    assert jobs.start(settings, "export") == first
    assert sync(settings, many) == second
    with pytest.raises(InputError, match="2 jobs wait"):
        jobs.start(settings, "reembed")


def test_a_job_of_before_the_machine_went_off_is_interrupted(settings):
    with connect(settings.home) as db:
        db.execute(
            "INSERT INTO jobs (kind, collection, arguments, state, pid, created, changed)"
            " VALUES ('sync', 'mine', '{}', 'running', ?, 0, 0)",
            (os.getpid(),),  # a number that somebody else has by now
        )
    (job,) = jobs.jobs(settings.home, "mine")
    assert job.state == "interrupted"
    jobs.stop(settings.home, job.id)
    assert job_of(settings, job.id).state == "interrupted", "nobody is killed in its place"


def test_old_jobs_are_forgotten(settings, monkeypatch):
    monkeypatch.setattr(jobs, "_KEPT", 1)
    numbers = [jobs.start(settings, "export") for _ in range(3) if not time.sleep(0)]
    assert len(set(numbers)) == 1, "equal ones"
    for _ in range(3):
        wait(settings, jobs.start(settings, "export"))
    assert len(jobs.jobs(settings.home, "mine")) == 2
    assert len(list((settings.home / "app" / "jobs").glob("*.export"))) == 2


def test_folders_are_whole_paths_and_none_of_our_own(settings, papers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folders.add(settings.home, "mine", "  papers/../papers ") == papers
    assert folders.add(settings.home, "mine", str(papers)) == papers
    assert folders.listed(settings.home, "mine") == [papers]
    for wrong in ("", str(papers / "none"), str(papers / "tea.txt")):
        with pytest.raises(InputError, match="no folder"):
            folders.add(settings.home, "mine", wrong)
    for own in (settings.home, settings.collection_dir, tmp_path):
        with pytest.raises(InputError, match="own files"):
            folders.add(settings.home, "mine", str(own))
    hidden = replace(settings, home=tmp_path / ".hidden" / "home")
    assert folders.add(hidden.home, "mine", str(tmp_path)) == tmp_path, "a sync passes hidden folders over"
    folders.remove(settings.home, "mine", papers)
    assert folders.listed(settings.home, "mine") == []
