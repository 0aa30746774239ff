"""Kills, damage and full disks: `tests/torture.py` in short, and at length with `make torture`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def torture(deed, rounds, seed=0):
    command = [sys.executable, "-m", "tests.torture", deed, "--rounds", str(rounds), "--seed", str(seed)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, cwd=ROOT)


def passes(deed, rounds, seed=0):
    done = torture(deed, rounds, seed)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_nothing_acknowledged_is_lost_and_no_phantom_appears():
    assert passes("kills", 40) == "40\n"


def test_the_harness_finds_a_store_that_writes_its_index_in_place():
    done = torture("naive", 100)
    assert "the index does not show the catalogue's state" in done.stderr


def test_damage_changes_no_answer_or_is_seen():
    outcomes = dict(re.findall(r"'([a-z ]+)': (\d+)", passes("damage", 60)))
    assert set(outcomes) == {"same", "a sentence", "seen by the doctor"}


def test_a_full_disk_is_said_and_loses_nothing():
    assert int(passes("full", 8)) > 0


def test_a_disk_that_is_really_full(tmp_path):
    mounted = f"mount -t tmpfs -o size=8m none {tmp_path}"
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "sh", "-c", mounted]).returncode:
        pytest.skip("no file system can be mounted here")
    command = f"{mounted} && exec {sys.executable} -m tests.torture full --rounds 8 --disk {tmp_path}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 0


def test_readers_see_committed_states_only():
    assert int(passes("readers", 60)) > 3


def test_any_order_of_deeds_agrees_with_a_dict():
    passes("machine", 4)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(4))
def test_at_length(seed):
    assert passes("kills", 250, seed) == "250\n"
    passes("damage", 300, seed)
    passes("full", 50, seed)


@pytest.mark.torture
def test_any_order_at_length():
    passes("machine", 100)
