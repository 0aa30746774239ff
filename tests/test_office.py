"""DOCX, PPTX, XLSX and EPUB: what stands where, tables with their headers, what is hidden, and the file's own date."""

import datetime

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from docx.shared import Pt, RGBColor
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from pptx.util import Cm

from ingest.parsing import parse
from tests.bad_files import archive, epub, saved

DAY = datetime.datetime(2024, 5, 1, 12, 30)
WHITE = RGBColor(255, 255, 255)


@pytest.fixture
def read(tmp_path):
    def parse_bytes(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else saved(content))
        return parse(tmp_path / name)

    return parse_bytes


def fill(table, rows):
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            table.cell(i, j).text = text
    return table


# Word


def word(*texts):
    document = docx.Document()
    document.core_properties.modified = DAY
    for text in texts:
        document.add_paragraph(text)
    return document


def test_word_keeps_headings_lists_and_the_order_of_tables(read):
    document = word()
    document.add_heading("The boats", 0)
    document.add_heading("Oak", 2)
    document.add_paragraph("before")
    fill(document.add_table(3, 2), [("Name", "Price"), ("Rowan", "3"), ("Ash", "")])
    document.add_paragraph("a point", style="List Bullet")
    document.add_paragraph("# 5 is no heading")
    result = read("a.docx", document)
    assert result.text.split("\n\n") == [
        "# The boats",
        "## Oak",
        "before",
        "Name: Rowan; Price: 3\nName: Ash\n".strip(),
        "- a point",
        "\\# 5 is no heading",
        "",
    ]
    assert (result.title, result.date, result.places) == ("The boats", "2024-05-01", ())
    assert result.media_type.endswith("wordprocessingml.document")


def test_word_merged_cells_and_a_first_row_that_is_no_header(read):
    document = word()
    table = fill(document.add_table(3, 3), [("Kind", "Q1", "Q2"), ("Oak", "1", "2"), ("", "3", "4")])
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(1, 1).merge(table.cell(1, 2))
    document.add_paragraph()
    fill(document.add_table(2, 2), [("x" * 100, "b"), ("c", "d")])
    text = read("a.docx", document).text
    assert "Kind: Oak; Q1: 1 2\nKind: Oak; Q1: 3; Q2: 4\n" in text
    assert f"{'x' * 100}; b\nc; d\n" in text


def test_word_counts_what_nobody_sees(read):
    document = word("shown")
    paragraph = document.paragraphs[0]
    paragraph.add_run("vanished").font.hidden = True
    paragraph.add_run("white").font.color.rgb = WHITE
    paragraph.add_run("tiny").font.size = Pt(1)
    dark = fill(document.add_table(1, 2), [("", "plain")]).cell(0, 0)
    dark.paragraphs[0].add_run("white on blue").font.color.rgb = WHITE
    dark._tc.get_or_add_tcPr().append(parse_xml(f'<w:shd {nsdecls("w")} w:val="clear" w:fill="1F497D"/>'))
    document.sections[0].header.paragraphs[0].text = "on each page"
    document.sections[0].footer.paragraphs[0].text = "Page"
    result = read("a.docx", document)
    assert result.text.split() == ["shown", "white", "on", "blue;", "plain"]
    assert result.dropped == {"hidden": len("vanishedwhitetiny"), "boilerplate": len("oneachpagePage")}


def test_word_after_its_tracked_changes_with_notes_boxes_and_controls(read):
    run = '<w:r><w:t xml:space="preserve">{}</w:t></w:r>'
    body = (
        f"<w:p>{run.format('kept ')}<w:ins>{run.format('inserted ')}</w:ins>"
        "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        f"<w:hyperlink>{run.format('linked ')}</w:hyperlink><w:r><w:instrText>PAGE</w:instrText></w:r>"
        f"<w:r><w:footnoteReference w:id='2'/></w:r></w:p><w:sdt><w:sdtPr/><w:sdtContent><w:p>{run.format('control')}"
        f"</w:p></w:sdtContent></w:sdt><w:p><w:r><w:pict><w:txbxContent><w:p>{run.format('box')}</w:p></w:txbxContent>"
        "</w:pict></w:r></w:p>"
    )
    kind = "http://purl.oclc.org/ooxml/officeDocument/relationships"
    note = f'<w:footnote w:id="2"><w:p>{run.format("a note")}</w:p></w:footnote>'
    relation = f'<R><Relationship Id="1" Type="{kind}/{{}}" Target="{{}}"/></R>'
    content = archive(
        {
            "_rels/.rels": relation.format("officeDocument", "word/document.xml"),
            "word/document.xml": f"<w:document {nsdecls('w')}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relation.format("footnotes", "footnotes.xml"),
            "word/footnotes.xml": f"<w:footnotes {nsdecls('w')}>{note}</w:footnotes>",
        }
    )
    assert read("a.docx", content).text.split("\n\n")[:3] == ["kept inserted linked  [a note]", "control", "box"]


# Slides


def deck():
    presentation = pptx.Presentation()
    presentation.core_properties.modified = DAY
    return presentation


def test_slides_have_numbers_titles_tables_and_notes(read):
    presentation = deck()
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Our boats"
    first.placeholders[1].text = "one\ntwo"
    first.notes_slide.notes_text_frame.text = "say it slowly"
    second = presentation.slides.add_slide(presentation.slide_layouts[6])
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Cm(5), Cm(5)).text_frame.text = "in a group"
    table = second.shapes.add_table(3, 2, 0, 0, Cm(5), Cm(5)).table
    fill(table, [("Name", "Price"), ("Oak", "3"), ("", "4")])
    table.cell(1, 0).merge(table.cell(2, 0))
    result = read("a.pptx", presentation)
    assert result.text.split("\n\n")[:-1] == [
        "# Our boats",
        "one\ntwo",
        "Notes: say it slowly",
        "# Slide 2",
        "in a group",
        "Name: Oak; Price: 3\nName: Oak; Price: 4",
    ]
    assert [(result.text[at:].split("\n")[0], n) for at, n in result.places] == [("# Our boats", 1), ("# Slide 2", 2)]
    assert (result.title, result.unit, result.date) == ("Our boats", "slide", "2024-05-01")


def test_a_hidden_slide_is_counted_and_the_others_keep_their_numbers(read):
    presentation = deck()
    for text in ("shown", "hidden slide", "shown too"):
        presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = text
    presentation.slides[1]._element.set("show", "0")
    result = read("a.pptx", presentation)
    assert result.text.split("\n\n")[:2] == ["# shown", "# shown too"]
    assert ([n for _, n in result.places], result.dropped) == ([1, 3], {"hidden": len("hiddenslide")})


# Spreadsheets


def book(*rows):
    workbook = openpyxl.Workbook()
    workbook.active.title = "Stock"
    for row in rows:
        workbook.active.append(row)
    return workbook


def test_a_row_of_a_sheet_carries_its_headers_and_its_number(read):
    workbook = book(["Prices of 2024"], [], ["Name", "Price", None], ["Oak", 3, "no header"], [], ["Ash", 4.50])
    workbook.create_sheet("Other").append(["alone"])
    result = read("a.xlsx", workbook)
    assert result.text == (
        "# Stock\n\nPrices of 2024\nName: Oak; Price: 3; no header\nName: Ash; Price: 4.5\n\n# Other\n\nalone\n\n"
    )
    lines = [(result.text[at:].split("\n")[0], n) for at, n in result.places]
    assert lines == [
        ("Prices of 2024", 1),
        ("Name: Oak; Price: 3; no header", 4),
        ("Name: Ash; Price: 4.5", 6),
        ("alone", 1),
    ]
    assert (result.unit, result.title) == ("row", "a")


def test_numbers_read_as_people_see_them(read):
    workbook = book(["day", "moment", "time", "share", "sum", "yes", "long"])
    values = [datetime.date(2024, 5, 1), DAY, datetime.time(9, 5), 0.125, 0.1 + 0.2, True, 12345678901234]
    workbook.active.append(values)
    workbook.active["D2"].number_format = '0.0%" of all"'
    text = read("a.xlsx", workbook).text
    assert (
        "day: 2024-05-01; moment: 2024-05-01 12:30; time: 09:05; share: 12.5%; sum: 0.3; yes: TRUE; "
        "long: 12345678901234\n" in text
    )
    workbook.epoch = CALENDAR_MAC_1904
    assert "day: 2024-05-01" in read("b.xlsx", workbook).text


def test_hidden_sheets_rows_and_columns_are_counted(read):
    workbook = book(["Name", "Secret", "Price"], ["Oak", "aaa", 3], ["Ash", "bbb", 4])
    workbook.active.row_dimensions[3].hidden = True
    workbook.active.column_dimensions["B"].hidden = True
    workbook.create_sheet("Unseen").append(["hidden sheet"])
    workbook["Unseen"].sheet_state = "veryHidden"
    result = read("a.xlsx", workbook)
    assert result.text == "# Stock\n\nName: Oak; Price: 3\n\n"
    assert result.dropped == {"hidden": len("Secretaaabbb" + "Ash4" + "#Unseenhiddensheet")}


def test_merged_cells_stand_for_all_that_they_cover(read):
    workbook = book(
        ["", "2023", None, "2024"], ["Kind", "Q1", "Q2", "Q1"], ["Oak", 1, 2, 3], [None, 4, 5, 6], ["Ash", 7, 8, 9]
    )
    workbook.active.merge_cells("B1:C1")
    workbook.active.merge_cells("A3:A4")
    assert read("a.xlsx", workbook).text == (
        "# Stock\n\nKind: Oak; 2023 Q1: 1; 2023 Q2: 2; 2024 Q1: 3\nKind: Oak; 2023 Q1: 4; 2023 Q2: 5; 2024 Q1: 6\n"
        "Kind: Ash; 2023 Q1: 7; 2023 Q2: 8; 2024 Q1: 9\n\n"
    )


def test_the_date_of_a_workbook(read, tmp_path):
    core = '<c xmlns:d="x"><d:title>Stock</d:title><d:modified>2024-05-01T23:59:59Z</d:modified></c>'
    result = read("a.xlsx", archive({"docProps/core.xml": core}, saved(book(["a", "b"], ["c", "d"]))))
    assert (result.date, result.title) == ("2024-05-01", "Stock")


# Books


def test_a_book_is_read_in_the_order_of_its_spine(read):
    package = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>
    <dc:title>The Book</dc:title><dc:date>2020</dc:date><meta property="dcterms:modified">2024-05-01T00:00:00Z</meta>
    </metadata><manifest><item id="b" href="text/b%201.xhtml" media-type="application/xhtml+xml"/>
    <item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>
    <item id="p" href="p.png" media-type="image/png"/></manifest>
    <spine><itemref idref="b"/><itemref idref="p"/><itemref idref="a"/></spine></package>"""
    chapters = {
        "OPS/text/b 1.xhtml": "<html><body><section><header><h1>One</h1></header><p>first</p></section></body></html>",
        "OPS/a.xhtml": "<?xml version='1.0'?><html><head><title>Two</title></head><body><p>café</p>"
        "<p hidden=''>unseen</p></body></html>",
        "OPS/c.opf": package,
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/c.opf"/></rootfiles></container>',
        "c.opf": None,
        "a.xhtml": None,
    }
    result = read("a.epub", archive(chapters, epub()))
    assert result.text == "# One\n\nfirst\n\n# Two\n\ncafé\n\n"
    assert (result.title, result.date, result.dropped) == ("The Book", "2024-05-01", {"hidden": len("unseen")})


@pytest.mark.parametrize("suffix", [".txt", ".pdf", ".bin"])
def test_contents_decide_what_a_file_is(read, suffix):
    assert read(f"a{suffix}", word("words")).media_type.endswith("wordprocessingml.document")
