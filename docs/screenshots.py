"""Pictures of the app for README and docs, from the example documents: `python docs/screenshots.py [FOLDER]`.

Needs the installed program with its development packages, Chromium, and a font for Chinese (the language switch names
中文).
"""

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rag.settings import default_home
from tests.browsing import chromium, serving
from ui.cli import main
from ui.uploads import folder_of
from ui.words import words

ROOT = Path(__file__).parents[1]
WAIT = 120_000  # milliseconds
QUESTIONS = ("Who examined the workshop's accounts for 2024?", "How many tools may a member have on loan at once?")
t = words("en")


def ask(page, url: str) -> None:
    """Ask the first question and leave the answer on the page."""
    page.goto(url)
    page.get_by_placeholder("Ask a question").fill(QUESTIONS[0], timeout=WAIT)
    page.keyboard.press("Enter")
    page.get_by_text(t("ask-how")).wait_for(timeout=WAIT)
    page.wait_for_timeout(1500)


def tokens(page) -> None:
    """Open the token view with its evidence, a token pinned."""
    page.get_by_text(t("ask-behind")).click()
    button = page.get_by_role("button", name=t("ask-explain"))
    button.wait_for(timeout=WAIT)
    button.click()
    button.wait_for(state="hidden", timeout=WAIT)
    page.wait_for_timeout(1500)
    page.locator("[data-n='0']").click()
    page.wait_for_timeout(500)


def take(folder: Path) -> None:
    """All pictures, into a folder."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home / "models").symlink_to(default_home() / "models")
        files = folder_of(home / "collections/examples")  # as if uploaded, so that no folder of a machine is shown
        shutil.copytree(ROOT / "examples/documents", files)
        main(["ingest", str(files), "--home", place, "--collection", "examples", "--quiet"])
        with serving(home, "--collection", "examples") as url, chromium() as browser:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme=scheme)
                ask(page, url)
                page.screenshot(path=folder / f"ask-{scheme}.png")
                tokens(page)
                page.locator("[data-testid=stMain]").evaluate("e => (e.scrollTop = 190)")  # from the answer on
                page.wait_for_timeout(500)
                page.screenshot(path=folder / f"tokens-{scheme}.png")
                page.goto(f"{url}/documents")
                page.get_by_text(t("documents-tab-list")).wait_for(timeout=WAIT)
                page.wait_for_timeout(3000)
                page.screenshot(path=folder / f"documents-{scheme}.png")
                page.close()
            page = browser.new_page(viewport={"width": 390, "height": 844})
            ask(page, url)
            page.screenshot(path=folder / "ask-narrow.png")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images"
    target.mkdir(parents=True, exist_ok=True)
    if not shutil.which("chromium"):
        sys.exit("The pictures need Chromium; install it.")
    take(target)
