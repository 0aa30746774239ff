"""EML: an e-mail's headers and body; what is attached is named, not read. Forwarded messages count as attached."""

import re
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value, parsedate_to_datetime

from ingest.parsing.html import tree, write_page
from ingest.parsing.parsed import Draft, Parsed, plain
from ingest.parsing.text import decode
from rag.errors import ParseError

_SHOWN = ("From", "To", "Cc", "Date")
_EXPECTED = (*_SHOWN, "Subject", "Received", "Message-ID")
_MAX_DEPTH = 30  # messages in messages
_MAX_PARTS = 5_000
_CHARSET = re.compile(r"[\w.:-]{1,40}")


def parse_eml(content: bytes) -> Parsed:
    """Subject as the heading, who wrote to whom and when, the text; HTML only where there is no plain text."""
    try:
        message = message_from_bytes(content)
        if not any(name in message for name in _EXPECTED):
            raise ParseError("it is not an e-mail, whatever its name says")
        draft = Draft()
        subject = _header(message, "Subject")
        draft.write(f"# {subject}\n\n" if subject else "")
        draft.write("".join(f"{name}: {value}\n" for name in _SHOWN if (value := _header(message, name))) + "\n")
        attached: list[str] = []
        for part in _bodies(message, attached, 0):
            _write_body(part, draft)
        if attached:
            draft.write(f"Attachments: {', '.join(attached)}\n")
        return draft.parsed(subject or None, _day(message))
    except (MessageError, ValueError, LookupError, TypeError, AttributeError) as error:  # what broken headers raise
        raise ParseError("it is damaged or not an e-mail") from error


def _header(message: Message, name: str) -> str:
    """A header as it reads, on one line; what cannot be decoded stays as it is."""
    raw = str(message.get(name, ""))
    try:
        pieces = [_piece(value, charset) for value, charset in decode_header(raw)]
    except (HeaderParseError, ValueError):
        pieces = [raw]
    return " ".join("".join(pieces).split())


def _piece(value: bytes | str, charset: str | None) -> str:
    return value if isinstance(value, str) else _decoded(value, charset)


def _decoded(content: bytes, charset: str | None) -> str:
    try:
        if charset and _CHARSET.fullmatch(charset):
            return content.decode(charset)
    except (LookupError, ValueError):  # no such encoding, or not in it
        pass
    return decode(content) if content.strip() else ""


def _day(message: Message) -> str | None:
    try:
        return parsedate_to_datetime(str(message.get("Date", ""))).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _bodies(part: Message, attached: list[str], depth: int) -> list[Message]:
    """The parts that hold what was written, in order; of alternatives the plainest that says something."""
    if depth > _MAX_DEPTH or len(attached) > _MAX_PARTS:
        raise ParseError("its parts are nested too deep" if depth > _MAX_DEPTH else "it has too many parts")
    kind = part.get_content_type()
    name = part.get_filename()
    if name or part.get_content_disposition() == "attachment" or kind == "message/rfc822":
        attached.append(_name(part, name))
        return []
    children = part.get_payload()
    if not isinstance(children, list):
        return [part] if kind in ("text/plain", "text/html") else []
    found = [_bodies(child, attached, depth + 1) for child in children if isinstance(child, Message)]
    if kind == "multipart/alternative":
        said = [bodies for bodies in found if any(_payload(body).strip() for body in bodies)]
        return min(said, key=lambda bodies: bodies[0].get_content_type() != "text/plain", default=[])
    return [body for bodies in found for body in bodies]


def _name(part: Message, name: str | None) -> str:
    inner = part.get_payload()
    if name is None and isinstance(inner, list) and inner and isinstance(inner[0], Message):
        name = _header(inner[0], "Subject")
    pieces = [_piece(value, charset) for value, charset in decode_header(collapse_rfc2231_value(name or "unnamed"))]
    return " ".join("".join(pieces).split())


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _write_body(part: Message, draft: Draft) -> None:
    text = _decoded(_payload(part), part.get_content_charset())
    if not text.strip():
        return
    if part.get_content_type() == "text/html":
        write_page(tree(text), draft)
    else:
        draft.write(plain(text.replace("\r\n", "\n").replace("\r", "\n")).strip() + "\n")
    draft.write("\n")
