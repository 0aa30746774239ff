"""The app in a real browser: an answer appears, a token shows its alternatives, nothing is asked of the internet."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture
def server(home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "ui.cli",
        "ui",
        "--home",
        str(home),
        "--collection",
        "examples",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
            break
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    yield url
    process.terminate()
    process.wait(20)


@pytest.mark.parametrize("width", [1280, 390])
def test_ask_and_look_behind_a_token(server, width):
    from playwright.sync_api import sync_playwright

    outside = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on(
            "request", lambda r: outside.append(r.url) if r.url.startswith("http") and server not in r.url else None
        )
        page.goto(server)
        page.get_by_label("Question").fill("What is the name of the tea room?", timeout=60_000)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("first token after").wait_for(timeout=120_000)
        token = page.locator(".ob-token").first
        card = token.locator(".ob-card")
        assert not card.is_visible()
        token.focus()
        assert card.is_visible()
        assert "model's own probability" in card.inner_text()
        assert card.locator(".ob-row").count() == 5
        box = card.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.locator("mark", has_text="is called The Caulker's Rest and is run by").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert outside == []
