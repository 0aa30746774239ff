"""A file -> its text, and text -> spans: what is read, what is refused and why, and that offsets are exact."""

import hashlib
import io
import subprocess
import sys
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from ingest.chunking import Chunker
from ingest.parsing import parse
from ingest.parsing.parsed import Draft
from rag.errors import ParseError
from rag.models import bundled_file
from rag.schema import Document
from tests.conftest import EXAMPLES, pdf


@pytest.fixture
def read(tmp_path):
    def parse_bytes(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return parse(tmp_path / name)

    return parse_bytes


def test_a_pdf_keeps_its_pages(read):
    document = read("a.pdf", pdf(["First page.", "Second line."], ["Page two."], ["Page three."]))
    assert [(document.text[i:][:10], n) for i, n in document.places] == [
        ("First page", 1),
        ("Page two.\n", 2),
        ("Page three", 3),
    ]
    assert (document.title, document.unit) == ("a", "page")


def test_lines_of_a_pdf_run_on_where_only_the_page_was_too_narrow(read):
    lines = [
        "A heading",
        "The boat was built by hand in the winter",
        "of 1998 and is still in use on the river",
        "today.",
    ]
    assert read("a.pdf", pdf([*lines, "Another."])).text == f"A heading\n{' '.join(lines[1:])}\nAnother."


def test_html_keeps_structure_and_drops_furniture(read):
    page = """<html><head><title>Opening &amp; fees</title><style>p{}</style></head><body><nav>Home</nav>
    <header>Site</header><main><header><h1>Opening</h1></header><p>We open at <b>nine</b>
    sharp.</p><script>alert(1)</script><h2>Fees</h2><table><tr><th>Who</th><th>Fee</th></tr><tr><td>Adult</td><td>£4</td></tr>
    </table><ul><li>one</li><li>two <i>too</i></li></ul><pre>a  b</pre></main><footer>© us</footer></body></html>"""
    document = read("page.html", page)
    assert document.title == "Opening & fees"
    assert "# Opening\n\nWe open at nine sharp.\n\n## Fees\n\nWho: Adult; Fee: £4\n\n" in document.text
    assert "- one\n- two too" in document.text
    assert not [word for word in ("Home", "Site", "alert", "© us", "p{}") if word in document.text]
    assert document.dropped == {"boilerplate": len("HomeSite©us")}


def test_html_in_its_declared_encoding(read):
    assert "café" in read("a.html", '<meta charset="iso-8859-1"><p>café</p>'.encode("latin-1")).text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "cp1252"])
def test_text_in_many_encodings(read, encoding):
    chinese = "柳溪造船工坊欢迎各位会员。每天早上九点开门，晚上六点关门。请把工具放回原处。" * 4
    text = chinese if encoding != "cp1252" else "Le café à côté de l'église ferme à midi, dit l'élève. " * 8
    assert read("a.txt", text.encode(encoding)).text.strip() == text.strip()


def test_markdown_title_and_lines(read):
    document = read("note.md", "intro\r\n\r\n# The Title #\r\ntext\x00 end")
    assert (document.title, document.text) == ("The Title", "intro\n\n# The Title #\ntext  end")
    assert document.id == hashlib.sha256(b"intro\r\n\r\n# The Title #\r\ntext\x00 end").hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"%PDF-1.4 nonsense", "not a PDF"),
        ("a.pdf", pdf(["words"])[:300], "not a PDF"),
        ("a.pdf", pdf([]), "OCR"),
        ("a.pdf", pdf(["secret"], encrypt="password"), "password"),
        ("a.txt", b"", "no text"),
        ("a.txt", b" \n\t", "no text"),
        ("a.html", b"", "no text|cannot be parsed"),
        ("a.html", "<div>" * 5000 + "deep", "nested"),
        ("a.odt", b"PK", "not known"),
    ],
)
def test_what_cannot_be_read_says_why(read, name, content, reason):
    with pytest.raises(ParseError, match=reason):
        read(name, content)


CHUNKER = Chunker(bundled_file("embedder"))
SMALL = Chunker(bundled_file("embedder"), max_tokens=20)


def check_spans(document, spans, chunker_tokens=128):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bundled_file("embedder") / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for span in spans:
        text = document.text[span.start : span.end]
        assert text.strip()
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) <= chunker_tokens
    assert [s.start for s in spans] == sorted(s.start for s in spans)
    gaps = [
        document.text[a:b] for a, b in zip([0, *(s.end for s in spans)], [*(s.start for s in spans), None], strict=True)
    ]
    assert not "".join(gaps).strip(), "no word is lost"


@given(
    st.lists(st.text("ab 工坊é🚤.\n#|-", min_size=1, max_size=60), max_size=20), st.sampled_from(["markdown", "plain"])
)
@settings(max_examples=60)
def test_spans_are_exact_and_lose_no_word(parts, kind):
    document = Document("x", ("x",), "x", f"text/{kind}", "\n\n".join(parts))
    check_spans(document, SMALL.chunk(document), 20)


def place_of(document, offset):
    return max(number for start, number in document.places if start <= offset)


@pytest.mark.parametrize(
    "path", sorted(p for p in (EXAMPLES / "documents").rglob("*") if p.is_file()), ids=lambda p: p.name
)
def test_spans_of_the_examples(path):
    document = parse(path)
    spans = CHUNKER.chunk(document)
    check_spans(document, spans)
    if path.suffix == ".pdf":
        for span in spans:
            assert (span.first, span.last) == (place_of(document, span.start), place_of(document, span.end - 1))
    else:
        assert {span.first for span in spans} == {None}


def test_heading_paths(read):
    body = "words " * 60
    text = f"# A\n\n{body}\n\n## B\n\n{body}\n\n```\n# no heading\n```\n\n{body}\n\n## C\n\n{body}"
    spans = SMALL.chunk(read("a.md", text))
    assert {span.heading_path for span in spans} == {("A",), ("A", "B"), ("A", "C")}


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (b"<meta charset=undefined><p>plain</p>", "plain"),
        (b"<meta charset=iso-8859-1><p>\x93so\x94</p>", "“so”"),
        (b'<meta charset="utf-16"><p>ascii</p>', "ascii"),
        ("<meta charset=latin-1><p>café 船</p>".encode(), "café 船"),  # in truth UTF-8
        (
            b"<table><tr><td><p>Hello</p><p>World</p></td><td>Mon<br>Tue<script>x()</script></td></tr></table>",
            "Hello World; Mon Tue",
        ),
        (b"<pre><code>a\n  b</code></pre>", "a\n  b"),
        (b"<pre># a\nb</pre>", "```\n# a\nb\n```"),
        (b"<p># a</p><ul><li><p>b</p></li><li>c<ul><li>d</li></ul></ul>", "\\# a\n\n- b\n\n- c\n\n- d"),
        (b"<form><p>All of the page</p><select><option>no</option></select></form>", "All of the page"),
    ],
)
def test_html_as_it_is_found(read, page, text):
    assert read("a.html", page).text.strip() == text


def test_chinese_lines_of_a_pdf_join_without_a_blank():
    from ingest.parsing.pdf import _unwrap

    assert _unwrap("工坊的防\n火门每天\n关闭") == "工坊的防火门每天关闭"


def test_control_characters_do_not_reach_the_collection(read):
    assert read("a.txt", "one\x1b]0;title\x07 two\x9b2J").text == "one ]0;title  two 2J"


def lines_at_places(document):
    return [(document.text[at:].split("\n")[0], number) for at, number in document.places]


def test_csv_rows_carry_their_headers_and_numbers(read):
    document = read("a.csv", 'Name;Price\nOak;3,5\n\n"Two\nlines";4,2;more\n;;\n')
    rows = [("Name: Oak; Price: 3,5", 2), ("Name: Two lines; Price: 4,2; more", 4)]
    assert (lines_at_places(document), document.unit, document.media_type) == (rows, "row", "text/csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_delimiter_is_found(read, delimiter, suffix):
    text = "\n".join(delimiter.join(row) for row in [("name", "size"), ("oak, red", "3"), ("ash", "4")])
    text = text.replace("oak, red", '"oak, red"')
    assert "name: oak, red; size: 3\nname: ash; size: 4\n" in read(f"a{suffix}", text).text


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        ("1,2\n3,4\n", ["1; 2", "3; 4"]),  # no word in it: no header
        ("year,2023,2024\noak,1,2\n", ["year: oak; 2023: 1; 2024: 2"]),
        ("Stock of May\n\nname,size\noak,3\n", ["Stock of May", "name: oak; size: 3"]),
        ("name\noak\nash\n", ["name: oak", "name: ash"]),
        ("name,size\n", ["name; size"]),
        ('name,text\noak,"' + "x" * 200_000 + '"\n', ["name: oak; text: " + "x" * 200_000]),
    ],
)
def test_headers_of_tables(read, table, lines):
    assert read("a.csv", table).text.splitlines() == lines


def test_json_with_its_paths(read):
    document = read(
        "a.json",
        '{"orders": [{"id": 1, "who": "Ann"}, {"id": 2, "who": {"name": "Bo", "tags": ["a", "b"]}}], "name": "May",'
        ' "place": {"city": "Rome", "at": {"lat": 1.50}}, "none": null, "name": "June"}',
    )
    assert [line for line in document.text.split("\n") if line] == [
        "name: May",
        "place.city: Rome",
        "place.at.lat: 1.50",
        "name: June",
        "# orders",
        "orders[1]: id: 1; who: Ann",
        "orders[2].id: 2",
        "orders[2].who.name: Bo",
        "orders[2].who.tags: a, b",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [("[1, 2.50]", "1, 2.50"), ('"# one"', "\\# one"), ("[[1, 2], [true]]", "1, 2\ntrue")]
)
def test_json_without_names(read, value, text):
    assert read("a.json", value).text.strip() == text


def test_items_and_lines_of_json_have_numbers(read):
    rows = [("id: 1; who: Ann", 1), ("id: 2; who: Bo", 2)]
    document = read("a.json", '[{"id": 1, "who": "Ann"}, {"id": 2, "who": "Bo"}]')
    assert (lines_at_places(document), document.unit) == (rows, "item")
    document = read("a.jsonl", '\n{"id": 1, "who": "Ann"}\n\n{"id": 2, "who": "Bo"}\n')
    assert (lines_at_places(document), document.unit) == ([(rows[0][0], 2), (rows[1][0], 4)], "line")


def test_an_email(read):
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Grüße", "Ann <ann@x.example>", "bo@x.example"
    message["Date"] = "Wed, 01 May 2024 23:00:00 +0200"
    message.set_content("Hello\n# one\nBye")
    message.add_alternative("<p>Hello in HTML</p>", subtype="html")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="Vertrag ü.pdf")
    document = read("a.eml", message.as_bytes())
    assert document.text.split("\n\n") == [
        "# Grüße",
        "From: Ann <ann@x.example>\nTo: bo@x.example\nDate: Wed, 01 May 2024 23:00:00 +0200",
        "Hello\n\\# one\nBye",
        "Attachments: Vertrag ü.pdf\n",
    ]
    assert (document.title, document.date) == ("Grüße", "2024-05-01")


def test_an_email_of_html_alone(read):
    message = EmailMessage()
    message["Subject"] = "Fees"
    message.set_content("<p>We ask <b>4</b></p><p style='display: none'>preview</p>", subtype="html")
    document = read("a.eml", message.as_bytes())
    assert document.text.split() == ["#", "Fees", "We", "ask", "4"]
    assert (document.dropped, document.date) == ({"hidden": len("preview")}, None)


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>x</p>",
        "<p aria-hidden=true>x</p>",
        "<div style='display:none'>x</div>",
        "<p style='color: red; visibility : hidden'>x</p>",
        "<p style='font-size:0px'>x</p>",
        "<p style='opacity:0'>x</p>",
        "<p style='color:#FFF'>x</p>",
        "<div style='background:#000'><i style='color:black'>x</i></div>",
        "<font color=white>x</font>",
    ],
)
def test_html_that_nobody_sees_is_counted(read, hidden):
    document = read("a.html", f"<body><p>a</p>{hidden}<p>b</p>")
    assert ("".join(document.text.split()), document.dropped) == ("ab", {"hidden": 1})


@pytest.mark.parametrize(
    "seen",
    [
        "<div style='background-color: navy'><i style='color:white'>x</i></div>",
        "<table><tr><td bgcolor='#123456'><a style='color:#ffffff'>x</a></table>",
        "<style>.dark {background: black}</style><i class=dark style='color:white'>x</i>",
        "<p style='font-size:0.5em; opacity:0.5'>x</p>",
        "<p style='background:url(a.png)'><i style='color:white'>x</i></p>",
    ],
)
def test_html_that_can_be_seen_stays(read, seen):
    document = read("a.html", f"<body>{seen}")
    assert (document.text.strip(), document.dropped) == ("x", {})


def test_tables_of_html(read):
    page = """<table><caption>Fees</caption><thead><tr><th rowspan=2>Who<th colspan=2>2024<tr><th>Q1<th>Q2</thead>
    <tr><td rowspan=2>Adult<td>4<td>5<tr><td>6<td></td></table>
    <table><tr><th>Monday</th><td>9 to 17</td></tr><tr><th>Sunday</th><td>closed</td></tr></table>
    <table><tr><td><h2>Left</h2><p>text</p></td><td>right</td></tr></table>"""
    assert read("a.html", page).text.split("\n\n") == [
        "Fees",
        "Who: Adult; 2024 Q1: 4; 2024 Q2: 5\nWho: Adult; 2024 Q1: 6",
        "Monday: 9 to 17\nSunday: closed",
        "## Left",
        "text",
        "right\n",
    ]


def test_the_day_of_a_page(read):
    head = '<meta property="article:modified_time" content="{}"><p>x'
    assert read("a.html", head.format("2024-05-01T10:00:00Z")).date == "2024-05-01"
    assert read("b.html", head.format("2024-13-01")).date is None
    assert read("c.html", "<time datetime='2024-05-01'>x</time>").date is None


def test_pipe_tables_of_markdown_outside_of_code(read):
    table = "| a | b |\n|---|:-:|\n| 1 | 2\\|3 |\n| x |\n"
    document = read("a.md", f"# T\n\n{table}\ntext <!-- unseen --> end\n\n```\n{table}```\n\na | b\nno table\n")
    assert document.text == (f"# T\n\na: 1; b: 2|3\na: x\n\ntext  end\n\n```\n{table}```\n\na | b\nno table\n")
    assert document.dropped == {"hidden": len("unseen")}


def test_a_damaged_byte_does_not_change_the_encoding(read):
    text = "Die Bänke sind für Gäste. " * 10
    assert read("a.txt", text.encode() + b"\xff").text == f"{text}\ufffd"


def test_running_heads_of_a_pdf_are_counted(read):
    words = ["harbour", "oak", "tar", "rope"]
    pages = [
        ["Acme Ltd, Harbour Road", f"We sell {word}.", "Question 1" if n else "x", f"Page {n + 1} of 4"]
        for n, word in enumerate(words)
    ]
    document = read("a.pdf", pdf(*pages))
    assert document.text.count("Acme Ltd") == 1, "the first stays: nothing else may tell the address"
    assert "Page" not in document.text
    assert all(f"We sell {word}." in document.text for word in words)
    assert [n for _, n in document.places] == [1, 2, 3, 4]


def test_what_counts_up_is_not_always_a_page_number(read):
    pages = [[f"Question {n + 1}", f"What is {word}?", str(n + 11)] for n, word in enumerate(["oak", "tar", "ash"])]
    text = read("a.pdf", pdf(*pages)).text
    assert all(f"Question {n}" in text for n in (1, 2, 3))
    assert "11" not in text


def drawn(draw):
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.drawString(72, 700, "seen")
    draw(canvas)
    canvas.save()
    return buffer.getvalue()


def invisible(canvas, y=500):
    text = canvas.beginText(72, y)
    text.setTextRenderMode(3)
    text.textLine("unseen")
    canvas.drawText(text)


def white(canvas):
    canvas.setFillColorRGB(1, 1, 1)
    canvas.drawString(72, 600, "unseen")


def on(background):
    def draw(canvas):
        background(canvas)
        white(canvas)

    return draw


def scan(canvas):
    canvas.drawImage(ImageReader(Image.new("RGB", (20, 20), "white")), 0, 0, 600, 800)
    invisible(canvas)


def blue(canvas):
    canvas.setFillColorRGB(0, 0, 0.3)
    canvas.rect(50, 580, 300, 50, fill=1)


@pytest.mark.parametrize("draw", [invisible, white, on(lambda canvas: canvas.rect(50, 100, 300, 50, fill=1))])
def test_text_of_a_pdf_that_nobody_sees_is_counted(read, draw):
    document = read("a.pdf", drawn(draw))
    assert (document.text, document.dropped) == ("seen", {"hidden": len("unseen")})


@pytest.mark.parametrize("draw", [scan, on(blue)])
def test_the_text_of_a_scan_and_white_on_a_colour_stay(read, draw):
    document = read("a.pdf", drawn(draw))
    assert (document.text.split(), document.dropped) == (["seen", "unseen"], {})


@given(st.lists(st.tuples(st.text(max_size=40), st.integers(1, 99)), max_size=20))
def test_places_are_exact(pieces):
    draft = Draft("row")
    for text, number in pieces:
        draft.place(number)
        draft.write(text)
    parsed = draft.parsed()
    ends = [*(at for at, _ in parsed.places), len(parsed.text)][1:]
    for (text, number), (at, place), end in zip(pieces, parsed.places, ends, strict=True):
        alone = Draft()
        alone.write(text)
        assert (parsed.text[at:end], place) == (alone.parsed().text, number)


def test_knowing_the_suffixes_loads_no_parser():
    code = "import sys, ingest.parsing; print({'lxml', 'pypdfium2', 'charset_normalizer', 'email'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()"
