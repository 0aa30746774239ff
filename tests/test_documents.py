"""What the documents tell people to type exists, and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from rag.settings import NAMES
from ui.cli import _parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page):
    """The lines of its shell blocks."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        yield from block.splitlines()


def rag_commands():
    for page in PAGES:
        for line in commands(page):
            if line.startswith("rag "):
                yield pytest.param(shlex.split(line, comments=True)[1:], id=line[:50])


@pytest.mark.parametrize("arguments", list(rag_commands()))
def test_every_command_is_understood(arguments):
    assert callable(_parser().parse_args(arguments).run)


def test_there_are_commands_to_check():
    assert len(list(rag_commands())) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for line in commands(page) for word in re.findall(r"^make ([a-z]+)", line)}
    assert {"demo", "ui"} <= named <= targets


def test_every_setting_is_in_the_guide():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if f"`{name}`" not in guide]


def test_the_map_of_the_files_is_true():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("## Map of the files")[1].split("```")[1]
    folder = ROOT
    for line in readme.strip().splitlines():
        for name in re.findall(r"^ *([\w./]+)|, ([\w.]+)(?=  )", line):
            path = name[0] or name[1]
            if not line.startswith(" "):
                folder = ROOT / path
                assert folder.is_dir(), line
            else:
                assert (folder / path).exists(), line


def test_nothing_is_left_to_fill_in():
    assert not [page.name for page in PAGES if "@@" in page.read_text(encoding="utf-8")]
