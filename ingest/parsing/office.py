"""What DOCX, PPTX, XLSX and EPUB share: XML parts in a zip archive, tied by relationships, with properties.

Tags lose their namespaces on reading, so that the two dialects of Open XML, "transitional" and "strict", read alike.
No entity is ever expanded and no other file or address is ever opened.
"""

import posixpath
from zipfile import ZipFile

from lxml import etree

from ingest.parsing.archive import read_entry
from ingest.parsing.parsed import MAX_TAGS, iso_day
from rag.errors import ParseError

# Options of every XML parser here; `huge_tree=False` keeps libxml2's own limits on depth and size.
SAFE = {"resolve_entities": False, "no_network": True, "huge_tree": False, "load_dtd": False}


def read_xml(archive: ZipFile, name: str) -> etree._Element:
    """The root element of a part. Raises `ParseError` where the part is missing, damaged or declares entities."""
    content = read_entry(archive, name)
    if content.count(b"<") > MAX_TAGS:
        raise ParseError(f"it has more than {MAX_TAGS // 1_000_000} million tags; split it")
    try:
        root = etree.fromstring(content, etree.XMLParser(remove_comments=True, remove_pis=True, **SAFE))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ParseError("it is damaged: a part is no valid XML") from error
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise ParseError("its XML declares entities, which no document needs")
    for element in root.iter("{*}*"):
        element.tag = local(element)
    return root


def local(element: etree._Element) -> str:
    """The tag without its namespace."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: etree._Element | None, name: str, namespace: str = "") -> str | None:
    """The attribute of this name; of several the one in a namespace that ends so."""
    for key, value in element.items() if element is not None else ():
        space, _, plain_name = key.rpartition("}")
        if plain_name == name and space.endswith(namespace):
            return str(value)
    return None


def relation_id(element: etree._Element, name: str = "id") -> str:
    """The `r:id` by which an element names another part; empty where it has none."""
    return attribute(element, name, "relationships") or ""


def relations(archive: ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Id -> (last word of the type, name of the part) of what a part refers to inside the archive."""
    folder, name = posixpath.split(part)
    listing = posixpath.join(folder, "_rels", f"{name}.rels")
    if listing not in archive.namelist():
        return {}
    found = {}
    for relation in read_xml(archive, listing):
        target, kind = relation.get("Target", ""), relation.get("Type", "")
        if relation.get("TargetMode") != "External":
            found[relation.get("Id", "")] = (kind.rpartition("/")[2], posixpath.normpath(_join(folder, target)))
    return found


def _join(folder: str, target: str) -> str:
    return target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)


def related(archive: ZipFile, part: str, kind: str) -> list[str]:
    """The parts of a kind that a part refers to and that are there."""
    present = set(archive.namelist())
    return [target for word, target in relations(archive, part).values() if word == kind and target in present]


def main_part(archive: ZipFile) -> str:
    """The part with the document itself."""
    parts = related(archive, "", "officeDocument")
    if not parts:
        raise ParseError("it is damaged: a part is missing")
    return parts[0]


def stated(archive: ZipFile) -> tuple[str | None, str | None]:
    """The title and the day of the last change that the properties state."""
    parts = related(archive, "", "core-properties")
    if not parts:
        return None, None
    root = read_xml(archive, parts[0])
    return root.findtext("title"), iso_day(root.findtext("modified") or root.findtext("created"))
