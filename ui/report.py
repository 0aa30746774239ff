"""A run's report as one HTML page that needs nothing else: no script, no font, no file, no network.

Pure functions. All text is escaped, for questions, documents and answers may be hostile, and cut where it is very long.
"""

import html
import json
import math
import re
from collections.abc import Iterable, Sequence

from rag.evaluation.report import FEW, Group, Report
from rag.evaluation.saved import Row, mean_token_probability, settings
from ui.report_style import STYLE
from ui.svg import bars
from ui.token_view import LEGEND, band
from ui.token_view import STYLE as TOKEN_STYLE

MOST_FAILURES = 200
_MOST_CHARACTERS, _MOST_TOKENS, _OPEN = 2000, 300, 5
_NOT_FOR_HTML = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LABELS = {
    "exact_match": "Exact match",
    "f1": "F1",
    "contained": "Accepted answer contained",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU",
    "choice_accuracy": "Right choice",
    "passage_recall": "Right passage retrieved",
    "refused_answerable": "Declined, answerable",
    "refused_unanswerable": "Declined, unanswerable",
    "tokens_per_question": "Tokens a question",
    "seconds_per_question": "Seconds a question",
}


def report_page(report: Report) -> str:
    """The whole page."""
    name = _text(report.run.folder.resolve().name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Run {name}</title>{TOKEN_STYLE}{STYLE}</head><body><main>"
        f"<header><h1>Run {name}</h1>{_headline(report)}</header>"
        f"{_metrics(report.metrics)}{_charts(report)}{_declines(report)}{_failures(report)}{_made_with(report)}"
        "</main></body></html>\n"
    )


def _headline(report: Report) -> str:
    manifest, rows = report.run.manifest, report.run.rows
    data = manifest.get("data")
    what = data.get("name") if isinstance(data, dict) else None
    errors = [row["error"] for row in rows if row["error"] is not None]
    line = f"{len(rows)} questions of {_text(what)}, answered by {_text(manifest.get('language_model'))}"
    failed = f"; {len(errors)} failed, the first with: {_text(errors[0])}" if errors else ""
    return f'<p class="quiet">{line}{failed}</p>'


def _metrics(metrics: Sequence[Group]) -> str:
    cards = (
        f'<div class="card"><span class="quiet">{_LABELS[group.label]}</span><b>{_number(group.mean)}</b>'
        f'<span class="quiet">{_interval(group, "no interval")}, n&nbsp;{group.questions}</span></div>'
        for group in metrics
        if group.questions
    )
    return (
        '<section><h2>Metrics</h2><p class="quiet">Means with their 95 % bootstrap intervals. Correctness is over '
        f'answerable questions.</p><div class="cards">{"".join(cards)}</div></section>'
    )


def _charts(report: Report) -> str:
    figures = [
        _figure(
            "probability",
            "F1 by the answer's mean token probability",
            "Answers that were given, in tenths of exp(logprob / n). The dashed mark is the mean probability of a bin: "
            "bars end there where a model is as often right as it is sure.",
            report.by_probability,
            expected=True,
        ),
        _figure(
            "rank",
            "F1 by the rank of the right passage",
            "Answerable questions whose right passage is known.",
            report.by_rank,
        ),
        _figure("length", "F1 by the answer's length in tokens", "Answers that were given.", report.by_length),
    ]
    return (
        '<section><h2>When it is right</h2><p class="quiet">Bars are means, whiskers 95 % intervals (of '
        f"{FEW} questions or more that differ). An answer to an unanswerable question counts as 0; "
        f"where there is no accepted answer, the choice counts.</p>"
        f'<div class="charts">{"".join(figures)}</div></section>'
    )


def _figure(name: str, title: str, caption: str, groups: Sequence[Group], expected: bool = False) -> str:
    if not groups:
        return ""
    heads = ["", "questions", "mean", "95 % interval", *(["mean probability"] if expected else [])]
    rows = (
        [
            group.label,
            str(group.questions),
            _number(group.mean),
            _interval(group, "-"),
            *([_number(group.expected)] if expected else []),
        ]
        for group in groups
    )
    return (
        f"<figure><h3>{title}</h3><figcaption>{caption}</figcaption>{bars(name, title, groups, expected)}"
        f"<details><summary>the numbers</summary>{_table(heads, rows)}</details></figure>"
    )


def _declines(report: Report) -> str:
    counts = report.declines
    verdicts = {(True, False): "", (True, True): " (wrong)", (False, False): " (wrong)", (False, True): " (right)"}
    rows = (
        [f"{'answerable' if answerable else 'unanswerable'} question"]
        + [f"{counts[answerable, declined]}{verdicts[answerable, declined]}" for declined in (False, True)]
        for answerable in (True, False)
    )
    return f"<section><h2>What it declined</h2>{_table(['', 'answered', 'declined'], rows)}</section>"


def _failures(report: Report) -> str:
    answers = report.wrong_answers[:MOST_FAILURES]
    refusals = report.wrong_refusals[: MOST_FAILURES - len(answers)]
    wrong, declined = len(report.wrong_answers), len(report.wrong_refusals)
    cut = f" The {MOST_FAILURES} costliest are shown." if wrong + declined > MOST_FAILURES else ""
    parts = [
        ("Confident wrong answers", "Answered with F1 0, or though there is no answer; the surest first.", answers),
        ("Wrong refusals", "Declined though there is an answer; those first whose passage ranked best.", refusals),
    ]
    lists = (
        f'<h3>{title}</h3><p class="quiet">{why}</p>'
        + "".join(_failure(row, opened=n < _OPEN) for n, row in enumerate(rows))
        for title, why, rows in parts
        if rows
    )
    counts = f"<p>{wrong} wrong answers, {declined} wrong refusals.{cut}</p>"
    return f"<section><h2>Failures by cost</h2>{counts}{LEGEND}{''.join(lists)}</section>"


def _failure(row: Row, opened: bool) -> str:
    probability = mean_token_probability(row)
    declined = row.get("abstained")
    verdict = f"declined: {_text(declined)}" if declined is not None else f"probability {_number(probability)}"
    accepted = " | ".join(_text(answer) for answer in row["answers"])
    accepted = accepted if row["answerable"] else f"none: the question is unanswerable {accepted}"
    parts = {
        "accepted": f'<span dir="auto">{accepted}</span>',
        "answer": _answer(row),
        "passages": _passages(row),
        "time": _time(row),
    }
    return (
        f'<details class="failure"{" open" if opened else ""}>'
        f'<summary><span dir="auto">{_text(row["question"])}</span> '
        f'<span class="quiet">{verdict}</span></summary>'
        f"<dl>{''.join(f'<dt>{term}</dt><dd>{value}</dd>' for term, value in parts.items())}</dl></details>"
    )


def _answer(row: Row) -> str:
    """The answer with each token shaded; where a run kept no texts of its tokens, it stands above their numbers."""
    texts, plain = row.get("tokens"), ""
    if not isinstance(texts, list) or len(texts) != len(row["logprobs"]):
        texts, plain = [f"{n} " for n in range(1, len(row["logprobs"]) + 1)], f"<div>{_text(row['answer'])}</div>"
    shown = "".join(map(_token, texts[:_MOST_TOKENS], row["logprobs"]))
    more = f" ({len(texts) - _MOST_TOKENS} more tokens)" if len(texts) > _MOST_TOKENS else ""
    numbers = " · ".join(map(_numbered, texts[:_MOST_TOKENS], row["logprobs"]))
    told = f"<details><summary>the probabilities</summary>{numbers}{more}</details>" if texts else ""
    return f'<div dir="auto">{plain}<div class="ob-tokens">{shown}{more}</div>{told}</div>'


def _token(text: str, logprob: float | None) -> str:
    """A token, coloured, with its probability as the title; one without a text is a box."""
    logprob = -math.inf if logprob is None else logprob
    shown = _text(text) or "&#9632;"
    return f'<span class="ob-token ob-{band(logprob)}" title="probability {math.exp(logprob):.3f}">{shown}</span>'


def _numbered(text: str, logprob: float | None) -> str:
    """A token and its probability as text, for those who cannot point at it."""
    probability = math.exp(-math.inf if logprob is None else logprob)
    return f"<bdi>{_text(text.strip()) or '&#9632;'}</bdi> {probability:.3f}"


def _passages(row: Row) -> str:
    rank = row.get("relevant_rank")
    items = "".join(
        f"<li>[{_text(p.get('rank'))}] {_text(p.get('source'))} {_text(p.get('place') or '')}"
        f"{' <b>(the right one)</b>' if rank is not None and p.get('rank') == rank else ''}</li>"
        for p in sorted(row["passages"], key=lambda p: p.get("rank") or 0)
    )
    told = {True: "The right passage was not retrieved.", False: f"The right passage had rank {_text(rank)}."}
    return f"<ol>{items}</ol>{told[rank is None] if 'relevant_rank' in row else ''}"


def _time(row: Row) -> str:
    timings = row["timings"]
    named = [(name, timings.get(name)) for name in ("total", "retrieval", "first_token")]
    told = [f"{name.replace('_', ' ')} {value:.2f} s" for name, value in named if value is not None]
    return (
        f"{', '.join(told) or 'unknown'}; tokens: {len(row['token_ids'])}, ended by {_text(row.get('finish_reason'))}"
    )


def _made_with(report: Report) -> str:
    rows = ([_text(name), _text(_plain(value))] for name, value in settings(report.run.manifest).items())
    return f"<section><h2>Made with</h2>{_table(['setting', 'value'], rows)}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; the first of a row is its head."""
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(group: Group, otherwise: str) -> str:
    return f"{group.interval[0]:.2f} to {group.interval[1]:.2f}" if group.interval else otherwise


def _text(value: object) -> str:
    """Anything as HTML text or a quoted attribute: escaped, cut, without what no HTML may hold."""
    text = _NOT_FOR_HTML.sub("\ufffd", str(value))
    more = f"… ({len(text) - _MOST_CHARACTERS} more characters)" if len(text) > _MOST_CHARACTERS else ""
    return html.escape(text[:_MOST_CHARACTERS]) + more
