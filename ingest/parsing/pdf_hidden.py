"""Text on a PDF's page that nobody sees: drawn invisibly, or in white where nothing is behind it.

The text layer of a scan is invisible, too, but lies over the picture of its page: that is what the page says. Knows
nothing of text under other things, nor of text that is merely tiny.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field

import pypdfium2
import pypdfium2.raw as pdfium

_UNSEEN_MODES = {pdfium.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium.FPDF_TEXTRENDERMODE_CLIP}
_FILL_MODES = {pdfium.FPDF_TEXTRENDERMODE_FILL, pdfium.FPDF_TEXTRENDERMODE_FILL_CLIP}
_NEARLY_WHITE = 250  # of 255, in each channel
_BACKGROUND = 240  # darker than this is a background that white text can be read on
_MAX_FORM_DEPTH = 5
_Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(slots=True)
class _Page:
    """The objects of a page by what they mean for hidden text; `form` is None on the page itself."""

    invisible: list[tuple[object, object]] = field(default_factory=list)  # (form, text object)
    white: list[tuple[object, object]] = field(default_factory=list)
    others: list[tuple[object, object, int]] = field(default_factory=list)  # and its type


def take_hidden_text(page: pypdfium2.PdfPage) -> str:
    """Remove what is hidden from the page in memory; what it said."""
    found = _Page()
    _sort(page.raw, None, found, 0)
    if not (found.invisible or found.white):
        return ""
    pictures = [(form, _box(obj)) for form, obj, kind in found.others if kind == pdfium.FPDF_PAGEOBJ_IMAGE]
    colours = [(form, _box(obj)) for form, obj, kind in found.others if _is_background(obj, kind)]
    hidden = [pair for pair in found.invisible if not _is_covered(*pair, pictures)]
    hidden += [pair for pair in found.white if not _is_covered(*pair, colours)]
    if not hidden:
        return ""
    text_page = page.get_textpage()
    try:
        text = " ".join(_text(obj, text_page) for _, obj in hidden)
    finally:
        text_page.close()
    for form, obj in hidden:
        removed = (
            pdfium.FPDFPage_RemoveObject(page, obj) if form is None else pdfium.FPDFFormObj_RemoveObject(form, obj)
        )
        if removed:
            pdfium.FPDFPageObj_Destroy(obj)
    return text


def _sort(holder: object, form: object, found: _Page, depth: int) -> None:
    for obj in _objects(holder, form):
        kind = pdfium.FPDFPageObj_GetType(obj)
        if kind == pdfium.FPDF_PAGEOBJ_TEXT:
            mode = pdfium.FPDFTextObj_GetTextRenderMode(obj)
            if mode in _UNSEEN_MODES:
                found.invisible.append((form, obj))
            elif mode in _FILL_MODES and _is_white(obj):
                found.white.append((form, obj))
        elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _MAX_FORM_DEPTH:
            _sort(None, obj, found, depth + 1)
        elif kind != pdfium.FPDF_PAGEOBJ_FORM:
            found.others.append((form, obj, kind))


def _objects(page: object, form: object) -> Iterator[object]:
    if form is None:
        yield from (pdfium.FPDFPage_GetObject(page, i) for i in range(pdfium.FPDFPage_CountObjects(page)))
    else:
        yield from (pdfium.FPDFFormObj_GetObject(form, i) for i in range(pdfium.FPDFFormObj_CountObjects(form)))


def _colour(obj: object) -> tuple[int, int, int, int] | None:
    """Red, green, blue, opacity; None for a pattern."""
    values = [ctypes.c_uint() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetFillColor(obj, *map(ctypes.byref, values)):
        return None
    red, green, blue, opacity = (value.value for value in values)
    return red, green, blue, opacity


def _is_white(text: object) -> bool:
    colour = _colour(text)
    return colour is not None and (colour[3] == 0 or min(colour[:3]) >= _NEARLY_WHITE)


def _is_background(obj: object, kind: int) -> bool:
    """Whether white text can be seen on it."""
    if kind != pdfium.FPDF_PAGEOBJ_PATH:
        return True
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not pdfium.FPDFPath_GetDrawMode(obj, ctypes.byref(fill), ctypes.byref(stroke)) or not fill.value:
        return False
    colour = _colour(obj)
    return colour is None or (colour[3] > 0 and min(colour[:3]) < _BACKGROUND)


def _box(obj: object) -> _Box:
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(obj, *map(ctypes.byref, sides))
    left, bottom, right, top = (side.value for side in sides)
    return left, bottom, right, top


def _is_covered(form: object, text: object, behind: list[tuple[object, _Box]]) -> bool:
    """Whether something lies where the middle of the text is; forms have coordinates of their own, so any will do."""
    left, bottom, right, top = _box(text)
    x, y = (left + right) / 2, (bottom + top) / 2
    return any(
        form is not None or other is not None or (box[0] <= x <= box[2] and box[1] <= y <= box[3])
        for other, box in behind
    )


def _text(obj: object, text_page: pypdfium2.PdfTextPage) -> str:
    size = pdfium.FPDFTextObj_GetText(obj, text_page, None, 0)
    buffer = ctypes.create_string_buffer(size)
    pdfium.FPDFTextObj_GetText(obj, text_page, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    return buffer.raw.decode("utf-16-le", "ignore").rstrip("\x00")
