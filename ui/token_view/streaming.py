"""The tokens of an answer as plain HTML, for while it is written and for reports: coloured, nothing behind them.

Pure functions of `TokenStep`s; all text is escaped, for it comes from a model that has read documents.
"""

import html
import math
from collections.abc import Sequence

from rag.schema import TokenStep
from ui.token_view.bands import PROBABILITY, band
from ui.token_view.signs import END, in_flow

STYLE = """<style>
.ob-tokens { font-size: 1.125rem; line-height: 2; overflow-wrap: anywhere; }
.ob-token { white-space: pre-wrap; padding: .1em 0; border-radius: .2em; text-underline-offset: .25em; }
.ob-likely { background: rgb(214 170 0 / .18); text-decoration: underline dotted; }
.ob-unsure { background: rgb(230 120 20 / .24); text-decoration: underline dashed; }
.ob-guess { background: rgb(215 40 50 / .26); text-decoration: underline wavy; }
.ob-legend { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; font-size: .8rem; opacity: .85; margin-top: .4rem; }
.ob-legend span { padding: 0 .35em; border-radius: .2em; text-underline-offset: .25em; }
</style>"""


def tokens_html(steps: Sequence[TokenStep], legend: bool = True) -> str:
    """The tokens of an answer, or of its beginning while it is written; with a legend of the colours below."""
    body = "".join(_token(step) for step in steps)
    return f'<div class="ob-tokens" dir="auto">{STYLE}{body}</div>{LEGEND if legend else ""}'


def _token(step: TokenStep) -> str:
    text = html.escape(in_flow(step.text)) or (END if step.finish_reason == "end_token" else "")
    if not text:  # inside a character: there is nothing to show yet
        return ""
    return f'<span class="ob-token ob-{band(step.logprob)}" title="{math.exp(step.logprob):.3f}">{text}</span>'


LEGEND = (
    '<div class="ob-legend">the model\'s own probability of each token:'
    + "".join(
        f'<span class="ob-{name}">{name}, {f"{bound:g} or more" if bound else "less"}</span>'
        for name, bound in PROBABILITY
    )
    + "</div>"
)
