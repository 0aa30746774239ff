"""A page of a PDF as a picture, on which the words of a place in its stored text are boxed.

What is stored of a page is not what the page says: running lines, hidden text and hyphens at line ends were left out
and line breaks changed. So the two are compared without blanks, and what both have in the same order is found.
"""

import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt
import pypdfium2
import pypdfium2.raw as pdfium

from ingest.parsing.pdf_hidden import take_hidden_text
from rag.errors import ParseError

_SCALE = 2.0  # pixels a point, of a page of common size
_MAX_WIDTH, _MAX_HEIGHT = 1600, 2400  # pixels
_MAX_COMPARED = 20_000  # characters of a page that are compared one by one, which takes seconds
_INK = (255, 170, 0)  # red, green, blue of the boxes
_FILL = 0.25  # how much of it lies over the words
_MARGIN = 2  # pixels around a word
_LEFT_OUT = "\x02\ufffe\u00ad"  # what stands for a hyphen at a line's end
Picture = npt.NDArray[np.uint8]  # (height, width, 3), red, green, blue
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def draw(content: bytes, number: int, text: str, start: int, end: int) -> tuple[bytes, int]:
    """The PNG of a page, from 1, and how many words of `text[start:end]` are boxed on it. Raises `ParseError`."""
    try:
        document = pypdfium2.PdfDocument(content)
        try:
            if not 1 <= number <= len(document):
                raise ParseError(f"it has no page {number}")
            page = document[number - 1]
            picture, boxes = _drawn(page, text, start, end)
            page.close()
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        raise ParseError(f"its page {number} cannot be drawn: {error}") from error
    for box in boxes:
        _mark(picture, box)
    return png(picture), len(boxes)


def _drawn(page: pypdfium2.PdfPage, text: str, start: int, end: int) -> tuple[Picture, list[Box]]:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise ParseError("its page has no size")
    scale = min(_SCALE, _MAX_WIDTH / width, _MAX_HEIGHT / height)
    bitmap = page.render(scale=scale, rev_byteorder=True)
    where = bitmap.get_posconv(page)
    picture = np.array(bitmap.to_numpy()[:, :, :3])  # a copy: the bitmap goes
    take_hidden_text(page)  # from what is compared; the picture is drawn already
    text_page = page.get_textpage()
    try:
        boxes = [_box(text_page, where, word) for word in _words(text_page, text, start, end)]
    finally:
        text_page.close()
        bitmap.close()
    return picture, [box for box in boxes if box]


def _words(text_page: pypdfium2.PdfTextPage, text: str, start: int, end: int) -> Iterator[list[int]]:
    """The page's words in a place of its stored text, as the numbers of their characters on the page."""
    on_page = [chr(pdfium.FPDFText_GetUnicode(text_page, n) or 32) for n in range(text_page.count_chars())]
    wanted = set(_positions("".join(on_page), text, start, end))
    word: list[int] = []
    for n, character in enumerate(on_page):
        if n in wanted:
            word.append(n)
        elif word and _is_blank(character):
            yield word
            word = []
    if word:
        yield word


def _positions(on_page: str, text: str, start: int, end: int) -> Iterator[int]:
    """Where the characters of `text[start:end]` stand in what the page says, blanks left out."""
    page_at = [n for n, character in enumerate(on_page) if not _is_blank(character)]
    text_at = [n for n, character in enumerate(text) if not _is_blank(character)]
    first, last = bisect_left(text_at, start), bisect_left(text_at, end)
    page, stored = "".join(on_page[n] for n in page_at), "".join(text[n] for n in text_at)
    for in_page, in_text, size in _common(page, stored):
        for n in range(max(first - in_text, 0), min(last - in_text, size)):
            yield page_at[in_page + n]


def _common(page: str, stored: str) -> list[tuple[int, int, int]]:
    """Equal stretches, in order: where they begin in one and the other, and how long they are."""
    if (found := page.find(stored)) >= 0:
        return [(found, 0, len(stored))]
    if max(len(page), len(stored)) > _MAX_COMPARED:
        return []
    blocks = SequenceMatcher(None, page, stored, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in blocks]


def _is_blank(character: str) -> bool:
    """Whether it is compared with nothing: blanks, and what storing leaves out or replaces by a blank."""
    return character.isspace() or character in _LEFT_OUT or not character.isprintable()


def _box(text_page: pypdfium2.PdfTextPage, where: pypdfium2.PdfPosConv, word: list[int]) -> Box | None:
    """The box around the characters of a word; None for one that takes no room."""
    corners = []
    for n in word:
        left, bottom, right, top = text_page.get_charbox(n, loose=True)
        corners += [where.to_bitmap(left, bottom), where.to_bitmap(right, top)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    if min(xs) >= max(xs) or min(ys) >= max(ys):
        return None
    return min(xs) - _MARGIN, min(ys) - _MARGIN, max(xs) + _MARGIN, max(ys) + _MARGIN


def _mark(picture: Picture, box: Box) -> None:
    """Lay a light colour over a word, and a line around it: a colour alone is not seen by everybody."""
    height, width, _ = picture.shape
    left, top = max(box[0], 0), max(box[1], 0)
    right, bottom = min(box[2], width), min(box[3], height)
    if left >= right or top >= bottom:
        return
    ink = np.array(_INK, dtype=np.float32)
    inner = picture[top:bottom, left:right]
    inner[:] = inner * (1 - _FILL + _FILL * ink / 255)  # as a highlighter: what is dark stays dark
    for edge in (inner[:1], inner[-1:], inner[:, :1], inner[:, -1:]):
        edge[:] = ink


def png(picture: Picture) -> bytes:
    """Pixels (height, width, 3) as a PNG file (ISO/IEC 15948), its rows unfiltered."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = picture.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in pieces)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
