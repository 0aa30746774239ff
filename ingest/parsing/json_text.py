"""JSON and JSONL as text: a line a value with its path, a line a flat object, numbers exactly as they are written."""

import json
from collections.abc import Iterable, Iterator
from typing import NoReturn, TypeGuard

from ingest.parsing.parsed import Draft, Parsed, plain, table_rows
from ingest.parsing.text import decode
from rag.errors import ParseError

_MAX_DEPTH = 100
_ROW_LENGTH = 400  # characters of an object that is still written as one line


class _Pairs(list[tuple[str, object]]):
    """A JSON object: its keys may come twice."""


def parse_json(content: bytes) -> Parsed:
    """Values with their paths; the items of an outer list are numbered, lists of objects inside get a heading."""
    value = _loads(decode(content), "it is not valid JSON")
    draft = Draft("item")
    if _is_list(value):
        _write_items(draft, enumerate(value, start=1))
    elif isinstance(value, _Pairs):
        for key, inner in sorted(value, key=lambda pair: _is_list(pair[1])):  # what has no heading comes first
            if _is_list(inner):
                draft.write(f"\n# {' '.join(key.split())}\n\n")
            _write(draft, _lines(inner, key, 1))
    else:
        _write(draft, _lines(value, "", 0))
    return draft.parsed()


def parse_jsonl(content: bytes) -> Parsed:
    """A JSON value a line; the line's number is its place."""
    draft = Draft("line")
    lines = decode(content).split("\n")
    filled = ((n, line) for n, line in enumerate(lines, start=1) if line.strip())
    _write_items(draft, ((n, _loads(line, f"its line {n} is not valid JSON")) for n, line in filled))
    return draft.parsed()


def _write_items(draft: Draft, items: Iterable[tuple[int, object]]) -> None:
    for number, item in items:
        lines = list(_lines(item, "", 0))
        if any(lines):
            draft.place(number)
            _write(draft, lines)


def _write(draft: Draft, lines: Iterable[str]) -> None:
    """The lines; where it is several that belong together a blank one follows."""
    filled = [plain(line) for line in lines if line]
    draft.write("".join(line + "\n" for line in filled) + "\n" * (len(filled) > 1))


def _loads(text: str, problem: str) -> object:
    try:
        return json.loads(
            text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str, strict=False
        )
    except ValueError as error:
        raise ParseError(f"{problem}{_why(error)}") from error
    except RecursionError:
        _too_deep()


def _why(error: ValueError) -> str:
    """What was expected, and where if there are lines."""
    if not isinstance(error, json.JSONDecodeError):
        return ""
    line = f" in line {error.lineno}" if "\n" in error.doc else ""
    return f": {error.msg.lower().removesuffix(' starting at')}{line}"


def _too_deep() -> NoReturn:
    raise ParseError(f"its values are nested more than {_MAX_DEPTH} deep") from None


def _is_list(value: object) -> TypeGuard[list[object]]:
    """Whether a value is a list that holds more than scalars."""
    return isinstance(value, list) and not isinstance(value, _Pairs) and any(isinstance(v, list) for v in value)


def _lines(value: object, path: str, depth: int) -> Iterator[str]:
    """A value as lines that each make sense alone: `orders[3].customer.name: Ann`."""
    if depth > _MAX_DEPTH:
        _too_deep()
    row = _row(value) if isinstance(value, _Pairs) and (not path or path.endswith("]")) else ""
    if isinstance(value, _Pairs) and not row:
        for key, inner in value:
            yield from _lines(inner, f"{path}.{key}" if path else key, depth + 1)
    elif _is_list(value):
        for n, inner in enumerate(value, start=1):
            yield from _lines(inner, f"{path}[{n}]", depth + 1)
    else:
        text = row or (", ".join(filter(None, map(_scalar, value))) if isinstance(value, list) else _scalar(value))
        yield f"{path}: {text}" if path and text else text


def _row(pairs: _Pairs) -> str:
    """`name: Oak; price: 3` for a flat, short object, else nothing."""
    if any(isinstance(inner, list) for _, inner in pairs):
        return ""
    texts = [_scalar(inner) for _, inner in pairs]
    if sum(map(len, texts)) > _ROW_LENGTH:
        return ""
    return next(iter(table_rows([key for key, _ in pairs], [texts])), "")


def _scalar(value: object) -> str:
    names: dict[object, str] = {None: "", True: "true", False: "false"}
    return value if isinstance(value, str) else names[value]
