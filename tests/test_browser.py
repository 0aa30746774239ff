"""The page Ask in a real browser: from a question to what is behind a token, whatever a document says."""

import json
import re
from contextlib import contextmanager

import pytest

from tests.browsing import LONG, NEEDS_CHROMIUM, chromium, eventually, patient, serving, watched
from ui import store
from ui.cli import main
from ui.words import words

pytestmark = NEEDS_CHROMIUM
LIBRARY = "Who looks after the tool library?"
TEA = "What is the name of the tea room?"
t = words("en")


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(home, tmp_path_factory):
    own = tmp_path_factory.mktemp("browsed")
    for name in ("models", "collections"):
        (own / name).symlink_to(home / name)
    with serving(own, "--collection", "examples", "--max-new-tokens", "8") as url:
        yield url


def ask(page, question):
    before = page.locator(".ob-answer").count()
    page.get_by_placeholder(re.compile("Ask a question")).fill(question, timeout=LONG)
    page.keyboard.press("Enter")
    page.locator(".ob-answer").nth(before).wait_for(timeout=LONG)
    page.get_by_text(t("ask-how")).nth(before).wait_for(timeout=LONG)


@pytest.mark.parametrize("width", [1280, 390])
def test_ask_follow_a_citation_and_look_behind_a_token(browser, server, width):
    page, wrong = watched(browser, server, viewport={"width": width, "height": 900})
    page.goto(server)
    ask(page, TEA)
    page.locator("mark", has_text="is called The Caulker's Rest and is run by").wait_for()
    cite = page.locator("a.ob-cite").first
    source = page.locator(cite.get_attribute("href"))
    outline = "e => getComputedStyle(e).outlineStyle"
    assert source.evaluate(outline) == "none"
    cite.focus()
    assert source.evaluate(outline) == "solid", "what it leans on lights up"
    cite.click()
    assert source.evaluate("e => e.getBoundingClientRect().top < innerHeight")
    page.get_by_text(t("ask-behind")).click()
    token = page.locator("[data-n='0']")
    token.hover(timeout=LONG)
    card = page.locator(".ob-card")
    card.wait_for()
    assert t("token-fact-model") in card.inner_text()
    box = card.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    page.close()


def test_a_conversation_and_its_tokens_come_down_as_files(browser, server):
    page, wrong = watched(browser, server, viewport={"width": 1280, "height": 900})
    page.goto(server)
    ask(page, TEA)
    page.get_by_text(t("ask-behind")).click()
    files = {}
    for name in ("ask-save-tokens", "talk-more", "talk-markdown", "talk-json"):
        button = page.get_by_role("button", name=t(name)).first
        if name == "talk-more":
            button.click(timeout=LONG)
            continue
        with page.expect_download(timeout=LONG) as download:
            button.click(timeout=LONG)
        files[name] = download.value.path().read_text(encoding="utf-8")
    assert files["ask-save-tokens"].startswith("<!doctype html>")
    assert f"## {TEA}" in files["talk-markdown"].replace("\\", "")
    assert json.loads(files["talk-json"])["turns"]
    assert wrong == []
    page.close()


def test_another_token_is_written_on_from(browser, server):
    page, wrong = watched(browser, server, viewport={"width": 1280, "height": 1400})
    page.goto(server)
    ask(page, TEA)
    said = page.locator(".ob-answer").inner_text()
    page.get_by_text(t("ask-behind")).click()
    page.locator("[data-n='0']").click(timeout=LONG)
    page.locator(".ob-card button.ob-row").first.click()
    listed = page.locator("[data-key^='branch']")
    listed.nth(1).wait_for(timeout=LONG)
    assert page.locator(".ob-answer").inner_text() == said, "the answer itself stays"
    page.reload()
    page.get_by_text(t("ask-behind")).click(timeout=LONG)
    listed.nth(1).wait_for(timeout=LONG)
    assert wrong == []
    page.close()


def test_two_people_ask_at_once_and_each_gets_an_own_answer(browser, server):
    contexts = [patient(browser.new_context()) for _ in range(2)]
    pages = [watched(context, server)[0] for context in contexts]
    questions = [TEA, "Who looks after the tool library?"]
    for page in pages:
        page.goto(server)
        page.get_by_placeholder(re.compile("Ask a question")).wait_for(timeout=LONG)
    for page, question in zip(pages, questions, strict=True):
        page.get_by_placeholder(re.compile("Ask a question")).fill(question)
        page.keyboard.press("Enter")
    for page, other, part in zip(pages, questions[::-1], ["Caulker", "Tobias"], strict=True):
        page.locator(".ob-answer", has_text=part).wait_for(timeout=LONG)
        assert page.locator("[data-testid=stChatMessage]", has_text=other).count() == 0
    for context in contexts:
        context.close()


def test_the_place_is_shown_and_a_tab_that_is_closed_frees_its_own(browser, home, tmp_path):
    with endless(home, tmp_path) as url:
        first, second = patient(browser.new_context()), patient(browser.new_context())
        at_work, waiting = first.new_page(), second.new_page()
        for page in (at_work, waiting):
            page.goto(url)
            page.get_by_placeholder(re.compile("Ask a question")).wait_for()
        for page in (at_work, waiting):
            page.get_by_placeholder(re.compile("Ask a question")).fill(TEA, timeout=LONG)
            page.keyboard.press("Enter")
            if page is at_work:
                page.locator(".ob-token").nth(3).wait_for(timeout=LONG)
        waiting.get_by_text(t("app-waiting", ahead=1)[:20]).wait_for(timeout=LONG)
        first.close()
        waiting.locator(".ob-token").nth(3).wait_for(timeout=LONG)
        (left,) = answers(tmp_path)
        assert left.finish_reason == "cancelled"
        assert len(left.steps) < 500, "the one who left is not waited for"
        second.close()


@pytest.mark.parametrize(("locale", "language"), [("zh-CN", "zh"), ("de-DE", "en")])
def test_the_browser_chooses_the_language(browser, server, locale, language):
    page, wrong = watched(browser, server, locale=locale)
    page.goto(server)
    page.get_by_role("heading", name=words(language)("ask-title")).wait_for(timeout=LONG)
    assert wrong == []
    page.close()


@contextmanager
def endless(home, own, tokens=512):
    """A server whose answers take long, over a home of its own: a tenth of a second and more for each token."""
    for name in ("models", "collections"):
        (own / name).symlink_to(home / name)
    lengths = ["--max-new-tokens", str(tokens), "--min-new-tokens", str(tokens - 10)]
    with serving(own, "--collection", "examples", *lengths, slow=True) as url:
        yield url


def answers(home):
    return [turn.told.answer for one in store.conversations(home) for turn in store.turns(home, one.id)]


def test_by_keyboard_alone(browser, server):
    page, wrong = watched(browser, server, viewport={"width": 1280, "height": 900})
    page.goto(server)
    box = page.get_by_placeholder(re.compile("Ask a question"))
    box.wait_for(timeout=LONG)
    _tab_to(page, "e => e.matches('textarea')")
    page.keyboard.type(TEA)
    page.keyboard.press("Enter")
    page.get_by_text(t("ask-how")).wait_for(timeout=LONG)
    _tab_to(page, "e => e.matches('a.ob-cite')")
    _tab_to(page, "e => e.matches('input[type=checkbox]') && e.closest('[class*=st-key-behind]')")
    page.keyboard.press("Space")
    page.locator("[data-n='0']").wait_for(timeout=LONG)
    within = "e => e.shadowRoot && e.shadowRoot.activeElement && e.shadowRoot.activeElement.matches('{}')"
    _tab_to(page, within.format("[data-n]"))
    assert page.locator(".ob-card").is_visible()
    page.keyboard.press("Enter")  # pins it
    _tab_to(page, within.format(".ob-card button.ob-row"))
    page.keyboard.press("Enter")
    page.locator("[data-key^='branch']").nth(1).wait_for(timeout=LONG)
    _tab_to(page, "e => e.closest('[class*=st-key-open-]')")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for(timeout=LONG)
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert wrong == []
    page.close()


def _tab_to(page, wanted):
    """Press Tab until the focus is where it is wanted."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate(f"({wanted})(document.activeElement)"):
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_stop_keeps_what_was_written(browser, home, tmp_path):
    with endless(home, tmp_path) as url:
        page, _ = watched(browser, url, viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.get_by_placeholder(re.compile("Ask a question")).fill(TEA, timeout=LONG)
        page.keyboard.press("Enter")
        page.locator(".ob-token").nth(5).wait_for(timeout=LONG)
        page.get_by_role("button", name=t("ask-stop"), exact=True).click()
        page.get_by_text(t("ask-stopped")).first.wait_for(timeout=LONG)
        (answer,) = answers(tmp_path)
        assert answer.finish_reason == "cancelled"
        assert 5 < len(answer.steps) < 500
        assert eventually(lambda: page.get_by_role("button", name=t("ask-stop"), exact=True).count() == 0)
        page.close()


def test_a_control_that_is_moved_meanwhile_does_not_end_the_answer(browser, home, tmp_path):
    with endless(home, tmp_path, tokens=100) as url:
        page, wrong = watched(browser, url, viewport={"width": 1280, "height": 1100})
        page.goto(url)
        page.get_by_placeholder(re.compile("Ask a question")).fill(TEA, timeout=LONG)
        page.keyboard.press("Enter")
        page.locator(".ob-token").nth(5).wait_for(timeout=LONG)
        slider = page.locator(".st-key-ask-passages [tabindex='0']").last
        for key in ("ArrowRight", "ArrowRight"):
            slider.press(key)
            page.wait_for_timeout(1000)
        page.get_by_text(t("ask-how")).wait_for(timeout=LONG)
        (answer,) = answers(tmp_path)
        assert answer.finish_reason != "cancelled"
        assert len(answer.steps) >= 90
        assert eventually(lambda: page.locator("[data-testid=stChatMessage]", has_text=TEA).count() == 1)
        assert wrong == []
        page.close()


def test_sources_stand_there_while_it_writes_and_what_is_computed_waits_its_turn(browser, home, tmp_path):
    with endless(home, tmp_path, tokens=60) as url:
        page, wrong = watched(browser, url, viewport={"width": 1280, "height": 1100})
        page.goto(url)
        page.evaluate(SAID)
        box = page.get_by_placeholder(re.compile("Ask a question"))
        box.fill(TEA, timeout=LONG)
        page.keyboard.press("Enter")
        page.locator(".ob-token").nth(5).wait_for(timeout=LONG)
        assert page.locator(".ob-source").count() == 3
        page.get_by_text(t("ask-how")).wait_for(timeout=LONG)
        assert eventually(lambda: in_sight(page, TEA))
        said = page.evaluate("window.said")
        assert any(line.startswith("Reading 3 passages") for line in said)
        assert any(line.startswith(t("ask-writing-now")) for line in said)

        page.get_by_text(t("ask-behind")).click()
        explain = page.get_by_role("button", name=t("ask-explain")).first  # its twin measures the hint
        explain.wait_for()
        box.fill(LIBRARY)
        page.keyboard.press("Enter")
        page.locator("button:disabled", has_text=t("ask-explain")).first.wait_for(timeout=LONG)
        page.get_by_text(t("ask-how")).nth(1).wait_for(timeout=LONG)
        assert eventually(lambda: in_sight(page, LIBRARY) and in_sight(page, None))
        assert all(answer.finish_reason != "cancelled" for answer in answers(tmp_path))

        explain.click(timeout=LONG)
        page.get_by_role("button", name=t("ask-stop"), exact=True).click(timeout=LONG)
        page.get_by_text(t("ask-ended")).wait_for(timeout=LONG)
        explain.click(timeout=LONG)
        page.get_by_role("button", name=t("ask-stop"), exact=True).wait_for(timeout=LONG)
        page.locator(".st-key-ask-passages [tabindex='0']").last.press("ArrowRight")
        explain.wait_for(state="detached", timeout=LONG)
        turns = [turn for one in store.conversations(tmp_path) for turn in store.turns(tmp_path, one.id)]
        assert [turn.told.evidence is not None for turn in turns] == [True, False]
        assert wrong == []
        page.close()


def in_sight(page, question):
    """Whether a question, or the box for the next one, is in the window, so that nobody has to look for it."""
    found = (
        page.locator("[data-testid=stChatMessage]", has_text=question) if question else page.locator("textarea").last
    )
    place = found.first.bounding_box()
    return place is not None and 0 <= place["y"] < page.viewport_size["height"] - place["height"]


# Whatever small lines the page shows, however shortly.
SAID = """() => {
  window.said = [];
  new MutationObserver(() => {
    for (const line of document.querySelectorAll("[data-testid=stCaptionContainer]")) window.said.push(line.innerText);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


HOSTILE = """# Boat <script>window.harmed = 1; alert('script')</script>

The code word of the <b onmouseover="alert('over')">harbour</b> is <img src="http://evil.example/a.png"
onerror="alert('image')"> [the answer](javascript:alert('link')) ![look](http://evil.example/b.png).

The code word of the quay is ![pelican](http://evil.example/c.png) </div></section></style><script>alert(1)</script>.

<iframe src="http://evil.example/"></iframe> <style>@import url(http://evil.example/d.css);</style> $$\\href{http://x}{y}$$
"""


def test_a_hostile_document_fires_nothing_and_fetches_nothing(browser, home, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "<img src=x onerror=alert(2)> ![x](http:evil.example).md").write_text(HOSTILE)
    (files / "plain.txt").write_text(HOSTILE)
    (tmp_path / "models").symlink_to(home / "models")
    arguments = ["--home", str(tmp_path), "--collection", "hostile"]
    assert main(["ingest", str(files), "--quiet", *arguments]) == 0
    with serving(*[tmp_path, "--collection", "hostile", "--max-new-tokens", "40"]) as url:
        page, wrong = watched(browser, url, viewport={"width": 1280, "height": 1400})
        page.goto(url)
        for question in (
            "What is the code word of the quay?",
            "<img src=x onerror=alert(3)> ![q](http://evil.example/q)",
        ):
            before = page.get_by_text(t("ask-how")).count()
            page.get_by_placeholder(re.compile("Ask a question")).fill(question, timeout=LONG)
            page.keyboard.press("Enter")
            page.get_by_text(t("ask-how")).nth(before).wait_for(timeout=LONG)
        page.get_by_text(t("ask-behind")).first.click()
        page.locator("[data-n='0']").first.hover(timeout=LONG)
        page.get_by_text(t("ask-scores")).last.click()
        page.get_by_text(t("talk-list"), exact=True).click()
        page.get_by_role("button", name=t("ask-open")).last.click()
        page.get_by_role("dialog").get_by_text("alert('script')").first.wait_for(timeout=LONG)
        page.wait_for_timeout(3000)
        assert "alert('script')" in page.content(), "it is shown, as text"
        assert page.evaluate("window.harmed") is None
        assert page.locator("img[src*=evil], iframe[src*=evil], a[href^=javascript]").count() == 0
        assert wrong == []
        page.close()


def test_a_page_opened_by_its_address_on_a_new_server_has_what_all_share(browser, home, tmp_path):
    for name in ("models", "collections"):
        (tmp_path / name).symlink_to(home / name)
    with serving(tmp_path, "--collection", "examples") as url:
        page, wrong = watched(browser, url)
        page.goto(f"{url}/documents")
        page.get_by_text(t("app-language")).wait_for(timeout=LONG)
        assert page.get_by_role("link", name=t("ask-page")).count() == 1
        assert wrong == []
        page.close()


def test_settings_and_language_outlive_a_visit_to_another_page(browser, server):
    page, wrong = watched(browser, server, viewport={"width": 1280, "height": 1100})
    page.goto(server)
    slider = page.locator(".st-key-ask-temperature [tabindex='0']").last
    slider.wait_for(timeout=LONG)
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    value = page.locator(".st-key-ask-temperature [data-testid=stSliderThumbValue]", has_text="0.20")
    value.wait_for()
    page.get_by_text("中文").click()
    zh = words("zh")
    page.get_by_text(zh("ask-temperature"), exact=True).wait_for()
    page.get_by_role("link", name=zh("documents-page")).click()
    page.get_by_role("heading", name=zh("documents-title")).wait_for()
    page.get_by_role("link", name=zh("ask-page")).click()
    page.get_by_text(zh("ask-temperature"), exact=True).wait_for()
    value.wait_for()
    assert wrong == []
    page.close()


def test_the_watching_can_fail(browser, server):
    page, wrong = watched(browser, server)
    page.goto(server)
    page.evaluate("alert('x')")
    page.evaluate("fetch('http://evil.example/').catch(() => 0)")
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://evil.example/x.png'}))")
    page.wait_for_timeout(500)
    assert "x" in wrong
    assert any("Content Security Policy" in one for one in wrong)
    page.close()
