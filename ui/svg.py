"""Bar charts as inline SVG, a few lines of our own: widths in per cent, so that text keeps its size on every screen.

Pure functions of numbers and labels; the colours are the page's.
"""

import html
from collections.abc import Sequence

from rag.evaluation.report import Group

_ROW, _TOP = 26, 8  # pixels
_LEFT, _WIDTH = 27.0, 46.0  # per cent: where bars begin, and how long 1.0 is


def bars(name: str, title: str, groups: Sequence[Group], expected: bool = False) -> str:
    """A bar a group, 0 to 1, with its interval as a whisker, and a mark at what was `expected`.

    `name` is the chart's own within the page.
    """
    bottom = _TOP + _ROW * len(groups)
    described = "; ".join(f"{group.label}: {_number(group)}" for group in groups)
    return (
        f'<svg class="chart" role="img" aria-labelledby="{name}-title {name}-desc" width="100%" height="{bottom + 22}">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(described)}</desc>'
        + "".join(_gridline(value, bottom) for value in (0.0, 0.25, 0.5, 0.75, 1.0))
        + "".join(_bar(group, _TOP + _ROW * n, expected) for n, group in enumerate(groups))
        + "</svg>"
    )


def _bar(group: Group, top: int, expected: bool) -> str:
    """One group: its label, the bar, the whisker, the mark, the number."""
    middle = top + _ROW / 2
    parts = [f'<text x="0" y="{middle + 4}">{html.escape(group.label)}</text>']
    if group.mean is not None:
        parts.append(
            f'<rect class="bar" x="{_LEFT}%" y="{top + 5}" width="{_WIDTH * group.mean:.2f}%" height="{_ROW - 10}"/>'
        )
    if group.interval:
        low, high = group.interval
        parts.append(_line("whisker", low, middle, high, middle))
        parts += [_line("whisker", end, middle - 4, end, middle + 4) for end in (low, high)]
    if expected and group.expected is not None:
        parts.append(_line("expected", group.expected, top + 2, group.expected, top + _ROW - 2))
    parts.append(f'<text class="number" x="100%" y="{middle + 4}">{_number(group)}</text>')
    return "".join(parts)


def _gridline(value: float, bottom: int) -> str:
    text = f'<text class="axis" x="{_at(value)}" y="{bottom + 16}">{value:g}</text>' if value in (0, 0.5, 1) else ""
    return _line("grid", value, _TOP, value, bottom) + text


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{_at(x1)}" y1="{y1}" x2="{_at(x2)}" y2="{y2}"/>'


def _at(value: float) -> str:
    return f"{_LEFT + _WIDTH * value:.2f}%"


def _number(group: Group) -> str:
    return "no question" if group.mean is None else f"{group.mean:.2f} (n {group.questions})"
