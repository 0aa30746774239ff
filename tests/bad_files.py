"""Files as nobody should have made them, generated: damaged, locked, hostile, misnamed, or only strange.

`BAD_FILES` maps a file's name to what makes its bytes, `REASONS` to a pattern of the reason why it is not read (None
where it is read). Those in `LIMITED` must only be read by a process under limits of memory and time.
"""

import io
import zipfile
import zlib
from functools import cache

import docx
import openpyxl
import pptx

from tests.conftest import pdf

BAD_FILES = {}
REASONS = {}
LIMITED = set()

OLE = bytes.fromhex("d0cf11e0a1b11ae1")
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(range(256)) * 20
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="c.opf"/></rootfiles></container>'
)
BILLION = "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'>{}]>".format(
    "".join(f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(9))
)


def bad(name, reason, limited=False):
    def keep(make):
        BAD_FILES[name], REASONS[name] = make, reason
        if limited:
            LIMITED.add(name)
        return make

    return keep


def fixed(name, reason, content, limited=False):
    bad(name, reason, limited)(lambda: content.encode() if isinstance(content, str) else content)


def saved(thing):
    buffer = io.BytesIO()
    thing.save(buffer)
    return buffer.getvalue()


def archive(entries, base=b"", compression=zipfile.ZIP_DEFLATED):
    """A zip of these entries in place of or beside those of another one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        if base:
            with zipfile.ZipFile(io.BytesIO(base)) as old:
                for name in old.namelist():
                    if name not in entries:
                        out.writestr(name, old.read(name))
        for name, content in entries.items():
            if content is not None:
                out.writestr(name, content)
    return buffer.getvalue()


@cache
def word(text="words"):
    document = docx.Document()
    document.add_paragraph(text)
    return saved(document)


@cache
def slides(text="words"):
    presentation = pptx.Presentation()
    presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = text
    return saved(presentation)


@cache
def sheet(text="words"):
    book = openpyxl.Workbook()
    book.active.append([text])
    return saved(book)


def epub(spine=("a.xhtml",), chapters=(("a.xhtml", "<p>words</p>"),), **entries):
    items = "".join(
        f'<item id="i{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(spine)
    )
    refs = "".join(f'<itemref idref="i{n}"/>' for n in range(len(spine)))
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{refs}</spine></package>'
    )
    whole = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "c.opf": package}
    return archive(whole | dict(chapters) | entries)


def without_middle(content):
    third = len(content) // 3
    return content[:third] + bytes(third) + content[2 * third :]


WHOLE = {
    ".docx": word,
    ".pptx": slides,
    ".xlsx": sheet,
    ".epub": epub,
    ".pdf": lambda: pdf(["words"]),
}
MAIN_PARTS = {
    ".docx": "word/document.xml",
    ".pptx": "ppt/presentation.xml",
    ".xlsx": "xl/workbook.xml",
    ".epub": "c.opf",
}

for suffix, make in WHOLE.items():
    kind = suffix[1:].upper()
    bad(f"cut{suffix}", "damaged")(lambda make=make: make()[: len(make()) // 2])
    bad(f"stub{suffix}", "damaged|not an? ")(lambda make=make: make()[:30])
    fixed(f"empty{suffix}", f"not an? {kind}", b"")
    fixed(f"blank{suffix}", f"not an? {kind}", b" \n\t" * 20)
    fixed(f"text{suffix}", f"not an? {kind}", "only words")
    fixed(f"picture{suffix}", f"not an? {kind}", PNG)
    if suffix != ".pptx":  # most of which is a template that nobody reads
        bad(f"middle-gone{suffix}", "damaged|cannot be read|OCR")(lambda make=make: without_middle(make()))

for suffix, part in MAIN_PARTS.items():
    make = WHOLE[suffix]
    bad(f"no-xml{suffix}", "no valid XML")(lambda make=make, part=part: archive({part: "<a><b>"}, make()))
    bad(f"no-text-in-xml{suffix}", "damaged|no slides|no text")(
        lambda make=make, part=part: archive({part: "<a/>"}, make())
    )
    bad(f"billion-laughs{suffix}", "no valid XML|entities")(
        lambda make=make, part=part: archive({part: BILLION + "<l>&j;</l>"}, make())
    )
    bad(f"external-entity{suffix}", "entities")(
        lambda make=make, part=part: archive(
            {part: '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>'}, make()
        )
    )
    bad(f"zip-bomb{suffix}", "zip bomb")(lambda make=make, part=part: archive({part: bytes(60_000_000)}, make()))
    bad(f"many-entries{suffix}", "entries")(
        lambda make=make: archive({f"f{n}": b"" for n in range(20_001)}, make(), zipfile.ZIP_STORED)
    )
    bad(f"deep-xml{suffix}", "no valid XML|nested|no text|damaged|no slides")(
        lambda make=make, part=part: archive({part: "<a>" * 50_000 + "</a>" * 50_000}, make())
    )
    bad(f"encrypted-entry{suffix}", "password")(lambda make=make: with_password_flag(make()))
    fixed(f"locked{suffix}", "password", OLE + bytes(500) + "EncryptedPackage".encode("utf-16-le"))
    fixed(f"old-format{suffix}", "old Office format", OLE + bytes(2000))
    bad(f"other-zip{suffix}", "not an? ")(lambda: archive({"readme": "words"}))


def with_password_flag(content):
    """Each entry marked as encrypted, in both places."""
    marked = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = marked.find(mark)
        while at >= 0:
            marked[at + offset] |= 1
            at = marked.find(mark, at + 4)
    return bytes(marked)


# Contents count for more than names.
bad("in-truth-a-pdf.txt", None)(lambda: pdf(["words"]))
bad("in-truth-word.pdf", None)(word)
bad("in-truth-a-sheet.docx", None)(sheet)
bad("in-truth-a-book.zip", None)(epub)
bad("late-start.pdf", None)(lambda: b"\x00junk\n" * 50 + pdf(["words"]))
fixed("about-pdf.md", None, "A PDF begins with `%PDF-1.7`.\n")
fixed("picture.txt", "encoding|binary", PNG)
fixed("picture.md", "encoding|binary", PNG)
fixed("picture.csv", "encoding|binary", PNG)
fixed("picture.html", "encoding|binary|parsed", PNG)
fixed("picture.eml", "not an e-mail", PNG)
fixed("zeros.txt", "binary", bytes(5000))
fixed("zeros.csv", "binary", bytes(5000))
fixed("zip.txt", "zip archive", archive({"readme": "words"}))
fixed("some.rtf", "not known", r"{\rtf1 words}")
fixed("nothing", "not known", "words")

for suffix in (".txt", ".md", ".html", ".csv", ".tsv", ".jsonl"):
    fixed(f"empty{suffix}", "no text", b"")
    fixed(f"blank{suffix}", "no text", b" \r\n\t\n" * 50)
    fixed(f"invisible{suffix}", "no text", "\ufeff\u200b\u2060\n" * 3 if suffix != ".jsonl" else '"\\u200b"')
fixed("empty.json", "not valid JSON", b"")
fixed("blank.json", "not valid JSON", b"  \n ")
fixed("empty.eml", "not an e-mail", b"")

# PDF
bad("scan.pdf", "OCR")(lambda: pdf([]))
bad("locked.pdf", "password")(lambda: pdf(["secret"], encrypt="password"))
bad("no-pages.pdf", "no pages|not a PDF")(lambda: raw_pdf("<< /Type /Pages /Kids [] /Count 0 >>"))
bad("pages-that-are-not-there.pdf", "pages|cannot be read|not a PDF")(
    lambda: raw_pdf("<< /Type /Pages /Kids [9 0 R] /Count 2000000000 >>")
)
bad("circle.pdf", "pages|cannot be read|not a PDF")(lambda: raw_pdf("<< /Type /Pages /Kids [2 0 R] /Count 1 >>"))
bad("no-mapping.pdf", "fonts")(lambda: unmapped_pdf())
bad("stream-bomb.pdf", ".*", limited=True)(
    lambda: raw_pdf(
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        stream(bytes(300_000_000)),
    )
)


def stream(content, extra=""):
    packed = zlib.compress(content)
    return f"<< /Length {len(packed)} /Filter /FlateDecode {extra}>>\nstream\n".encode() + packed + b"\nendstream"


def raw_pdf(pages, *others):
    """A PDF of these objects, the second of which is the root of the pages."""
    out = b"%PDF-1.4\n"
    offsets = []
    for n, body in enumerate((b"<< /Type /Catalog /Pages 2 0 R >>", pages.encode(), *others), start=1):
        offsets.append(len(out))
        out += f"{n} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(offsets) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(out)}\n"
    return out + end.encode() + b"%%EOF\n"


def unmapped_pdf():
    """Glyphs by number of a font that does not say which characters they are."""
    glyphs = "".join(f"{n:04x}" for n in range(1, 60))
    return raw_pdf(
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 999 99] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>",
        stream(f"BT /F 9 Tf 9 9 Td <{glyphs}> Tj ET".encode()),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Odd /Encoding /Identity-H /DescendantFonts [6 0 R] >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Odd /CIDSystemInfo << /Registry (Odd) /Ordering (Odd)"
        b" /Supplement 0 >> /FontDescriptor 7 0 R /DW 500 >>",
        b"<< /Type /FontDescriptor /FontName /Odd /Flags 4 /FontBBox [0 0 9 9] /ItalicAngle 0 /Ascent 9 /Descent 0"
        b" /CapHeight 9 /StemV 9 >>",
    )


# HTML and Markdown
bad("deep.html", "nested")(lambda: b"<div>" * 200_000 + b"deep")
bad("deep-inline.html", "nested")(lambda: b"<p>a" + b"<b><div></b></div>" * 100_000)
bad("deep-lists.html", "nested")(lambda: b"<ul><li>a" * 100_000)
bad("deep-tables.html", "nested")(lambda: b"<table><tr><td>a" * 50_000)
bad("deep-but-hidden.html", "nested")(lambda: b"<p>words</p><nav>" + b"<i>" * 200_000)
bad("one-attribute.html", "too large")(lambda: b'<p title="' + b"x" * 11_000_000 + b'">words')
bad("many-tags.html", "tags")(lambda: b"<b></b>" * 2_100_000)
bad("open-comments.html", "no text")(lambda: b"<!--" * 100_000)
bad("open-comments.md", None)(lambda: b"<!-- " * 100_000 + b"words")
bad("wide-span.html", None)(lambda: b"<table>" + b"<tr><th colspan=999999999 rowspan=99999>a<td>b" * 50 + b"</table>")
bad("fake-charset.html", None)(lambda: b"<meta charset=hex><p>words")
bad("fences.md", None)(lambda: b"```\n~~~\n" * 50_000 + b"words")
bad("underlines.md", None)(lambda: b"|a|b|\n" + b"|-" * 100_000 + b"x\nwords")
bad("empty-deck.pptx", "no text")(lambda: slides(""))
bad("empty-book.xlsx", "no text")(lambda: sheet(None))
bad("empty-page.docx", "no text")(lambda: word(""))
bad("one-line.txt", None)(lambda: b"a" * 2_000_000)
bad("eleven-million.txt", "million characters")(lambda: b"word " * 2_200_000)
bad("lone-surrogates.jsonl", None)(lambda: b'{"a": "\\ud800 words"}')

# CSV
bad("long-field.csv", None)(lambda: b'name,text\noak,"' + b"x" * 200_000 + b'"\n')
bad("open-quote.csv", None)(lambda: b'name,text\noak,"' + b"x,y\n" * 50_000)
bad("ragged.csv", None)(lambda: b"a,b\n1\n2,3,4,5\n,,,\n")
bad("nul.csv", None)(lambda: b"a,b\n1,\x002\n")
bad("wide.csv", None)(lambda: b"a," * 100_000 + b"\n" + b"1," * 100_000)
bad("million-rows.csv", "million characters")(lambda: b"a,b\n" + (b"x" * 500 + b"," + b"y" * 500 + b"\n") * 12_000)

# JSON
bad("deep.json", "nested")(lambda: b"[" * 100_000 + b"]" * 100_000)
bad("deep-object.json", "nested")(lambda: b'{"a":' * 500 + b"1" + b"}" * 500)
bad("deep.jsonl", "nested")(lambda: b"[" * 100_000)
fixed("numbers.json", None, '{"nan": NaN, "far": -Infinity, "huge": ' + "9" * 10_000 + ', "exact": 0.10}')
fixed("twice.json", None, '{"a": "one", "a": "two"}')
fixed("cut.json", "not valid JSON", '{"a": "one", "b')
fixed("second.jsonl", "line 2 is not valid JSON", '{"a": 1}\n{"b": \n{"c": 3}\n')
fixed("nulls.json", "no text", '{"a": null, "b": [], "c": {}, "d": ""}')
bad("many-lists.json", ".*", limited=True)(lambda: b"[" + b"[]," * 8_000_000 + b"[]]")

# E-mail
fixed("no-headers.eml", "not an e-mail", "Only words,\nno header.")
fixed("body-less.eml", None, "Subject: words")
fixed("odd-charset.eml", None, "Subject: =?x-none?Q?w=F6rds?=\nContent-Type: text/plain; charset=x-none\n\nwords")
fixed(
    "broken-headers.eml", None, b"Subject: =?utf-8?B?w\nFrom: <<<@@>>, ,;\nDate: Mon, 99 Foo 99999\n To\xff: x\n\nwords"
)
fixed("broken-parameters.eml", None, "Subject: words\nContent-Type: text/plain; charset*0*=x'%; charset*9=\n\nwords")
fixed("broken-base64.eml", None, "Subject: words\nContent-Transfer-Encoding: base64\n\n!!!not base64")
fixed("no-boundary.eml", None, "Subject: words\nContent-Type: multipart/mixed\n\n--x\n\nwords\n--x--\n")
bad("deep.eml", "nested")(
    lambda: b"".join(b"Subject: a\nContent-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(300))
)
bad("deep-messages.eml", None)(lambda: b"Subject: a\nContent-Type: message/rfc822\n\n" * 100 + b"Subject: words\n\nx")

# EPUB
bad("no-package.epub", "list of contents")(lambda: archive({"c.opf": None}, epub()))
bad("no-container.epub", "list of contents")(lambda: archive({"META-INF/container.xml": None}, epub()))
bad("no-chapters.epub", "none of its chapters")(lambda: epub(spine=("gone.xhtml",)))
bad("empty-spine.epub", "none of its chapters")(lambda: epub(spine=()))
bad("outside.epub", "none of its chapters")(
    lambda: epub(spine=("../../etc/passwd", "/etc/passwd", "file:///etc/passwd"))
)
bad("one-chapter-gone.epub", None)(lambda: epub(spine=("gone.xhtml", "a.xhtml")))
bad("deep-chapter.epub", "nested")(lambda: epub(chapters=[("a.xhtml", "<div>" * 200_000)]))
bad("copy-protected.epub", "copy protection")(
    lambda: epub(**{"META-INF/encryption.xml": '<e><CipherReference URI="a.xhtml"/></e>'})
)
bad("zip-in-zip.epub", "none of its chapters")(lambda: epub(spine=("in.zip/a.xhtml",), **{"in.zip": epub()}))

# Spreadsheets
ROWS = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'
)
SHEET = "xl/worksheets/sheet1.xml"


def book(rows):
    return archive({SHEET: ROWS.format(rows)}, sheet())


bad("long-sheet.xlsx", "million characters")(
    lambda: book("".join(f'<row><c t="str"><v>{n:05}{"w" * 1000}</v></c></row>' for n in range(12_000)))
)
bad("empty-rows.xlsx", "no text")(lambda: book("<row/>" * 100_000))
bad("far-cell.xlsx", None)(lambda: book('<row r="1048576"><c r="XFD1048576"><v>7</v></c></row>'))
bad("odd-references.xlsx", None)(
    lambda: book('<row r="x"><c r="7"><v>1</v></c><c r="ZZZZZZ9" t="s"><v>99999</v></c><c t="e"><v>#N/A</v></c></row>')
)
bad("odd-numbers.xlsx", None)(
    lambda: book('<row><c s="99"><v>1e999</v></c><c s="-1"><v>nan</v></c><c><v>words</v></c></row>')
)
