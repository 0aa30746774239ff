"""How fast each format is read: files of about the size of a book or a big table, made on the spot.

    python -m benchmarks.parsing

A page is a page's worth of text (some 1,800 characters), a slide or a row; the file is read whole, as an ingest does,
by the median of some runs. Where pypdf is installed it reads the same PDF.
"""

import io
import json
import random
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import docx
import openpyxl
import pptx
from reportlab.pdfgen.canvas import Canvas

from ingest.parsing import parse

PAGES, SLIDES, ROWS, RUNS = 200, 200, 5_000, 3
LINES_ON_A_PAGE = 30
WORDS = [
    "the",
    "keel",
    "of",
    "oak",
    "is",
    "tarred",
    "before",
    "each",
    "spring",
    "and",
    "every",
    "rope",
    "holds",
    "boats",
]
RANDOM = random.Random(0)


def line(words: int = 12) -> str:
    return " ".join(RANDOM.choices(WORDS, k=words))


def pages() -> list[list[str]]:
    return [[line() for _ in range(LINES_ON_A_PAGE)] for _ in range(PAGES)]


def rows() -> list[list[str]]:
    names = ["Name", "Place", "Length", "Price", "Year", "Owner", "State", "Note"]
    return [names, *([line(1), line(1), "4.5", str(n), "1998", line(2), line(1), line(6)] for n in range(ROWS))]


def saved(thing) -> bytes:  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    thing.save(buffer)
    return buffer.getvalue()


def pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for lines in pages():
        for n, text in enumerate(lines):
            canvas.drawString(60, 780 - 24 * n, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def word() -> bytes:
    document = docx.Document()
    for n, lines in enumerate(pages()):
        document.add_heading(f"Part {n}", 1)
        for start in range(0, LINES_ON_A_PAGE, 5):
            document.add_paragraph(" ".join(lines[start : start + 5]))
    return saved(document)


def slides() -> bytes:
    presentation = pptx.Presentation()
    for n in range(SLIDES):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"Slide about {n}"
        slide.placeholders[1].text = "\n".join(line() for _ in range(6))
        slide.notes_slide.notes_text_frame.text = line(30)
    return saved(presentation)


def sheet() -> bytes:
    book = openpyxl.Workbook(write_only=True)
    tab = book.create_sheet("Boats")
    for n, row in enumerate(rows()):
        tab.append([float(cell) if n and i in (2, 3, 4) else cell for i, cell in enumerate(row)])
    return saved(book)


def delimited() -> bytes:
    return "".join(",".join(row) + "\n" for row in rows()).encode()


def json_lines() -> bytes:
    names, *others = rows()
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in others).encode()


def markdown() -> bytes:
    return "".join(f"# Part {n}\n\n" + "\n".join(lines) + "\n\n" for n, lines in enumerate(pages())).encode()


def html() -> bytes:
    parts = "".join(f"<h1>Part</h1>{''.join(f'<p>{text}</p>' for text in lines)}" for lines in pages())
    return f"<html><head><title>Book</title></head><body><nav>Menu</nav>{parts}</body></html>".encode()


def epub() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("mimetype", "application/epub+zip")
        out.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
        )
        items = "".join(f'<item id="i{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(PAGES))
        spine = "".join(f'<itemref idref="i{n}"/>' for n in range(PAGES))
        out.writestr("b.opf", f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>")
        for n, lines in enumerate(pages()):
            body = "".join(f"<p>{text}</p>" for text in lines)
            out.writestr(f"{n}.xhtml", f"<html><body><h1>Part {n}</h1>{body}</body></html>")
    return buffer.getvalue()


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"] = "All of it"
    message.set_content("\n".join(text for lines in pages() for text in lines))
    return message.as_bytes()


FORMATS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    ".pdf": (pdf, PAGES, "pages"),
    ".docx": (word, PAGES, "pages"),
    ".epub": (epub, PAGES, "pages"),
    ".html": (html, PAGES, "pages"),
    ".md": (markdown, PAGES, "pages"),
    ".txt": (markdown, PAGES, "pages"),
    ".eml": (mail, PAGES, "pages"),
    ".pptx": (slides, SLIDES, "slides"),
    ".xlsx": (sheet, ROWS, "rows"),
    ".csv": (delimited, ROWS, "rows"),
    ".jsonl": (json_lines, ROWS, "rows"),
}


def timed(read: Callable[[Path], int], path: Path) -> tuple[float, int]:
    """Median seconds of some runs after one to warm up, and the number of characters read."""
    characters = read(path)
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        read(path)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), characters


def by_pypdf(path: Path) -> int:
    from pypdf import PdfReader

    return sum(len(page.extract_text()) for page in PdfReader(path).pages)


def show(name: str, size: int, seconds: float, number: int, unit: str, characters: int) -> None:
    print(
        f"{name:14} {size / 1e6:6.2f} MB {seconds * 1000:8.1f} ms {number / seconds:10,.0f} {unit:6} a second"
        f" {characters / seconds / 1e6:8.2f} million characters a second",
        flush=True,
    )


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix, (make, number, unit) in FORMATS.items():
            path = Path(folder) / f"book{suffix}"
            path.write_bytes(make())
            seconds, characters = timed(lambda p: len(parse(p).text), path)
            show(suffix, path.stat().st_size, seconds, number, unit, characters)
        try:
            path = Path(folder) / "book.pdf"
            seconds, characters = timed(by_pypdf, path)
            show(".pdf, by pypdf", path.stat().st_size, seconds, PAGES, "pages", characters)
        except ImportError:
            print("pypdf is not installed: no comparison")


if __name__ == "__main__":
    run()
