"""The price of declining as one HTML page: a curve a share of the questions, against the threshold. Draws only."""

import html
from collections.abc import Mapping
from typing import Any

from ui.report_style import STYLE

_WIDTH, _HEIGHT, _EDGE = 640, 320, 40  # of the drawing, in its own units
_LINES = {
    "right": ("answered, right", "#2a7f3f"),
    "wrong": ("answered, wrong", "#b3261e"),
    "declined_answerable": ("declined though answerable", "#8a5a00"),
    "declined_unanswerable": ("declined, unanswerable", "#4a5a8a"),
}


def page(record: Mapping[str, Any]) -> str:
    """The page of a fitted confidence; it loads nothing and runs no script."""
    figures, thresholds = record["figures"], record["thresholds"]
    name = html.escape(str(record["data"]["name"]))
    marks = [float(thresholds[key]) for key in ("decline_below", "answer_from")]
    rows = "".join(
        f"<tr><th scope='row'>{point['threshold']:.2f}</th>"
        + "".join(f"<td>{point[key]:.3f}</td>" for key in _LINES)
        + "</tr>"
        for point in figures["price"][::5]
    )
    heads = "".join(f"<th scope='col'>{label}</th>" for label, _ in _LINES.values())
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>The price of declining</title>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"{STYLE}</head><body><main><h1>The price of declining</h1>"
        f"<p>Shares of {figures['questions']} questions of {name}, if answers below a confidence are declined. "
        f"The model itself would have declined {figures['refused']}. Confidences are cross-validated.</p>"
        f"{curve(figures['price'], marks)}"
        f"<table><thead><tr><th scope='col'>threshold</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        "</main></body></html>"
    )


def curve(price: list[dict[str, float]], marks: list[float]) -> str:
    """Points of `rag.evaluation.reliability.price` as lines, and a mark at each threshold in use."""
    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
        + " ".join(f"{_x(point['threshold']):.1f},{_y(point[key]):.1f}" for point in price)
        + f'"/><text x="{_x(0) + 8 + 150 * n}" y="14" style="fill: {colour}">{label}</text>'
        for n, (key, (label, colour)) in enumerate(_LINES.items())
    )
    ticks = "".join(
        f'<text x="{_x(at):.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{at:g}</text>'
        f'<text x="4" y="{_y(at) + 4:.1f}">{at:g}</text>'
        f'<line x1="{_x(0)}" x2="{_x(1)}" y1="{_y(at):.1f}" y2="{_y(at):.1f}" stroke-opacity="0.2"/>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    )
    dashes = "".join(
        f'<line x1="{_x(at):.1f}" x2="{_x(at):.1f}" y1="{_y(0)}" y2="{_y(1)}" stroke-dasharray="4 4"/>' for at in marks
    )
    look = "svg { font-size: 11px } text { fill: currentColor } line { stroke: currentColor }"
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%"><style>{look}</style>'
        "<title>Shares of the questions against the threshold; dashed: the thresholds in use</title>"
        f"{ticks}{dashes}{lines}</svg>"
    )


def _x(threshold: float) -> float:
    return _EDGE + threshold * (_WIDTH - 2 * _EDGE)


def _y(share: float) -> float:
    return _HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE)
