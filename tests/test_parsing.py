"""A file -> its text, and text -> spans: what is read, what is refused and why, and that offsets are exact."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunking import Chunker
from ingest.parsing import parse
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
    assert [document.text[i:][:10] for i in document.page_starts] == ["First page", "Page two.\n", "Page three"]
    assert document.title == "a"


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
    assert "# Opening\n\nWe open at nine sharp.\n\n## Fees\n\n| Who | Fee |\n|---|---|\n| Adult | £4 |" in document.text
    assert "- one\n- two too" in document.text
    assert not [word for word in ("Home", "Site", "alert", "© us", "p{}") if word in document.text]


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
        ("a.docx", b"PK", "not known"),
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


@pytest.mark.parametrize(
    "path", sorted(p for p in (EXAMPLES / "documents").rglob("*") if p.is_file()), ids=lambda p: p.name
)
def test_spans_of_the_examples(path):
    document = parse(path)
    spans = CHUNKER.chunk(document)
    check_spans(document, spans)
    if path.suffix == ".pdf":
        for span in spans:
            assert document.page_starts[span.page - 1] <= span.start
            assert span.page == len(document.page_starts) or span.start < document.page_starts[span.page]
    else:
        assert {span.page for span in spans} == {None}


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
            "| Hello World | Mon Tue |",
        ),
        (b"<pre><code>a\n  b</code></pre>", "a\n  b"),
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
