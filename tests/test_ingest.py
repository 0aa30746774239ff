"""Files -> passages: what is read, how it is cut, and what a sync does to a collection."""

import hashlib
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from ingest.chunking import Chunker
from ingest.parsing import SUFFIXES, parse
from ingest.pipeline import sync
from ingest.sources import find_files
from rag.errors import InputError, ParseError
from rag.models import bundled_file
from rag.schema import Document
from tests.conftest import EXAMPLES, HashingEmbedder


def pdf(*pages, **options):
    buffer = io.BytesIO()
    canvas = Canvas(buffer, **options)
    for lines in pages:
        for n, line in enumerate(lines):
            canvas.drawString(72, 720 - 20 * n, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


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
@settings(max_examples=60, deadline=None)
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


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "documents"
    made.mkdir()
    for n in range(3):
        (made / f"{n}.txt").write_text(f"Document {n} tells of boats.")
    return made


@pytest.fixture
def run(index, folder):
    def run_sync(paths=None):
        roots = paths or [folder]
        with index.writing():
            return sync(find_files(roots, SUFFIXES), roots, index, lambda: (CHUNKER, HashingEmbedder()))

    return run_sync


def stored(index):
    return {os.path.basename(d.sources[0]): d.text for d in index.catalog.documents()}  # noqa: PTH119


def test_passages_are_exact_in_the_collection(index, run):
    run()
    for document in index.catalog.documents():
        for passage in index.passages(index.catalog.passage_ids().tolist()).values():
            if passage.document_id == document.id:
                assert document.text[passage.start : passage.end] == passage.text


def test_a_sync_adds_changes_removes_and_leaves_alone(index, folder, run):
    assert len(run().added) == 3
    assert run().unchanged == 3
    (folder / "0.txt").write_text("A new text of another length.")
    (folder / "1.txt").unlink()
    (folder / "3.txt").write_text("A fourth.")
    report = run()
    assert [len(r) for r in (report.added, report.changed, report.removed)] == [1, 1, 1]
    assert stored(index) == {
        "0.txt": "A new text of another length.",
        "2.txt": "Document 2 tells of boats.",
        "3.txt": "A fourth.",
    }


def test_another_folder_is_left_alone(index, folder, run, tmp_path):
    run()
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text("elsewhere")
    assert run([other]).removed == []
    assert len(stored(index)) == 4


def test_a_bad_file_is_quarantined_and_the_rest_goes_on(index, folder, run):
    (folder / "bad.pdf").write_bytes(b"not a pdf")
    report = run()
    assert (len(report.added), list(report.quarantined.values())) == (3, ["it is damaged or not a PDF"])
    (folder / "bad.pdf").write_bytes(pdf(["mended"]))
    assert run().quarantined == {}
    assert stored(index)["bad.pdf"] == "mended"


def test_a_file_that_became_unreadable_keeps_what_was_read_before(index, folder, run):
    (folder / "a.pdf").write_bytes(pdf(["the old words"]))
    run()
    (folder / "a.pdf").write_bytes(b"half a downl")
    assert list(run().quarantined) == [str(folder / "a.pdf")]
    assert stored(index)["a.pdf"] == "the old words"
    assert list(run().quarantined) == [str(folder / "a.pdf")], "it is tried again each time"


def test_equal_contents_are_stored_once(index, folder, run):
    (folder / "copy.txt").write_text("Document 0 tells of boats.")
    run()
    assert len(stored(index)) == 3
    (folder / "0.txt").unlink()
    run()
    assert stored(index)["copy.txt"] == "Document 0 tells of boats."


def test_missing_and_empty_folders_change_nothing(index, folder, run, tmp_path):
    run()
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="nothing was changed"):
        run()
    with pytest.raises(InputError, match="check the path"):
        run([tmp_path / "nowhere"])
    assert len(stored(index)) == 3


def test_odd_files_are_not_read(index, folder, run, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("outside")
    (folder / "link.txt").symlink_to(secret)
    (folder / "inside.txt").symlink_to(folder / "0.txt")
    os.mkfifo(folder / "pipe.txt")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / "image.png").write_bytes(b"png")
    (folder / "dangling.txt").symlink_to(folder / "nothing")
    reasons = {os.path.basename(p): r for p, r in run().quarantined.items()}  # noqa: PTH119
    assert reasons["link.txt"] == "it is a link to a file outside of the folder"
    assert reasons["pipe.txt"] == "it is not a regular file"
    assert reasons["dangling.txt"].startswith("it cannot be read")
    assert sorted(stored(index)) == ["0.txt", "1.txt", "2.txt"]


def test_an_unreadable_folder_loses_nothing(index, folder, run, monkeypatch):
    inner = folder / "inner"
    inner.mkdir()
    (inner / "deep.txt").write_text("Deep words.")
    run()

    def scandir(path, real=os.scandir):  # root may read everything, so permissions would not show it
        if os.fspath(path) == str(inner):
            raise PermissionError(13, "Permission denied", str(inner))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = run()
    assert (report.removed, report.quarantined) == ([], {str(inner): "the folder cannot be read: Permission denied"})
    assert stored(index)["deep.txt"] == "Deep words."
    monkeypatch.undo()
    assert run().quarantined == {}
    assert str(inner) not in index.catalog.sources()


def test_a_name_that_is_no_text_is_set_aside_and_the_rest_goes_on(index, folder, run):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("words")
    report = run()
    assert list(report.quarantined.values()) == ["its name is not valid UTF-8; rename it"]
    assert len(stored(index)) == 3


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
