"""The page "Documents" in Streamlit's own test harness: collections, uploads, the list, search, and hostile names."""

import errno
import os
import shutil
import time
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from rag.index import LocalIndex, open_catalog
from rag.index.collections import holdings
from rag.schema import Filter
from rag.settings import default_home
from tests.conftest import EXAMPLES, pdf
from ui import adding_panel, folders, jobs, resources
from ui.documents_panel import state_of
from ui.words import texts

PAGE = str(Path(__file__).parents[1] / "ui" / "pages" / "documents.py")
HOSTILE = '<img src=x onerror="alert(1)"> ![x](https:__evil.example_x.png) [a](javascript:alert(1)).txt'


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A home of its own without any collection."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(default_home() / "models")
    monkeypatch.setenv("RAG_HOME", str(home))
    resources.clear()
    yield home
    for folder in (home / "collections").glob("[!.]*"):
        jobs.stop_all(home, folder.name)
    resources.clear()


@pytest.fixture
def page(here):
    return AppTest.from_file(PAGE, default_timeout=60).run()


def button(page, label, n=0):
    return [b for b in page.button if b.label == label][n]


def written(page):
    return " ".join(element.proto.body for element in page.get("html"))


def no_trouble(page):
    assert not page.exception
    assert 'role="alert"' not in written(page)


def settled(page, home, collection="default"):
    """The page when all jobs have ended."""
    deadline = time.monotonic() + 180
    while any(job.is_alive for job in jobs.jobs(home, collection)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    page.run()
    no_trouble(page)
    return page


def upload(page, *files):
    page.file_uploader[0].set_value([(name, content, "application/octet-stream") for name, content in files]).run()
    return page


def rows(home, collection="default"):
    with closing(open_catalog(home / "collections" / collection)) as catalog:
        return list(holdings(catalog, Filter()))


def choose(page, *positions):
    """Choose rows of the table, as a click does."""
    key = page.dataframe[0].key
    page.session_state[key] = {"selection": {"rows": list(positions), "columns": [], "cells": []}}
    page.run()
    no_trouble(page)
    return page


def test_from_nothing_to_a_list_and_back(page, here):
    no_trouble(page)
    assert texts()["documents-begin"]["en"] in written(page)
    upload(page, ("tea.txt", b"The tea room serves soup."), ("copy.txt", b"The tea room serves soup."))
    no_trouble(page)
    assert "1 new files are stored." in written(page)
    assert "copy.txt: the same contents are here already, as tea.txt" in written(page)
    settled(page, here)
    (row,) = rows(here)
    original = here / "collections" / "default" / "files" / "tea.txt"
    assert row.path == str(original)
    assert state_of(row) == "ready"
    assert page.session_state["collection"] == "default"
    assert list(page.dataframe[0].value["Name"]) == ["tea.txt"]
    assert any("1 added" in text.value for text in page.text)
    choose(page, 0)
    button(page, "Delete now").click().run()
    no_trouble(page)
    assert rows(here) == []
    assert not original.exists(), "an upload's original goes with it"


def test_what_cannot_be_read_says_why_and_can_be_tried_again(page, here):
    upload(page, ("report.pdf", b"%PDF-1.7 nonsense"), ("a.exe", b"x"))
    assert "a.exe: not stored, files of this kind cannot be read" in written(page)
    settled(page, here)
    assert list(page.dataframe[0].value["State"]) == ["✕ not read"]
    assert "not a PDF" in page.dataframe[0].value["Why not read"][0]
    key = page.dataframe[0].key
    page.session_state[key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    page.run()
    assert "Not read: it is damaged or not a PDF." in written(page)
    (here / "collections" / "default" / "files" / "report.pdf").write_bytes(pdf(["Now it is one."]))
    button(page, "Try again").click().run()
    settled(page, here)
    assert state_of(rows(here)[0]) == "ready"
    assert rows(here)[0].places == 1


def test_tags_are_added_found_and_removed(page, here):
    settled(upload(page, ("a.txt", b"Oak."), ("b.txt", b"Tar.")), here)
    choose(page, 0)
    page.text_input[-1].set_value("wood, old ")
    button(page, "Save").click().run()
    no_trouble(page)
    assert {row.path[-5:]: row.tags for row in rows(here)} == {"a.txt": ("old", "wood"), "b.txt": ()}
    page.multiselect(key="documents-tags").set_value(["wood"]).run()
    assert list(page.dataframe[0].value["Name"]) == ["a.txt"]
    choose(page, 0)
    page.multiselect[-1].set_value(["old"])
    button(page, "Save").click().run()
    assert rows(here)[0].tags == ("wood",)
    page.multiselect(key="documents-tags").set_value([]).run()
    page.text_input(key="documents-filter").set_value("B.TX").run()
    assert list(page.dataframe[0].value["Name"]) == ["b.txt"]
    page.text_input(key="documents-filter").set_value("nothing like it").run()
    assert texts()["documents-none-match"]["en"] in written(page)


def test_collections_are_made_chosen_exported_and_deleted(page, here):
    page.text_input(key="documents-new-name").set_value("wrong/name")
    button(page, "Create").click().run()
    assert not page.exception
    assert "cannot be used" in written(page)
    page.text_input(key="documents-new-name").set_value("boats")
    button(page, "Create").click().run()
    no_trouble(page)
    assert (page.session_state["collection"], page.selectbox[0].value) == ("boats", "boats")
    button(page, "Create").click().run()
    assert "already" in written(page)
    page.text_input(key="documents-new-name").set_value("tides")
    button(page, "Create").click().run()
    assert page.selectbox[0].value == "tides"
    page.selectbox[0].set_value("boats").run()
    assert page.session_state["collection"] == "boats"
    button(page, "Export").click().run()
    settled(page, here, "boats")
    assert any("The export is ready" in text.value for text in page.text)
    assert page.download_button[0].label == "Download"
    button(page, "Dismiss").click().run()
    assert jobs.jobs(here, "boats") == []
    button(page, "Embed again").click().run()
    settled(page, here, "boats")
    assert [(job.kind, job.state) for job in jobs.jobs(here, "boats")] == [("reembed", "done")]
    assert button(page, "Delete collection").disabled
    page.checkbox[0].check().run()
    button(page, "Delete collection").click().run()
    no_trouble(page)
    assert resources.collections() == ["tides"]
    assert page.selectbox[0].value == "tides"


def test_a_collection_that_somebody_else_deletes_is_no_trouble(page, here):
    settled(upload(page, ("a.txt", b"Oak.")), here)
    shutil.rmtree(here / "collections" / "default")
    page.run()
    no_trouble(page)
    assert texts()["documents-begin"]["en"] in written(page)


def test_a_synced_folder_comes_in_and_goes_out_again(page, here, tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "tea.txt").write_text("The tea room serves soup.")
    settled(upload(page, ("a.txt", b"Oak.")), here)
    page.session_state["documents-tab"] = texts()["documents-tab-add"]["en"]
    page.run()
    page.text_input(key="documents-folder-path").set_value(str(tmp_path / "none"))
    button(page, "Add and sync").click().run()
    assert "There is no folder" in written(page)
    page.text_input(key="documents-folder-path").set_value(str(folder))
    button(page, "Add and sync").click().run()
    settled(page, here)
    assert len(rows(here)) == 2
    button(page, "Keep in step").click().run()
    no_trouble(page)
    assert button(page, "Keep in step no longer")
    (folder / "tide.txt").write_text("The slipway floods.")
    deadline = time.monotonic() + 180
    while len(rows(here)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    page.run()
    button(page, "Keep in step no longer").click().run()
    settled(page, here)
    with closing(LocalIndex(open_catalog(here / "collections" / "default"))) as index, index.locked():
        button(page, "Forget its documents").click().run()
    assert "Another process is writing" in written(page)
    assert len(rows(here)) == 3
    assert folders.listed(here, "default") == [folder], "it is there to try again"
    button(page, "Forget its documents").click().run()
    no_trouble(page)
    assert [Path(row.path).name for row in rows(here)] == ["a.txt"]
    assert (folder / "tea.txt").exists()
    assert folders.listed(here, "default") == []


def test_deleting_while_somebody_writes_is_a_sentence_and_loses_nothing(page, here):
    settled(upload(page, ("a.txt", b"Oak.")), here)
    choose(page, 0)
    with closing(LocalIndex(open_catalog(here / "collections" / "default"))) as index, index.locked():
        button(page, "Delete now").click().run()
    assert not page.exception
    assert "Another process is writing" in written(page)
    assert (here / "collections" / "default" / "files" / "a.txt").exists()
    assert len(rows(here)) == 1


def test_a_disk_that_refuses_an_upload_is_a_sentence(page, here, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "files/a.txt")

    monkeypatch.setattr(adding_panel, "create", full)
    upload(page, ("a.txt", b"Oak."))
    assert not page.exception
    assert "files/a.txt cannot be used (No space left on device)" in written(page)
    page.run()
    no_trouble(page)


def test_search_shows_passages_with_their_scores_and_opens_one(page, here):
    files = [(f.name, f.read_bytes()) for f in (EXAMPLES / "documents" / "website").iterdir()]
    settled(upload(page, *files), here)
    page.session_state["documents-tab"] = texts()["documents-tab-search"]["en"]
    page.run()
    page.text_input[-1].set_value(" ")
    button(page, "Search").click().run()
    assert "ask something" in written(page)
    page.text_input[-1].set_value("Who runs the tea room?")
    button(page, "Search").click().run(timeout=180)
    no_trouble(page)
    assert "run by Dorothy Blythe" in written(page)
    assert "cosine 0." in written(page)
    assert "BM25" in written(page)
    button(page, "Open").click().run()
    no_trouble(page)
    assert len(page.get("bidi_component")) == 1, "the viewer"
    button(page, "Back to the documents").click().run()
    assert "run by Dorothy Blythe" in written(page), "where the person was before"


def test_a_hostile_name_and_document_stay_text(page, here):
    hostile = b"# <script>alert(1)</script>\n\n![x](https://evil.example/x.png) [a](javascript:alert(1)) oak"
    settled(upload(page, (HOSTILE, hostile), ("b.exe <script>", b"x")), here)
    assert "<script>" not in written(page)
    choose(page, 0)
    page.run()
    for tag in ("<img", "<script", "href="):
        assert tag not in written(page)
    assert not any("evil" in element.value for element in page.markdown)
    assert "&lt;img src=x onerror=" in written(page), "the name is shown"


def test_a_damaged_settings_or_store_is_a_sentence(here, monkeypatch):
    monkeypatch.setenv("RAG_TOP_K", "many")
    resources.clear()
    page = AppTest.from_file(PAGE, default_timeout=60).run()
    assert not page.exception
    assert "top_k" in written(page)
    monkeypatch.delenv("RAG_TOP_K")
    resources.clear()
    (here / "app").mkdir()
    (here / "app" / "app.sqlite").write_bytes(b"no database" * 1000)
    page.run()
    page.text_input(key="documents-new-name").set_value("boats")
    button(page, "Create").click().run()
    assert not page.exception
    assert "move it away" in written(page)
    (here / "app" / "app.sqlite").unlink()


def test_all_words_are_there_in_chinese(here, monkeypatch):
    from streamlit.runtime.context import ContextProxy

    monkeypatch.setattr(ContextProxy, "locale", property(lambda _: "zh-CN"))
    page = AppTest.from_file(PAGE, default_timeout=60).run()
    no_trouble(page)
    assert page.title[0].value == "文档"
    settled(upload(page, ("a.txt", b"Oak.")), here)
    assert list(page.dataframe[0].value["状态"]) == ["✓ 可用"]
