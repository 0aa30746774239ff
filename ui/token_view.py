"""The token view as static HTML: every token coloured by its probability, its alternatives on hover or focus.

Pure functions of `TokenStep`s; all text is escaped, for it comes from a model that has read documents.
"""

import html
import math
from collections.abc import Sequence

from rag.schema import TokenStep

# name, lower bound of the model's own probability. Each band has a colour and, for those who do not see it, a line.
BANDS = (("sure", 0.9), ("likely", 0.5), ("unsure", 0.1), ("guess", 0.0))

STYLE = """<style>
.ob-tokens { font-size: 1.25rem; line-height: 2.1; overflow-wrap: anywhere; }
.ob-token { position: relative; white-space: pre-wrap; padding: .1em 0; border-radius: .2em; cursor: help; }
.ob-token:focus { outline: 2px solid currentColor; }
.ob-sure { background: rgb(46 160 67 / .16); }
.ob-likely { background: rgb(214 170 0 / .22); text-decoration: underline dotted; text-underline-offset: .25em; }
.ob-unsure { background: rgb(230 110 20 / .28); text-decoration: underline dashed; text-underline-offset: .25em; }
.ob-guess { background: rgb(215 40 50 / .30); text-decoration: underline wavy; text-underline-offset: .25em; }
.ob-card { display: none; position: absolute; z-index: 10; left: 0; top: 100%; width: 17rem; padding: .7rem .8rem;
  font-size: .8rem; line-height: 1.5; white-space: normal; border-radius: .5rem; color: #f4f4f5; background: #27272a;
  box-shadow: 0 4px 16px rgb(0 0 0 / .35); text-decoration: none; }
.ob-token:hover .ob-card, .ob-token:focus .ob-card { display: block; }
.ob-row { display: grid; grid-template-columns: 6.5rem 1fr 3rem; gap: .4rem; align-items: center; }
.ob-row code { overflow: hidden; text-overflow: ellipsis; white-space: pre; color: inherit; background: none; }
.ob-bar { height: .55rem; border-radius: .2rem; background: #60a5fa; }
.ob-chosen { font-weight: 700; }
.ob-legend { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; font-size: .8rem; opacity: .85; margin-top: .4rem; }
.ob-legend span { padding: 0 .35em; border-radius: .2em; }
@media (max-width: 600px) {
  .ob-card { position: fixed; left: 5vw; right: 5vw; top: auto; bottom: 1rem; width: auto; }
}
</style>"""


def tokens_html(steps: Sequence[TokenStep], legend: bool = True) -> str:
    """The tokens of an answer, or of its beginning while it is written; with a legend of the colours below."""
    body = "".join(_token(step) for step in steps)
    return f'<div class="ob-tokens">{STYLE}{body}</div>{LEGEND if legend else ""}'


def band(logprob: float) -> str:
    """The name of the band that a log-probability falls into."""
    return next(name for name, bound in BANDS if math.exp(logprob) >= bound)


def _token(step: TokenStep) -> str:
    text = html.escape(step.text) or ("&#9632;" if step.finish_reason == "end_token" else "")
    if not text:
        return ""
    described = f"{step.text.strip() or 'end of the answer'}, probability {math.exp(step.logprob):.2f}"
    return (
        f'<span class="ob-token ob-{band(step.logprob)}" tabindex="0" aria-label="{html.escape(described)}">'
        f"{text}{_card(step)}</span>"
    )


def _card(step: TokenStep) -> str:
    """What is behind a token: both probabilities, rank, entropy and the alternatives as bars."""
    rows = "".join(
        f'<span class="ob-row{" ob-chosen" if a.token_id == step.token_id else ""}"><code>{_visible(a.text)}</code>'
        f'<span class="ob-bar" style="width:{100 * math.exp(a.logprob):.1f}%"></span>'
        f"<span>{math.exp(a.logprob):.3f}</span></span>"
        for a in step.alternatives
    )
    return (
        '<span class="ob-card" role="tooltip">'
        f"model's own probability <b>{math.exp(step.logprob):.3f}</b>, rank {step.rank}<br>"
        f"drawn with probability <b>{math.exp(step.sampled_logprob):.3f}</b><br>"
        f"entropy {step.entropy:.2f} nats{rows}</span>"
    )


def _visible(text: str) -> str:
    return html.escape(text.replace("\n", "↵").replace(" ", "␣", 1) if text.strip() else repr(text)[1:-1] or "∅")


LEGEND = (
    '<div class="ob-legend">the model\'s own probability of each token:'
    + "".join(
        f'<span class="ob-{name}">{name}, {f"{bound:g} or more" if bound else "less"}</span>' for name, bound in BANDS
    )
    + "</div>"
)
