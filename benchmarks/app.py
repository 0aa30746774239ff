"""How soon the app is there: first paint, a question to its answer, a rerun that only moves a slider, and scrolling.

    python -m benchmarks.app [--rounds N]

Over the example documents, in headless Chromium on the same machine; seconds, median and range. The server is warm: it
has loaded its models and answered one question.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rag.settings import default_home
from tests.browsing import CHROMIUM, chromium, serving
from ui.cli import main as rag
from ui.words import words

EXAMPLES = Path(__file__).parents[1] / "examples/documents"
QUESTIONS = ("Who looks after the tool library?", "Which weekday is the steam boiler fired up?")
WAIT = 120_000  # milliseconds
t = words("en")


def measure(browser, url: str) -> Iterator[tuple[str, float]]:
    """One visitor: what took how long."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    page.goto(url)
    page.locator("h1").wait_for(timeout=WAIT)
    yield "title there", time.perf_counter() - began
    box = page.get_by_placeholder(re.compile("Ask a question"))
    box.wait_for(timeout=WAIT)
    yield "all controls there", time.perf_counter() - began
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
    yield "first contentful paint", page.evaluate(paint)
    for question, what in zip(QUESTIONS, ("a question", "a second one"), strict=True):
        before = page.get_by_text(t("ask-how")).count()
        box.fill(question)
        began = time.perf_counter()
        box.press("Enter")
        page.locator(".ob-token, .ob-answer").nth(before).wait_for(timeout=WAIT)
        yield f"{what}, to the first word on the page", time.perf_counter() - began
        page.get_by_text(t("ask-how")).nth(before).wait_for(timeout=WAIT)
        yield f"{what}, to its answer with sources", time.perf_counter() - began
    slider = page.locator(".st-key-ask-temperature [tabindex='0']").last
    slider.focus()
    began = time.perf_counter()
    slider.press("ArrowRight")
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached", timeout=WAIT)
    page.locator(".st-key-ask-temperature", has_text="0.05").wait_for(timeout=WAIT)
    yield "a slider moved", time.perf_counter() - began
    page.close()


# 30 steps of 40 pixels down, and up again; how long each picture took.
SCROLL = """async () => {
    const box = document.querySelector("[data-testid=stMain]"), frames = [];
    for (let n = 0; n < 60; n++) {
        const begun = performance.now();
        box.scrollTop = (n < 30 ? n : 60 - n) * 40;
        await new Promise(requestAnimationFrame);
        frames.push((performance.now() - begun) / 1000);
    }
    return frames;
}"""


def scroll(browser, url: str) -> list[float]:
    """Seconds a picture takes while an answer of more than 400 tokens is scrolled in the token view."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url)
    box = page.get_by_placeholder(re.compile("Ask a question"))
    box.fill(QUESTIONS[0], timeout=WAIT)
    box.press("Enter")
    page.get_by_text(t("ask-how")).wait_for(timeout=WAIT)
    page.get_by_text(t("ask-behind")).click()
    page.locator("[data-n='400']").wait_for(state="attached", timeout=WAIT)
    page.wait_for_timeout(2000)
    frames: list[float] = page.evaluate(SCROLL)
    page.close()
    return frames


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if CHROMIUM is None:
        print("The app is not measured: there is no Chromium on this machine.")
        return
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").symlink_to(default_home() / "models")
        rag(["ingest", str(EXAMPLES), "--home", home, "--collection", "examples", "--quiet"])
        with serving(home, "--collection", "examples") as url, chromium() as browser:
            list(measure(browser, url))
            for _ in range(rounds):
                for what, seconds in measure(browser, url):
                    found.setdefault(what, []).append(seconds)
        lengths = ("--max-new-tokens", "420", "--min-new-tokens", "410")
        with serving(home, "--collection", "examples", *lengths) as url, chromium() as browser:
            frames = scroll(browser, url)
    found["a picture while 410 tokens scroll"] = frames
    for what, seconds in found.items():
        print(f"| {what} | {statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f}) |")


if __name__ == "__main__":
    main()
