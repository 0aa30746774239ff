"""Plain text and Markdown in any encoding. Of Markdown only pipe tables are rewritten, and comments left out."""

import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

from ingest.parsing.parsed import MAX_CHARACTERS, Draft, Parsed, table_rows
from rag.errors import ParseError

# Encodings that documents really come in; among all that exist, rare ones are guessed for short Western texts.
_ENCODINGS = [
    *("utf_16", "utf_32", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
]
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_UNDERLINE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_PIPE = re.compile(r"(?<!\\)\|")
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BINARY_SHARE = 0.05
_WHOLE_PER_LOST = 10  # characters beyond ASCII that are whole, for each damaged one


def parse_text(content: bytes) -> Parsed:
    """Plain text; its title is for the file's name to say."""
    draft = Draft()
    draft.write(decode(content))
    return draft.parsed()


def parse_markdown(content: bytes) -> Parsed:
    """Markdown as it was written, but for tables and comments; the title is the first heading."""
    draft = Draft()
    text = decode(content)
    heading = _HEADING.search(text)
    for n, (lines, code) in enumerate(_stretches(text.split("\n"))):
        if not code:
            lines = list(_rewritten(_without_comments("\n".join(lines), draft).split("\n")))
        draft.write("\n" * (n > 0) + "\n".join(lines))
    return draft.parsed(heading[1] if heading else None)


def _stretches(lines: list[str]) -> Iterator[tuple[list[str], bool]]:
    """The lines in turns: outside of code fences, inside of them."""
    stretch: list[str] = []
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark and not fence:
            if stretch:
                yield stretch, False
            stretch, fence = [line], mark[1]
        elif mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
            yield [*stretch, line], True
            stretch, fence = [], ""
        else:
            stretch.append(line)
    if stretch:
        yield stretch, bool(fence)


def _without_comments(text: str, draft: Draft) -> str:
    """What a reader of the rendered page sees."""
    shown, begin, rest = text.partition("<!--")
    pieces = [shown]
    while begin:
        comment, end, after = rest.partition("-->")
        if not end:
            pieces.append(begin + rest)
            break
        draft.drop("hidden", comment)
        shown, begin, rest = after.partition("<!--")
        pieces.append(shown)
    return "".join(pieces)


def _rewritten(lines: list[str]) -> Iterator[str]:
    """The lines with pipe tables as self-contained rows."""
    header: list[str] = []
    skip = False
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if skip:
            skip = False
        elif header and "|" in line:
            yield from table_rows(header, [_cells(line)])
        elif _begins_table(line, after):
            header, skip = _cells(line), True
        else:
            header = []
            yield line


def _begins_table(line: str, after: str) -> bool:
    if "|" not in line or line.startswith(("    ", "\t")) or not _UNDERLINE.fullmatch(after):
        return False
    return len(_cells(line)) == len(_cells(after))


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in _PIPE.split(inner)]


def decode(content: bytes) -> str:
    """Bytes -> text: UTF-8 where that fits, else the most likely encoding. Raises `ParseError` for binary contents."""
    if len(content) > 4 * MAX_CHARACTERS:  # no encoding takes more bytes for a character
        raise ParseError(f"it holds more than {MAX_CHARACTERS // 1_000_000} million characters; split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _nearly_utf8(content) or _guessed(content)
    if len(_BINARY.findall(text)) > _BINARY_SHARE * len(text) + 8:
        raise ParseError("it is not text but binary data")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _nearly_utf8(content: bytes) -> str | None:
    """UTF-8 with a few bytes that are damaged: in no other encoding would most of the others fit."""
    text = content.decode("utf-8-sig", "replace")
    lost = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return text if beyond_ascii > _WHOLE_PER_LOST * lost else None


def _guessed(content: bytes) -> str:
    best = from_bytes(content, cp_isolation=_ENCODINGS).best()
    if best is None:
        raise ParseError("its text is in no encoding that could be recognised")
    return str(best).removeprefix("\ufeff")
