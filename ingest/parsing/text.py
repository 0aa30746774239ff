"""Plain text and Markdown in any encoding."""

import re

from charset_normalizer import from_bytes

from ingest.parsing.parsed import Parsed
from rag.errors import ParseError

# Encodings that documents really come in; among all that exist, rare ones are guessed for short Western texts.
_ENCODINGS = [
    *("utf_16", "utf_32", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
]
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)


def parse_text(content: bytes) -> Parsed:
    """Plain text; its title is for the file's name to say."""
    return Parsed(decode(content))


def parse_markdown(content: bytes) -> Parsed:
    """Markdown as it was written; the title is the first heading."""
    text = decode(content)
    heading = _HEADING.search(text)
    return Parsed(text, title=heading[1] if heading else None)


def decode(content: bytes) -> str:
    """Bytes -> text: UTF-8 where that fits, else the most likely encoding. Raises `ParseError` for binary contents."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        best = from_bytes(content, cp_isolation=_ENCODINGS).best()
        if best is None:
            raise ParseError("its text is in no encoding that could be recognised") from None
        text = str(best).removeprefix("﻿")
    return text.replace("\r\n", "\n").replace("\r", "\n")
