"""The number in a spreadsheet's cell as its reader sees it: dates, times, shares, and plain numbers without noise."""

import datetime
import re
from dataclasses import dataclass

from lxml import etree

from ingest.parsing.office import attribute

_BUILT_IN = {9: "0%", 10: "0.00%", 14: "d", 15: "d", 16: "d", 17: "d", 18: "h", 19: "h", 20: "h", 21: "h", 22: "d h"}
_BUILT_IN |= {45: "m:s", 46: "[h]:mm", 47: "m:s", **dict.fromkeys((*range(27, 37), *range(50, 59)), "d")}
_NO_CODE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]')  # literal text, colours, conditions
_LAST_DAY = 2_958_465  # 9999-12-31


@dataclass(frozen=True, slots=True)
class Formats:
    """The number formats of a workbook."""

    of_styles: tuple[str, ...]  # what a cell's style shows: "date", "share" or "number"
    epoch: datetime.datetime


def read_formats(styles: etree._Element | None, since_1904: bool) -> Formats:
    """The formats that a workbook's part of styles lists."""
    own = {}
    found = []
    if styles is not None:
        own = {attribute(entry, "numFmtId"): attribute(entry, "formatCode") or "" for entry in styles.iter("numFmt")}
        for style in styles.iterfind("cellXfs/xf"):
            number = attribute(style, "numFmtId") or "0"
            code = own.get(number) or (_BUILT_IN.get(int(number), "") if number.isdecimal() else "")
            found.append(_kind(code))
    epoch = datetime.datetime(1904, 1, 1) if since_1904 else datetime.datetime(1899, 12, 30)
    return Formats(tuple(found), epoch)


def _kind(code: str) -> str:
    bare = _NO_CODE.sub("", code).split(";")[0].lower()
    if "%" in bare:
        return "share"
    return "date" if "general" not in bare and re.search(r"[dmyhs]", bare) else "number"


def shown(raw: str, style: str, formats: Formats) -> str:
    """A cell's number as text; what is no number stays as it is."""
    try:
        number = float(raw)
    except ValueError:
        return raw
    kind = formats.of_styles[int(style)] if style.isdecimal() and int(style[:6]) < len(formats.of_styles) else "number"
    if kind == "date" and 0 <= number <= _LAST_DAY:
        return _moment(number, formats.epoch)
    if kind == "share":
        return f"{number * 100:.10g}%"
    return raw if raw.lstrip("-").isdecimal() else f"{number:.15g}"


def _moment(number: float, epoch: datetime.datetime) -> str:
    seconds = round(number * 86_400)
    try:
        moment = epoch + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return f"{number:.15g}"
    if number < 1:
        return f"{moment:%H:%M}"
    return f"{moment:%Y-%m-%d}" if seconds % 86_400 == 0 else f"{moment:%Y-%m-%d %H:%M}"
