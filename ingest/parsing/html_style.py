"""What inline styles and attributes say of an element: is it seen, and on which colour. Reads no style sheet."""

import re

from lxml import etree

_INVISIBLE = re.compile(
    r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|opacity:0(?:\.0*)?(?:;|$|!)"
    r"|font-size:0*(?:\.0*)?(?:px|pt|em|rem|%)?(?:;|$|!))"
)
_COLOUR = re.compile(r"(?:^|;)color:([^;!]+)")
_BACKGROUND = re.compile(r"(?:^|;)background(?:-color)?:([^;!]+)")
_NAMES = {"#fff": "white", "#ffffff": "white", "#000": "black", "#000000": "black"}
_NAMES |= {"rgb(255,255,255)": "white", "rgba(255,255,255,1)": "white", "rgb(0,0,0)": "black"}
_BLANKS = re.compile(r"\s+")


def is_hidden(element: etree._Element, background: str | None) -> bool:
    """Whether nobody sees the element: by attribute, by style, or for its text has the colour of the background."""
    if "hidden" in element.attrib or element.get("aria-hidden", "").strip().lower() == "true":
        return True
    style = _style(element)
    if _INVISIBLE.search(style):
        return True
    colour = _COLOUR.search(style)
    named = colour[1] if colour else element.get("color", "").lower() if element.tag == "font" else ""
    behind = background_of(element) or background
    return bool(named) and (named == "transparent" or _NAMES.get(named, named) == behind)


def background_of(element: etree._Element) -> str | None:
    """The colour that the element itself puts behind its text; "?" where it is a picture or gradient."""
    match = _BACKGROUND.search(_style(element))
    value = match[1] if match else element.get("bgcolor", "").strip().lower()
    if not value or value in ("none", "transparent", "inherit", "initial"):
        return None
    return "?" if "(" in value and not value.startswith("rgb") else _NAMES.get(value, value)


def _style(element: etree._Element) -> str:
    style = element.get("style")
    return _BLANKS.sub("", style).lower() if style else ""
