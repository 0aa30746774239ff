"""What a DOCX's styles say of a paragraph: heading or list, hidden, white, shaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from zipfile import ZipFile

from lxml import etree

from ingest.parsing.office import attribute, read_xml

_BUILT_IN = {"title": 1, **{f"heading {level}": level for level in range(1, 10)}}  # names, the same in any language
_BODY_LEVEL = 9  # the outline level of what is no heading
_MAX_ANCESTORS = 20
_WHITE = {"FFFFFF", "AUTO", "NONE"}


@dataclass(frozen=True, slots=True)
class Style:
    """What matters for reading; `level` 1 is the outermost heading, 0 is none."""

    level: int = 0
    listed: bool = False
    hidden: bool = False
    white: bool = False
    shaded: bool = False


def read_styles(archive: ZipFile, name: str) -> Iterator[tuple[str, Style]]:
    """(id, style) of all, with what each takes over from the style that it is based on."""
    found = {attribute(style, "styleId") or "": style for style in read_xml(archive, name).iter("style")}
    for key in found:
        chain: list[etree._Element] = []
        at = key
        while at in found and len(chain) < _MAX_ANCESTORS:
            chain.append(found[at])
            at = attribute(found[at].find("basedOn"), "val") or ""
        yield key, _style(chain)


def _style(chain: list[etree._Element]) -> Style:
    """A style from its own element and those it is based on, nearest first."""
    levels = [level for element in chain if (level := _level(element)) is not None]
    colours = [value for element in chain if (value := attribute(element.find("rPr/color"), "val"))]
    vanish = [mark for element in chain if (mark := element.find("rPr/vanish")) is not None]
    return Style(
        level=levels[0] if levels else 0,
        listed=any(element.find("pPr/numPr") is not None for element in chain),
        hidden=bool(vanish) and is_on(vanish[0]),
        white=bool(colours) and colours[0].upper() == "FFFFFF",
        shaded=any(shades(shade, "fill") for element in chain for shade in element.iter("shd")),
    )


def _level(element: etree._Element) -> int | None:
    name = (attribute(element.find("name"), "val") or "").lower()
    return _BUILT_IN.get(name) or _outline(element)


def _outline(element: etree._Element) -> int | None:
    value = attribute(element.find("pPr/outlineLvl"), "val") or ""
    if len(value) != 1 or not value.isdecimal():
        return None
    return int(value) + 1 if int(value) < _BODY_LEVEL else 0


def style_of(paragraph: etree._Element, styles: dict[str, Style]) -> Style:
    """The style of a paragraph with what it says itself."""
    properties = paragraph.find("pPr")
    if properties is None:
        return Style()
    named = styles.get(attribute(properties.find("pStyle"), "val") or "", Style())
    outline = _outline(paragraph)
    numbered = properties.find("numPr")
    level = named.level if outline is None else outline
    return Style(
        level=level,
        listed=not level and (named.listed if numbered is None else attribute(numbered.find("numId"), "val") != "0"),
        hidden=named.hidden,
        white=named.white,
        shaded=named.shaded or shades(properties.find("shd"), "fill"),
    )


def is_on(mark: etree._Element | None) -> bool:
    """Whether a switch such as `<w:vanish/>` is there and not switched off."""
    return mark is not None and (attribute(mark, "val") or "").lower() not in ("0", "false", "off")


def shades(element: etree._Element | None, name: str) -> bool:
    """Whether this attribute, of a shading or background, names a colour other than white."""
    return (attribute(element, name) or "none").upper() not in _WHITE
