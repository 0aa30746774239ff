"""The token view in a real browser: as the page that is exported, and as the component in an app."""

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.browsing import NEEDS_CHROMIUM, answering, chromium, patient
from tests.token_answers import SENTENCES, answer_of, evidence_of, explained, retrieved, step, steps_of
from ui.token_view.export import page as exported
from ui.words import words

EN = words("en")
ROOT = Path(__file__).parents[1]

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture
def show(browser, tmp_path):
    """Open an exported page. What goes wrong in it, and what it asks of the network, is found in `page.wrong`."""
    opened = []

    def open_page(answer, evidence=None, branches=(), width=1280, **context):
        file = tmp_path / "view.html"
        file.write_text(exported(answer, evidence, branches, EN), encoding="utf-8")
        opened.append(patient(browser.new_context(viewport={"width": width, "height": 800}, **context)))
        page = opened[-1].new_page()
        watch(page, file.as_uri())
        page.goto(file.as_uri())
        page.locator(".ob-view").wait_for()
        return page

    yield open_page
    for context in opened:
        context.close()


def watch(page, allowed):
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.wrong.append(message.text))
    page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith(allowed) or page.wrong.append(request.url))


def token(page, n):
    return page.locator(f'[data-n="{n}"]')


def card(page):
    return page.locator(".ob-card")


def in_sight(locator, width, height=800):
    box = locator.bounding_box()
    return box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height


def test_hovering_shows_what_is_behind_a_token(show):
    page = show(*explained())
    assert not card(page).is_visible()
    token(page, 3).hover()
    assert card(page).is_visible()
    told = card(page).inner_text()
    for name in ("The model's own probability", "Drawn with probability", "Rank", "Entropy", "Lift", "Leading passage"):
        assert name in told
    bars = card(page).locator(".ob-bar.ob-model").evaluate_all("bars => bars.map(bar => bar.offsetWidth)")
    assert len(bars) == 4, "three alternatives, and all others"
    assert bars[0] == max(bars) > 0
    assert in_sight(card(page), 1280)
    page.mouse.move(5, 5)
    assert not card(page).is_visible()
    assert page.wrong == []


def test_a_click_pins_and_lets_go(show):
    page = show(*explained())
    token(page, 3).click()
    token(page, 8).hover()
    assert token(page, 3).get_attribute("aria-pressed") == "true"
    assert card(page).locator(".ob-name").inner_text() == "is", "the card is still about what was pinned"
    token(page, 8).click()
    assert page.locator('[aria-pressed="true"]').count() == 1
    card(page).get_by_role("button", name="Close").click()
    assert page.locator('[aria-pressed="true"]').count() == 0
    token(page, 3).click()
    page.mouse.click(5, 5)
    assert not card(page).is_visible(), "a click elsewhere lets go"
    assert page.wrong == []


def test_the_keyboard_reaches_everything(show):
    page = show(*explained(), branches=[answer_of(steps_of("The tea room is closed.", 3))])
    focused = "document.activeElement.dataset.key"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "mode-probability"
    page.keyboard.press("ArrowRight")
    assert page.locator("input[value=rank]").is_checked()
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "token-0"
    for key, expected in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 17), ("Home", 0)]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == f"token-{expected}"
    assert card(page).is_visible(), "focus shows what hovering shows"
    assert page.evaluate("getComputedStyle(document.activeElement.firstElementChild).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert token(page, 0).get_attribute("aria-pressed") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "ob-close"
    page.keyboard.press("Escape")
    assert not card(page).is_visible()
    assert page.evaluate(focused) == "token-0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY", "all tokens are one stop"
    assert page.wrong == []


def test_up_and_down_move_between_lines(show):
    page = show(*explained(SENTENCES * 4), width=390)
    token(page, 0).focus()
    top = "document.activeElement.firstElementChild.getBoundingClientRect().top"
    before = page.evaluate(top)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(top) > before
    page.keyboard.press("ArrowUp")
    assert page.evaluate(top) == before


@pytest.mark.parametrize("mode", ["probability", "rank", "entropy", "lift", "passage"])
def test_each_colouring_says_what_it_shows(show, mode):
    page = show(*explained())
    page.locator(f"input[value={mode}]").check(force=True)
    inks = page.locator(".ob-token .ob-ink").evaluate_all("all => all.map(one => one.className)")
    bands = {ink.split()[1] for ink in inks if " ob-" in ink}
    legend = set(page.locator(".ob-legend span").evaluate_all("all => all.map(one => one.classList[0])"))
    assert len(bands) > 1
    assert bands <= legend
    said = {
        "probability": "probability 0.",
        "rank": "rank ",
        "entropy": " nats",
        "lift": " nats",
        "passage": "passage ",
    }
    labels = page.locator(".ob-token").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert sum(said[mode] in label for label in labels) > len(labels) / 2
    assert (page.locator("[data-mark]").count() > 0) == (mode == "passage")


def test_only_ink_is_coloured_and_numbered(show):
    answer = answer_of([step(" One"), step("."), step("\n\n"), step("  "), step("Two")])
    page = show(answer, evidence_of(answer))
    page.locator("input[value=passage]").check(force=True)
    inks = page.locator(".ob-ink").evaluate_all("all => all.map(one => one.textContent)")
    assert inks == ["One", ".", "↵\n↵", "  ", "Two"]
    assert page.locator(".ob-tokens").evaluate("all => all.textContent") == "One.↵\n↵\n  Two"


def test_what_is_not_at_hand_cannot_be_chosen_and_says_why(show):
    page = show(answer_of(steps_of(SENTENCES)))
    assert page.locator("input:disabled").count() == 2
    assert page.get_by_text(EN("token-note-passage")).is_visible()
    assert page.locator("table").count() == 0


def test_branches_are_listed_and_shown(show):
    branch = answer_of(steps_of("The tea room is closed.", 3))
    page = show(*explained(), branches=[branch])
    listed = page.locator(".ob-branch")
    assert listed.count() == 2
    assert f"log-probability −{-branch.logprob:.2f}" in listed.nth(1).inner_text()
    page.locator("input[value=rank]").check(force=True)
    listed.nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator(".ob-token").count() == len(branch.steps)
    assert page.locator('.ob-branch[aria-current="true"]').inner_text().startswith("The tea room is closed.")
    assert page.evaluate("document.activeElement.dataset.key") == "branch-1", "the focus stays where it was"
    assert page.locator("input[value=rank]").is_checked(), "and so does the colouring"
    page.locator(".ob-branch").nth(0).click()
    assert page.locator(".ob-token").count() == 18
    assert page.wrong == []


def test_in_an_exported_page_nothing_is_written_on(show):
    page = show(*explained())
    token(page, 3).click()
    assert card(page).locator("button").count() == 1, "only the one that closes it"


def test_the_time_line_and_the_tokens_point_at_each_other(show):
    page = show(*explained())
    line = page.locator(".ob-line")
    assert line.locator(".ob-path").count() == 2
    box = line.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    lit = page.locator(".ob-lit")
    assert lit.count() == 1
    assert lit.inner_text().strip() in page.locator(".ob-reading").inner_text()
    page.locator("tbody tr").first.hover()
    assert page.locator(".ob-lit").count() == 8, "the tokens of the first sentence"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(show, width):
    passages = tuple(retrieved(n, title="A" * 200) for n in range(1, 9))
    answer = answer_of(steps_of(f"{SENTENCES} {'b' * 300} {SENTENCES}"), passages=passages, question="q" * 300)
    page = show(answer, evidence_of(answer), [answer], width=width)
    for n in (0, 9, 30):
        token(page, n).click()
        assert in_sight(card(page), width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press("Escape")
    if width == 390:
        token(page, 20).click()
        sheet, own = card(page).bounding_box(), token(page, 20).bounding_box()
        assert (sheet["x"], sheet["width"], round(sheet["y"] + sheet["height"])) == (0, 390, 800), (
            "a sheet at the bottom"
        )
        page.wait_for_function("() => document.querySelector('[data-n=\"20\"]').getBoundingClientRect().bottom < 400")
        assert own["width"] > 0


def test_long_answers_stay_quick(show):
    """Bounds that only something wrong by an order of magnitude breaks."""
    answer, evidence = explained("The oak keel of the boat was laid here. " * 50)
    assert len(answer.steps) > 400
    page = show(answer, evidence)
    recolour = """() => {
        const begun = performance.now();
        for (const mode of ["rank", "entropy", "lift", "passage", "probability"]) {
            document.querySelector(`input[value=${mode}]`).click();
            document.body.offsetHeight;
        }
        return (performance.now() - begun) / 5;
    }"""
    assert page.evaluate(recolour) < 500
    scroll = """async () => {
        const frames = [];
        for (let y = 0; y < 1200; y += 40) {
            const begun = performance.now();
            window.scrollTo(0, y);
            await new Promise(requestAnimationFrame);
            frames.push(performance.now() - begun);
        }
        return frames.sort((a, b) => a - b)[Math.floor(frames.length / 2)];
    }"""
    assert page.evaluate(scroll) < 250
    hover = """() => {
        const begun = performance.now(), spans = [...document.querySelectorAll(".ob-token")].slice(0, 100);
        for (const span of spans) span.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
        return (performance.now() - begun) / 100;
    }"""
    assert page.evaluate(hover) < 100


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\u202eb\u2028c",
]


def test_hostile_text_does_nothing(show):
    text = " ".join(HOSTILE)
    passages = (retrieved(1, title=text, text=text),)
    steps = [*(step(f" {one}", logprob=-1.0) for one in HOSTILE), step("", finish_reason="end_token")]
    answer = replace(answer_of(steps, question=text, passages=passages), language_model=text, abstained=text)
    page = show(answer, evidence_of(answer), [answer_of(steps[:2], passages=passages)])
    for n in range(len(steps)):
        token(page, n).click()
        assert card(page).is_visible()
        page.keyboard.press("Escape")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert HOSTILE[0] in page.locator(".ob-tokens").inner_text()
    page.wait_for_timeout(200)
    assert page.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(show, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    branch = answer_of(steps_of("The tea room is closed.", 3))
    page = show(
        *explained(), branches=[branch], width=width, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True
    )
    for mode in ("probability", "lift", "passage"):
        page.locator(f"input[value={mode}]").check(force=True)
        token(page, 3).click()
        serious("pinned", Axe().run(page))
        page.keyboard.press("Escape")
        page.mouse.move(5, 5)
        serious("at rest", Axe().run(page))


def serious(when, results):
    found = [v for v in results.response["violations"] if v["impact"] in ("serious", "critical")]
    assert not found, (
        when,
        [(v["id"], [(node["html"], node["failureSummary"]) for node in v["nodes"]][:3]) for v in found],
    )


def test_motion_is_left_out_where_it_is_not_wanted(show):
    moving = "getComputedStyle(document.querySelector('.ob-branch')).transitionDuration"
    answer, evidence = explained()
    assert show(answer, evidence, [answer], reduced_motion="reduce").evaluate(moving) == "0s"
    assert show(answer, evidence, [answer], reduced_motion="no-preference").evaluate(moving) != "0s"


# --- in the app

SCRIPT = """
import streamlit as st
from tests.token_answers import answer_of, explained, steps_of
from ui.token_view import show
from ui.token_view.data import view_data
from ui.words import words

answer, evidence = explained()
branches = [answer_of(steps_of("The tea room is closed.", 3))]
shown = st.session_state.setdefault("shown", 0)
st.session_state.runs = st.session_state.get("runs", 0) + 1
chosen = show(view_data(answer, evidence, branches, shown, words("en")), key="tokens")
if chosen:
    st.session_state.chosen = chosen
    if chosen.kind == "show":
        st.session_state.shown = chosen.position
        st.rerun()
st.text(f"runs {st.session_state.runs}")
st.text(f"chosen {st.session_state.get('chosen')}")
st.button("again")
"""


@contextmanager
def streamlit(script):
    """A server that runs this script; its address."""
    options = ["--server.headless=true", "--browser.gatherUsageStats=false", "--server.address=127.0.0.1"]
    arguments = ["-m", "streamlit", "run", str(script), "--server.fileWatcherType=none", *options, "--server.port"]
    with answering(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=script.parent) as url:
        yield url


def test_in_the_app_a_choice_reaches_python(browser, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    (tmp_path / "app.py").write_text(SCRIPT, encoding="utf-8")
    with streamlit(tmp_path / "app.py") as url:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        watch(page, (url, "data:", "blob:"))
        page.goto(url)
        token(page, 3).wait_for(timeout=120_000)
        page.get_by_text("chosen None").wait_for()
        assert page.get_by_text("runs 1", exact=True).is_visible(), "nothing is triggered by drawing it"
        token(page, 3).hover()
        assert "Drawn with probability" in card(page).inner_text()
        page.locator("input[value=rank]").check(force=True)
        token(page, 3).click()
        assert in_sight(card(page), 1280, 900)
        page.get_by_text("runs 1", exact=True).wait_for()
        card(page).get_by_role("button", name="another").click()
        page.get_by_text("chosen Choice(kind='branch', position=3, token_id=2)").wait_for()
        assert not card(page).is_visible()
        page.get_by_role("button", name="again").click()
        page.get_by_text("runs 3", exact=True).wait_for()
        assert page.get_by_text("chosen Choice(kind='branch', position=3, token_id=2)").is_visible()
        page.locator(".ob-branch").nth(1).click()
        page.locator('.ob-branch[aria-current="true"]', has_text="closed").wait_for()
        assert token(page, 5).inner_text() == "■"
        assert page.locator("input[value=rank]").is_checked()
        serious("in the app", Axe().run(page, context=".stBidiComponent"))
        page.set_viewport_size({"width": 390, "height": 800})
        token(page, 2).click()
        sheet = card(page).bounding_box()
        assert (sheet["x"], sheet["width"], round(sheet["y"] + sheet["height"])) == (0, 390, 800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()
    assert page.wrong == []
