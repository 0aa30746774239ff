"""A server and a browser for the tests that need both; the page's requests and dialogs are watched."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NEEDS_CHROMIUM = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(home, *flags):
    """`rag ui` over a home, on a port of its own; its address."""
    with answering(["-m", "ui.cli", "ui", "--home", str(home), *flags, "--port"]) as url:
        yield url


@contextmanager
def answering(arguments, **options):
    """A server that Python runs with these arguments and a port; its address, once it is healthy."""
    port = free_port()
    command = [sys.executable, *arguments, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.25)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def chromium():
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def watched(browser, url, **options):
    """A page, and a list of what it must not do: ask elsewhere, open a dialog, be refused by its own policy."""
    page = browser.new_page(**options)
    wrong = []

    def requested(request):
        if request.url.startswith(("http", "ws")) and url.split("//")[1] not in request.url:
            wrong.append(request.url)

    page.on("request", requested)
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda m: wrong.append(m.text) if "Content Security Policy" in m.text else None)
    return page, wrong
