"""The token view as one HTML file that needs nothing else, with question, answer, sources and settings.

All text is escaped. The page may load nothing, and run no script and no style but its own, by their hashes.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import fields

from rag.evidence import Evidence
from rag.schema import Answer, RetrievedPassage
from ui.answer_html import place
from ui.token_view.assets import script, style
from ui.token_view.data import view_data
from ui.trust import trust
from ui.words import Words, in_words

_NOT_FOR_HTML = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Each way on is drawn from its own data; another token cannot be chosen, for nobody is here to write on.
_START = """
const views = JSON.parse(document.getElementById("views").textContent);
const parentElement = document.getElementById("view");
const draw = (n) => tokenView({ data: views[n], parentElement, setTriggerValue: (_, choice) => draw(choice.position) });
draw(0);
"""
_STYLE = """
:root { color-scheme: light dark; --st-text-color: #1c1c20; --st-background-color: #fff; --st-border-color: #d3d3db;
  --st-secondary-background-color: #f2f2f5; --st-blue-color: #1c74d4; --st-orange-color: #c2570c; }
@media (prefers-color-scheme: dark) {
  :root { --st-text-color: #ececf1; --st-background-color: #16171c; --st-border-color: #3c3d47;
    --st-secondary-background-color: #23242b; --st-blue-color: #62a8f8; --st-orange-color: #f2934d; }
}
* { box-sizing: border-box; }
body { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 5rem; background: var(--st-background-color);
  color: var(--st-text-color); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.375rem; margin: .25rem 0 1.25rem; } h2 { font-size: 1rem; margin: 2.5rem 0 .75rem; }
.eyebrow { margin: 0; font-size: .8125rem; opacity: .85; }
.answer, .text { white-space: pre-wrap; }
details.source { border-top: 1px solid var(--st-border-color); padding: .5rem 0; }
.source summary { cursor: pointer; } .text { margin: .5rem 0; padding-left: 1rem; }
dl.made { display: grid; grid-template-columns: minmax(0, 12rem) 1fr; gap: .25rem 1rem; margin: 0; font-size: .875rem; }
dl.made dd { margin: 0; font-variant-numeric: tabular-nums; }
:focus-visible { outline: 2px solid var(--st-blue-color); outline-offset: 2px; }
"""


def page(answer: Answer, evidence: Evidence | None, branches: Sequence[Answer], t: Words) -> str:
    """The whole page: it shows the answer first, and each of its branches when asked to."""
    views = [{**view_data(answer, evidence, branches, n, t), "choose": False} for n in range(len(branches) + 1)]
    data = json.dumps(views, allow_nan=False).replace("<", "\\u003c")  # nothing in it can end the script element
    code, look = script() + _START, style() + _STYLE
    own = f"script-src {_source(code)}; style-src {_source(look)}"
    policy = f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        + _element("title", t("token-page-title"))
        + f"<style>{look}</style>"
    )
    body = (
        f'<p class="eyebrow">{_text(t("token-page-question"))}</p><h1 dir="auto">{_text(answer.prompt.question)}</h1>'
        f'{_answer(answer, t)}{_element("h2", t("token-page-tokens"))}<div id="view"></div>'
        f"{_sources(answer, t)}{_made(answer, t)}"
    )
    return (
        f'<!doctype html><html lang="{t("token-page-language")}"><head>{head}</head><body><main>{body}</main>'
        f'<script type="application/json" id="views">{data}</script>'
        f'<script type="module">{code}</script></body></html>\n'
    )


def _source(text: str) -> str:
    """How a policy names a script or style of the page itself."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _answer(answer: Answer, t: Words) -> str:
    said = f'<p class="answer" dir="auto">{_text(answer.text)}</p>' if answer.text else ""
    why = _element("p", t("token-page-declined", why=trust(answer, t).declined)) if answer.abstained else ""
    return _element("h2", t("token-page-answer")) + said + why


def _sources(answer: Answer, t: Words) -> str:
    passages = sorted(answer.prompt.passages, key=lambda p: p.rank)
    body = "".join(_passage(p, t) for p in passages)
    return _element("h2", t("token-page-sources")) + (body or _element("p", t("token-page-no-sources")))


def _passage(retrieved: RetrievedPassage, t: Words) -> str:
    """A passage that was read: title and place, and below them its text."""
    passage = retrieved.passage
    where = ", ".join(filter(None, (passage.title, " › ".join(passage.heading_path), place(passage, t))))
    read = retrieved.read
    cut = f'<p class="eyebrow">{_text(t("token-page-cut", read=read))}</p>' if read is not None else ""
    return (
        f'<details class="source"><summary><b>[{retrieved.rank}]</b> <bdi>{_text(where)}</bdi></summary>'
        f'<p class="eyebrow"><bdi>{_text(passage.source)}</bdi></p>{cut}'
        f'<div class="text" dir="auto">{_text(passage.text)}</div></details>'
    )


def _made(answer: Answer, t: Words) -> str:
    """The settings and the seed: what it takes to write the same answer again."""
    confidence = t("token-page-uncalibrated")
    if answer.confidence is not None and answer.calibrated_on:
        value = f"{answer.confidence:.2f}"
        confidence = t("token-page-calibrated", value=value, data=in_words(answer.calibrated_on, t))
    rows = {
        t("token-page-model"): answer.language_model,
        t("token-page-template"): answer.prompt.template,
        t("token-page-ended"): answer.finish_reason,
        t("token-page-confidence"): confidence,
        t("token-page-seed"): answer.params.seed,
        **{f.name: getattr(answer.params, f.name) for f in fields(answer.params) if f.name != "seed"},
    }
    told = {name: _plain(value, t) for name, value in rows.items()}
    body = "".join(f"<dt>{_text(name)}</dt><dd><bdi>{_text(value)}</bdi></dd>" for name, value in told.items())
    return f'{_element("h2", t("token-page-made"))}<dl class="made">{body}</dl>'


def _plain(value: object, t: Words) -> str:
    """A setting as text: a stop string such as a line break can be seen in it."""
    if value is None or value == ():
        return t("token-page-none")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _element(tag: str, text: str) -> str:
    return f"<{tag}>{_text(text)}</{tag}>"


def _text(value: object) -> str:
    """Anything as HTML text, without what no HTML may hold."""
    return html.escape(_NOT_FOR_HTML.sub("\ufffd", str(value)))
