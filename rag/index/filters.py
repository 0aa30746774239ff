"""A `Filter` as conditions in SQL over the catalogue's documents `d` and their files `s`."""

import json

from rag.schema import Filter

# A file's own date counts where its contents state none.
DAY = "coalesce(d.date, date(s.mtime_ns / 1000000000, 'unixepoch'))"


def conditions(keep: Filter) -> tuple[str, list[str]]:
    """The condition and the values of its parameters."""
    parts = [
        (_any_of("s.path = value OR instr(s.path, rtrim(value, '/') || '/') = 1"), keep.folders),
        (_any_of("substr(lower(s.path), -length(value) - 1) = '.' || lower(value)"), _suffixes(keep.types)),
        (_any_of("value IN (SELECT tag FROM tags WHERE path = s.path)"), keep.tags),
        (_any_of("value IN (d.id, s.path)"), keep.documents),
    ]
    given = [(sql, json.dumps(list(values))) for sql, values in parts if values]
    given += [(f"{DAY} >= ?", keep.since)] if keep.since else []
    given += [(f"{DAY} <= ?", keep.until)] if keep.until else []
    return " AND ".join(sql for sql, _ in given) or "1", [value for _, value in given]


def _any_of(condition: str) -> str:
    return f"EXISTS (SELECT 1 FROM json_each(?) WHERE {condition})"


def _suffixes(types: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(kind.lstrip(".") for kind in types)
