"""What a page says while a job of the worker is at work, and text that Markdown leaves alone."""

import time

import pytest

from ui import page, resources
from ui.words import words
from ui.worker import Worker

t = words("en")


class Place:
    """Where a page writes; it keeps what was written."""

    def __init__(self):
        self.said = []

    def caption(self, text):
        if self.said[-1:] != [text]:
            self.said.append(text)


@pytest.fixture
def worker(monkeypatch):
    made = Worker()
    monkeypatch.setattr(resources, "worker", lambda: made)
    return made


def said(job):
    place = Place()
    status = page.Status(place, t)
    for event in page.followed(resources.worker().submit(job), status, t):
        status.say(event)
    return place.said


def test_a_stage_stays_said_while_it_lasts(worker):
    def job(cancelled, tell):
        for stage in ("Searching", "Reading"):
            tell(stage)
            time.sleep(0.6)

    assert said(job) == ["Searching", "Reading"]


def test_waiting_is_said_as_long_as_it_lasts(worker):
    worker.submit(lambda cancelled, tell: time.sleep(0.6))

    def job(cancelled, tell):
        time.sleep(0.6)
        tell("Writing")

    assert said(job) == [page.plain(t("app-waiting", ahead=1)), page.plain(t("app-working")), "Writing"]


def test_two_who_come_first_at_once_have_one_worker(monkeypatch):
    import threading

    made = []

    class Slow(Worker):
        def __init__(self):
            time.sleep(0.1)
            super().__init__()
            made.append(self)

    monkeypatch.setattr(resources, "Worker", Slow)
    monkeypatch.setattr(resources, "_warm_up", lambda cancelled, tell: None)
    resources._worker.cache_clear()
    threads = [threading.Thread(target=resources.worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    resources._worker.cache_clear()
    assert len(made) == 1


@pytest.mark.parametrize(
    "text", ["*a*", "[x](http://y)", "`a`", "# a", "$x$", ":red[a]", "<b>", "a_b_c", "1. a", "~~a~~"]
)
def test_markdown_leaves_plain_text_alone(text):
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark").enable("strikethrough").render(page.plain(text))
    assert "".join(c for c in shown.replace("<p>", "").replace("</p>", "").strip()) == (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
