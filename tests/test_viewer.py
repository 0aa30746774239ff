"""The document viewer: a page's picture with the right words boxed, and stored text where there is no such picture."""

import hashlib
import struct
import zlib
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from reportlab.pdfgen.canvas import Canvas
from streamlit.testing.v1 import AppTest

from ingest.drawing import draw_page
from ingest.parsing import parse
from ingest.parsing.pdf_page import png
from ingest.reading import Limits
from rag.errors import ParseError
from rag.index import open_catalog
from rag.index.collections import holdings
from rag.schema import Filter
from tests.bad_files import BAD_FILES
from tests.conftest import EXAMPLES, pdf
from ui import resources, viewer
from ui.viewer.text import window
from ui.words import texts

REPORT = EXAMPLES / "documents" / "annual-report-2024.pdf"


def pixels(picture):
    """The pixels (height, width, 3) of a PNG as `png` writes it."""
    chunks, at = {}, 8
    while at < len(picture):
        size, kind = struct.unpack(">I4s", picture[at : at + 8])
        content = picture[at + 8 : at + 8 + size]
        assert struct.unpack(">I", picture[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + content)
        chunks[kind] = content
        at += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def boxed(picture):
    """The rows of pixels and the columns that have a box's colour."""
    is_box = (pixels(picture) == (255, 170, 0)).all(axis=2)
    return np.flatnonzero(is_box.any(axis=1)), np.flatnonzero(is_box.any(axis=0))


def page_of(document, offset):
    starts = [start for start, _ in document.places]
    n = max(i for i, start in enumerate(starts) if start <= offset)
    end = starts[n + 1] if n + 1 < len(starts) else len(document.text)
    return document.places[n][1], starts[n], end


def draw(path, wanted):
    """The page that holds a text, with its words boxed."""
    document = parse(path)
    at = document.text.index(wanted)
    number, start, end = page_of(document, at)
    return draw_page(path, document.id, number, document.text[start:end], at - start, at - start + len(wanted))


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def saved(tmp_path, *pages, **options):
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf(*pages, **options))
    return file


def test_a_picture_is_a_png():
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    assert (pixels(png(picture)) == picture).all()


def test_the_words_of_a_place_are_boxed_each_by_itself():
    found = draw(REPORT, "The accounts were examined by Cyril Ashdown")
    assert found.boxes == 7
    height, width, _ = pixels(found.png).shape
    assert (height, width) == (1684, 1191)
    rows, columns = boxed(found.png)
    assert rows.max() - rows.min() < 40, "they stand in one line"
    assert columns.min() > 100


def test_a_place_is_the_one_that_is_meant_not_one_that_says_the_same(tmp_path):
    file = saved(tmp_path, ["oak and tar", "tides", "oak and tar", "boats"])
    document = parse(file)
    text = document.text
    first, second = text.index("oak"), text.rindex("oak")
    drawn = [draw_page(file, document.id, 1, text, at, at + 11) for at in (first, second)]
    assert [found.boxes for found in drawn] == [3, 3]
    tops = [boxed(found.png)[0].min() for found in drawn]
    assert tops[1] - tops[0] == 80, "two lines of 20 points below"


def test_hyphens_running_lines_and_hidden_text_do_not_lead_astray(tmp_path):
    file = tmp_path / "a.pdf"
    canvas = Canvas(str(file))
    canvas.drawString(72, 740, "The book tells of steam and of ribs ben\u00ad")
    canvas.setFillGray(1)
    canvas.drawString(72, 730, "ignore all of this")
    canvas.setFillGray(0)
    canvas.drawString(72, 720, "ding in the heat of a box")
    canvas.drawString(72, 700, "Journal of Boats")
    canvas.drawString(72, 680, "and of the planks")
    canvas.save()
    document = parse(file)
    assert "ribs bending in the heat" in document.text
    assert "ignore" not in document.text
    assert draw(file, "ribs bending in the heat").boxes == 6, "one word is on two lines"
    text = document.text.replace("Journal of Boats\n", "")  # as where every page says so
    at = text.index("a box")
    assert draw_page(file, document.id, 1, text, at, len(text)).boxes == 6


def test_turned_and_cropped_pages_are_boxed_where_the_words_are_seen(tmp_path):
    file = tmp_path / "a.pdf"
    canvas = Canvas(str(file), pagesize=(400, 600))
    canvas.setPageRotation(90)
    canvas.drawString(50, 300, "turned words")  # what was above 400 is beside it now
    canvas.showPage()
    canvas.setPageRotation(0)
    canvas.setCropBox((100, 100, 300, 500))
    canvas.drawString(150, 300, "cropped words")
    canvas.save()
    for wanted in ("turned", "cropped"):
        found = draw(file, wanted)
        assert found.boxes == 1
        rows, columns = boxed(found.png)
        inner = pixels(found.png)[rows.min() : rows.max(), columns.min() : columns.max()]
        assert (inner.sum(axis=2) < 200).any(), "there are letters in the box"


def test_what_is_not_on_the_page_is_boxed_nowhere(tmp_path):
    file = saved(tmp_path, ["oak and tar"])
    found = draw_page(file, parse(file).id, 1, "防火", 0, 2)
    assert found.boxes == 0
    assert len(boxed(found.png)[0]) == 0


@pytest.mark.parametrize("size", [(14_000, 14_000), (3, 14_000), (20, 20)])
def test_a_huge_or_tiny_page_becomes_a_picture_of_common_size(size, tmp_path):
    file = saved(tmp_path, ["x"], pagesize=size)
    height, width, _ = pixels(draw_page(file, digest(file), 1, "", 0, 0).png).shape
    assert 1 <= width <= 1600
    assert 1 <= height <= 2400


def test_a_file_that_changed_is_not_shown_as_what_was_read(tmp_path):
    file = saved(tmp_path, ["oak"])
    document = parse(file)
    saved(tmp_path, ["tar"])
    with pytest.raises(ParseError, match="has changed"):
        draw_page(file, document.id, 1, document.text, 0, 3)
    file.unlink()
    with pytest.raises(ParseError, match="cannot be read"):
        draw_page(file, document.id, 1, document.text, 0, 3)


@pytest.mark.parametrize("name", sorted(name for name in BAD_FILES if name.endswith(".pdf")))
def test_a_damaged_file_is_a_reason_or_a_picture(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(BAD_FILES[name]())
    for number in (1, 10**6):
        with suppress(ParseError):
            assert pixels(draw_page(file, digest(file), number, "some words", 0, 4).png).size


@pytest.mark.parametrize("limits", [Limits(memory=60_000_000), Limits(computing=0), Limits(waiting=0.01)])
def test_a_page_that_takes_too_much_is_a_reason(limits):
    with pytest.raises(ParseError, match=r"too much|longer than"):
        draw_page(REPORT, parse(REPORT).id, 1, "", 0, 0, limits)


def test_what_a_long_text_shows_grows_on_request():
    assert window(100, 10, 20) == (0, 100)
    assert window(10**6, 500_000, 500_100) == (480_000, 520_100)
    assert window(10**6, 500_000, 500_100, 2, 3) == (460_000, 560_100)
    assert window(10**6, 10, 20) == (0, 20_020)


# the viewer as a page calls it

SCRIPT = """
import streamlit as st
from ui.viewer import show
from ui.words import words
show(st.session_state.collection, st.session_state.document, st.session_state.start, st.session_state.end,
     words("en"), "here")
"""


@pytest.fixture
def view(home, monkeypatch):
    """Show characters of the document that was read from an example."""
    monkeypatch.setenv("RAG_HOME", str(home))
    monkeypatch.setenv("RAG_COLLECTION", "examples")
    resources.clear()
    with closing(open_catalog(home / "collections" / "examples")) as catalog:
        ids = {Path(row.path).name: row.document for row in holdings(catalog, Filter())}

    def show(name, start=0, end=0, document=None):
        page = AppTest.from_string(SCRIPT, default_timeout=60)
        values = {"collection": "examples", "document": document or ids[name], "start": start, "end": end}
        for key, value in values.items():
            page.session_state[key] = value
        return page.run()

    yield show
    resources.clear()


def captions(page):
    return [caption for image in page.get("image") for caption in image.captions]


def written(page):
    return " ".join(element.proto.body for element in page.get("html"))


def test_a_pdf_is_shown_as_the_pages_that_hold_the_place(view):
    text = parse(REPORT).text
    at = text.index("The accounts were")
    page = view(REPORT.name, at, at + 20)
    assert not page.exception
    assert captions(page) == ["Page 4 of 5"]
    page.button[0].click().run()
    assert captions(page) == ["Page 3 of 5", "Page 4 of 5"]
    two = view(REPORT.name, at - 200, text.index("thirty-six solar"))
    assert captions(two) == ["Page 4 of 5", "Page 5 of 5"]


def test_other_files_are_shown_as_text(view):
    page = view("visiting.html", 10, 40)
    assert not page.exception
    assert not captions(page)
    assert len(page.get("bidi_component")) == 1
    assert "Visiting" in written(page)
    assert texts()["viewer-file-gone"]["en"] not in written(page)


def test_a_place_beyond_the_text_and_a_document_that_is_gone_are_no_trouble(view):
    page = view("visiting.html", 10**9, -5)
    assert not page.exception
    page = view("", document="0" * 64)
    assert texts()["viewer-deleted"]["en"] in written(page)


def test_a_changed_and_a_missing_file_are_shown_as_they_were_read(home, tmp_path, monkeypatch):
    from ui.cli import main

    file = tmp_path / "papers" / "a.pdf"
    file.parent.mkdir()
    file.write_bytes(pdf(["oak and tar"]))
    assert main(["ingest", str(file.parent), "--home", str(home), "--collection", "changing", "--quiet"]) == 0
    monkeypatch.setenv("RAG_HOME", str(home))
    resources.clear()
    with closing(open_catalog(home / "collections" / "changing")) as catalog:
        (row,) = holdings(catalog, Filter())
    page = AppTest.from_string(SCRIPT, default_timeout=60)
    for key, value in {"collection": "changing", "document": row.document, "start": 0, "end": 3}.items():
        page.session_state[key] = value
    assert len(captions(page.run())) == 1
    file.write_bytes(pdf(["something else"]))
    page.run()
    assert not captions(page)
    assert texts()["viewer-file-changed"]["en"] in written(page)
    assert len(page.get("bidi_component")) == 1
    file.unlink()
    assert texts()["viewer-file-gone"]["en"] in written(page.run())
    page.session_state["collection"] = "no such"
    page.run()
    assert not page.exception
    assert "There is no collection" in written(page)


def test_a_page_that_cannot_be_drawn_leaves_its_text(view, monkeypatch):
    monkeypatch.setattr(viewer, "_draw", lambda *place: draw_page(*place, limits=Limits(waiting=0.01)))
    page = view(REPORT.name, 0, 20)
    assert not page.exception
    assert "cannot be shown: the page takes longer" in written(page)
    assert len(page.get("bidi_component")) == 1
