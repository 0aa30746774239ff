"""A run's report: groups, failures by cost, and a page that is whole, harmless and readable without a script."""

import itertools
import math
import re
from html.parser import HTMLParser

import pytest

from rag.evaluation.report import report
from rag.evaluation.saved import read_run
from tests.browsing import CHROMIUM, chromium
from tests.run_rows import failed, row, save
from tests.test_cli import FAST
from ui.cli import main
from ui.report import MOST_FAILURES, report_page

HOSTILE = "<script>alert(1)</script>\" onmouseover='x' &amp; <!-- \x00\x1b[31m \ud800 </title></style>"
VOID = {"meta", "line", "rect"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; asserts that every tag is closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def made(tmp_path):
    """A run from rows, read again."""
    numbers = itertools.count()

    def make(rows, **manifest):
        return read_run(save(tmp_path / f"run{next(numbers)}", rows, **manifest))

    return make


def sure(number, probability, f1=0.0, **more):
    """A row whose two tokens have one probability."""
    logprob = math.log(probability)
    return row(number, f1, logprob=2 * logprob, logprobs=[logprob, logprob], **more)


def of(groups):
    return {group.label: (group.questions, group.mean) for group in groups if group.questions}


def test_groups_by_hand(made):
    rows = [
        sure(0, 0.95, 1.0, relevant_rank=1),
        sure(1, 0.92, 0.5, relevant_rank=7),
        sure(2, 0.05, 0.0, relevant_rank=None),
        sure(3, 0.93, None, token_ids=[1] * 9),  # an answer where there is none
        sure(4, 0.5, 0.0, relevant_rank=1, abstained="unsure"),
        failed(5),
    ]
    found = report(made(rows))
    assert of(found.by_probability) == {"0.9 to 1.0": (3, 0.5), "0.0 to 0.1": (1, 0)}
    assert found.by_probability[-1].expected == pytest.approx((0.95 + 0.92 + 0.93) / 3)
    assert len(found.by_probability) == 10
    assert of(found.by_rank) == {"1": (2, 0.5), "6 to 10": (1, 0.5), "not retrieved": (1, 0)}
    assert of(found.by_length) == {"2 to 3": (3, 0.5), "8 to 15": (1, 0)}
    assert found.declines == {(True, False): 3, (True, True): 1, (False, False): 1, (False, True): 0}
    assert {metric.label: metric.mean for metric in found.metrics}["f1"] == 0.375


def test_every_answer_is_in_one_bin_of_each_kind(made):
    rows = [sure(n, p / 100, token_ids=[0] * n, relevant_rank=n or None) for n, p in enumerate(range(1, 101))]
    found = report(made(rows))
    for groups in (found.by_probability, found.by_length, found.by_rank):
        assert sum(group.questions for group in groups) == 100


def test_few_or_equal_values_have_no_interval(made):
    varied = {group.label: group.interval for group in report(made([row(n, n % 2) for n in range(12)])).metrics}
    low, high = varied["f1"]
    assert 0 < low < 0.5 < high < 1
    assert varied["tokens_per_question"] is None  # all are 2
    assert {group.interval for group in report(made([row(n, n % 2) for n in range(9)])).metrics} == {None}


def test_failures_come_by_cost(made):
    rows = [
        sure(0, 0.3),
        sure(1, 0.9),
        sure(2, 0.6, None),
        sure(3, 0.99, 0.1),  # not all wrong
        sure(4, 0.9, relevant_rank=None, abstained="unsure"),
        sure(5, 0.9, relevant_rank=2, abstained="unsure"),
        sure(6, 0.9, None, abstained="unsure"),  # right
    ]
    found = report(made(rows))
    assert [r["id"] for r in found.wrong_answers] == ["q1", "q2", "q0"]
    assert [r["id"] for r in found.wrong_refusals] == ["q5", "q4"]


def test_the_page_needs_nothing_from_anywhere(made):
    text = report_page(report(made([sure(n, 0.5, n % 2, relevant_rank=1) for n in range(30)])))
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "a", "form", "object", "base"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name in ("src", "href", "xlink:href") or name.startswith("on")], tag
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|url\(|@import", text)


def test_hostile_text_stays_text(made):
    rows = [
        sure(
            0,
            0.5,
            question=HOSTILE,
            answers=[HOSTILE],
            answer=HOSTILE,
            tokens=[HOSTILE, HOSTILE],
            finish_reason=HOSTILE,
            passages=[{"rank": HOSTILE, "source": HOSTILE, "place": HOSTILE}],
        ),
        sure(1, 0.5, answer=HOSTILE, abstained=HOSTILE),
        failed(2) | {"error": HOSTILE},
    ]
    run = made(rows, language_model=HOSTILE, params={HOSTILE: HOSTILE}, data={"name": HOSTILE})
    text = report_page(report(run))
    page = Page(text)
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert "script" not in {tag for tag, _ in page.tags}
    assert text.count("<!--") == 0
    assert page.text.count("<script>alert(1)</script>\" onmouseover='x' &amp;") >= 10
    assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", text)
    text.encode()


def test_tokens_are_shaded_and_numbered(made):
    logprobs = {"logprobs": [-0.05, -3.0], "logprob": -3.05}
    page = report_page(report(made([row(0, 0.0, tokens=["an", " elm"], **logprobs)])))
    assert '<span class="ob-token ob-sure" title="probability 0.951">an</span>' in page
    assert '<span class="ob-token ob-guess" title="probability 0.050"> elm</span>' in page
    assert "<bdi>elm</bdi> 0.050" in page


def test_without_their_texts_tokens_are_numbers(made):
    page = report_page(report(made([row(0, 0.0, answer="an elm")])))
    assert "<div>an elm</div>" in page
    assert '<span class="ob-token ob-unsure" title="probability 0.472">2 </span>' in page


def test_very_long_answers_and_many_failures_are_cut_and_it_is_said(made):
    n = 5000
    long = sure(0, 0.9, answer="word " * n, tokens=["word "] * n, token_ids=[1] * n)
    long |= {"logprobs": [-0.1] * n, "logprob": -0.1 * n, "question": "w" * 100_000}
    page = report_page(report(made([long, *(sure(i, 0.5) for i in range(1, 300))])))
    assert "(4700 more tokens)" in page
    assert "(98000 more characters)" in page
    assert page.count('class="failure"') == MOST_FAILURES
    assert "300 wrong answers, 0 wrong refusals. The 200 costliest are shown." in page
    assert len(page) < 1_000_000


def test_every_chart_has_a_title_a_description_and_a_table(made):
    rows = [sure(n, 0.5, n % 2, relevant_rank=1) for n in range(30)]
    page = Page(report_page(report(made(rows))))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    charts = [a for tag, a in page.tags if tag == "svg"]
    assert len(charts) == 3
    for chart in charts:
        assert chart["role"] == "img"
        assert set(chart["aria-labelledby"].split()) <= set(ids)
    assert page.text.count("the numbers") == 3


def test_the_command_writes_the_page(tmp_path, capsys):
    folder = save(tmp_path / "run", [row(0), row(1, None)])
    assert main(["eval", "report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    other = tmp_path / "other.html"
    assert main(["eval", "report", str(folder), "--out", str(other)]) == 0
    assert other.read_text() == (folder / "report.html").read_text()
    assert main(["eval", "report", str(save(tmp_path / "empty", []))]) == 2
    assert "holds no finished answer" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_runs_and_nothing_is_wider_than_the_screen(made, tmp_path, width):
    rows = [sure(n, 0.9, question=HOSTILE, tokens=["w" * 900, HOSTILE], answers=["o" * 900]) for n in range(9)]
    rows.append(sure(9, 0.9, relevant_rank=1, passages=[{"rank": 1, "source": "/" + "s" * 900, "place": None}]))
    file = tmp_path / "report.html"
    file.write_text(report_page(report(made(rows, template={"text": "t" * 900}))), encoding="utf-8")
    said = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg").first.is_visible()
    assert said == []


def test_a_run_of_the_command_is_compared_and_reported(rag, tmp_path):
    data, folder = tmp_path / "data.jsonl", tmp_path / "run"
    data.write_text('{"id": 1, "question": "Oak?", "answers": ["yes"]}\n{"id": 2, "question": "Elm?", "answers": []}\n')
    assert rag("eval", "answers", data, "--out", folder, *FAST)[0] == 0
    assert rag("eval", "compare", folder, folder)[0] == 0
    assert rag("eval", "report", folder)[0] == 0
    assert "Oak?" in (folder / "report.html").read_text(encoding="utf-8")
