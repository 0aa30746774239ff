"""The page "Documents" in a real browser: from an upload to a document that answers; a reload; hostile documents."""

import re
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from ingest.parsing import SUFFIXES
from rag.index import open_catalog
from rag.index.collections import holdings
from rag.schema import Filter
from rag.settings import default_home
from tests.browsing import NEEDS_CHROMIUM, chromium, eventually, serving, watched
from tests.conftest import EXAMPLES
from ui import jobs, uploads

pytestmark = NEEDS_CHROMIUM

NAME = "<img src=x onerror=fired()> ![i](https:evil.example) :material-x: $x$ `a`.md"
HOSTILE = """# <script>fired()</script>

<img src="https://evil.example/pixel.png" onerror="fired()"> ![image](https://evil.example/pixel.png)
[click](javascript:fired()) <svg onload="fired()"> <iframe src="https://evil.example"></iframe> </mark></span>
<style>body { display: none }</style> $\\href{https://evil.example}{x}$ :red[red] the quixotic oak
"""

# Each text that is there to be seen, but for icons.
WORDS = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement: parent, data } = walker.currentNode;
    const drawn = parent.checkVisibility() && parent.getBoundingClientRect().width > 1; // else only read aloud
    if (drawn && data.trim() && !/Material/.test(getComputedStyle(parent).fontFamily))
      if (!parent.closest("script, style, noscript")) found.push(data.trim());
  }
  return found;
}"""


@pytest.fixture
def place(tmp_path):
    """A home without any collection, and a server for it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(default_home() / "models")
    with serving(home) as url:
        yield home, url


@pytest.fixture
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def visit(place, browser):
    """Open the page; what it must not do, such as asking others, is told at the end."""
    _home, url = place
    seen = []

    def open_page(width=1280, **context):
        page, wrong = watched(browser, url, viewport={"width": width, "height": 900}, **context)
        seen.append(wrong)
        page.expose_function("fired", lambda: wrong.append("fired"))
        page.goto(f"{url}/documents")
        page.get_by_role("heading", name="Documents").or_(page.get_by_role("heading", name="文档")).wait_for()
        return page

    yield open_page
    assert [wrong for wrong in seen if wrong] == []


def upload(page, *files):
    named = [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files]
    page.locator("input[type=file]").first.set_input_files(named)


def fits(page, width):
    return page.evaluate("document.documentElement.scrollWidth") <= width


def search(page, question):
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("Find passages").fill(question)
    page.locator("button[kind=primaryFormSubmit]").click()
    page.get_by_text(f"passages for: {question}").wait_for(timeout=180_000)


def opened(page):
    page.locator("button", has_text="Open").filter(visible=True).first.click()


@pytest.mark.parametrize("width", [1280, 390])
def test_from_an_upload_to_a_page_with_its_words_boxed(place, visit, width):
    page = visit(width)
    page.get_by_text("Drop files here to begin").wait_for()
    report = EXAMPLES / "documents" / "annual-report-2024.pdf"
    upload(page, (report.name, report.read_bytes()))
    page.get_by_text("1 added").wait_for()
    assert fits(page, width)
    search(page, "Who examined the accounts?")
    page.get_by_text("examined by Cyril Ashdown").first.wait_for()
    page.get_by_text("cosine 0.").first.wait_for()
    opened(page)
    page.get_by_text("Page 4 of 5").wait_for()
    picture = page.locator("[data-testid=stImage] img").first
    picture.evaluate("e => e.decode()")  # which waits until it has come
    assert picture.evaluate("e => e.naturalWidth") == 1191
    assert fits(page, width)
    page.get_by_role("button", name="Back to the documents").click()
    page.get_by_text("examined by Cyril Ashdown").first.wait_for()
    if width == 1280:
        page.get_by_role("link", name="Ask").click()
        page.get_by_placeholder("Ask a question about default").fill("Who examined the accounts?")
        page.keyboard.press("Enter")
        page.locator(".ob-answer", has_text="Cyril Ashdown").wait_for()


def test_progress_is_there_after_a_reload_and_for_others(place, visit):
    home, _url = place
    page = visit()
    upload(page, *((f"{n:03}.txt", f"File {n} speaks of oak, tar and tides.".encode()) for n in range(700)))
    page.get_by_text("Adding documents").wait_for()
    page.get_by_text("/700 ").first.wait_for()
    page.reload()
    page.get_by_text("Adding documents").wait_for()
    other = visit(locale="zh-CN")
    other.get_by_text("正在添加文档").wait_for()
    page.get_by_text("700 added").wait_for(timeout=180_000)
    other.get_by_text("新增 700").wait_for()
    page.get_by_text("700 files · 700 documents").wait_for()
    assert [job.state for job in jobs.jobs(home, "default")] == ["done"]


def test_a_hostile_name_and_document_fire_nothing_and_fetch_nothing(place, visit, tmp_path):
    home, _url = place
    page = visit()
    upload(page, (NAME, HOSTILE.encode()), ("<b>x</b>.exe", b"x"))
    page.get_by_text("<b>x</b>.exe: not stored").wait_for()
    page.get_by_text("1 added").wait_for()
    search(page, "quixotic oak")
    page.get_by_text("quixotic oak", exact=False).nth(1).wait_for()
    opened(page)
    text = page.locator(".text")
    text.wait_for()
    assert "<script>fired()</script>" in text.inner_text()
    assert text.locator("mark").count() == 1
    assert text.locator("script, img, svg, iframe, a, style").count() == 0
    page.get_by_text(f"/files/{uploads.safe_parts(NAME)[-1]}").filter(visible=True).first.wait_for()
    page.wait_for_timeout(500)
    # The same names as a folder on the disk, and as the name that a bad page has.
    folder = tmp_path / NAME.removesuffix(".md")
    folder.mkdir()
    (folder / NAME.replace(".md", ".pdf")).write_bytes(b"%PDF-1.7 <script>fired()</script>")
    page.get_by_role("button", name="Back to the documents").click()
    page.get_by_role("tab", name="Add documents").click()
    page.get_by_label("Path of a folder").fill(str(folder))
    page.get_by_role("button", name="Add and sync").click()
    page.get_by_text("1 not read").first.wait_for()
    page.get_by_role("tab", name="In this collection").click()
    table = page.locator("[data-testid=stDataFrame] canvas").first
    table.wait_for()
    for row in range(2):
        chosen = page.get_by_text(f"{row + 1} chosen")
        for _ in range(20):  # the table moves while it is drawn: a click may miss its row
            page.wait_for_timeout(1000)
            table.click(position={"x": 15, "y": 38 + 17 + 35 * row}, force=True)
            page.wait_for_timeout(2000)
            if chosen.count():
                break
        chosen.wait_for()
    page.locator("button", has_text="Delete").filter(visible=True).first.click()
    page.get_by_text("only forgotten here").wait_for()
    page.get_by_role("button", name="Delete now").click()
    page.get_by_text("Drop files here to begin").wait_for()
    with closing(open_catalog(home / "collections" / "default")) as catalog:
        assert list(holdings(catalog, Filter())) == []
    assert (folder / NAME.replace(".md", ".pdf")).exists()


def test_a_folder_keeps_its_folders_and_an_export_comes_down(place, visit, tmp_path):
    home, _url = place
    page = visit()
    shutil.copytree(EXAMPLES / "documents" / "handbook", tmp_path / "papers" / "handbook")
    page.locator("input[type=file]").nth(1).set_input_files(str(tmp_path / "papers"))
    page.get_by_text("5 added").wait_for()
    assert (home / "collections" / "default" / "files" / "papers" / "handbook" / "membership.md").is_file()
    page.get_by_role("button", name="Manage").click()
    page.get_by_role("button", name="Export").click()
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert download.value.suggested_filename == "default.openbook"
    assert download.value.path().read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_long_text_opens_at_its_place(visit, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(color_scheme=scheme)
    lines = [f"Line {n} speaks of oak and tar.\n" for n in range(200)]
    lines[150] = "The quixotic pelican keeps the key.\n"
    upload(page, ("long.txt", "\n".join(lines).encode()))
    page.get_by_text("1 added").wait_for()
    search(page, "Who keeps the quixotic key?")
    opened(page)
    mark = page.locator(".text mark", has_text="quixotic pelican")
    mark.wait_for()
    page.wait_for_timeout(500)
    box, place = page.locator(".text").bounding_box(), mark.bounding_box()
    assert page.locator(".text").evaluate("e => e.scrollTop") > 0
    assert box["y"] <= place["y"] + place["height"]
    assert place["y"] <= box["y"] + box["height"]
    found = Axe().run(page, context=".stBidiComponent").response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_what_streamlit_itself_says_is_in_the_language_of_the_page(visit, tmp_path):
    folder = tmp_path / "Upload"
    folder.mkdir()
    (folder / "program.exe").write_bytes(b"x")
    page = visit(locale="zh-CN")
    page.get_by_role("button", name="上传文件夹").wait_for()
    assert page.get_by_text("每个文件不超过 200MB").count() == 2
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.locator("input[type=file]").last.set_input_files(folder)
    page.get_by_text("类型的文件。").wait_for()  # the browser's name for the kind before it
    page.get_by_role("button", name="移除 Upload/program.exe").wait_for()
    page.get_by_role("button", name="新建文档库").click()
    page.get_by_role("textbox").filter(visible=True).first.fill("Upload")
    page.get_by_text("按回车键提交").wait_for()
    said = ["english", "mb", "openbook", "home", "upload", "program", "exe", "application", "ms", "dos", "executable"]
    assert eventually(lambda: latin(page) <= set(said))
    page.get_by_text("English", exact=True).click()
    page.get_by_text("files are not allowed.").wait_for()
    page.get_by_text("Upload", exact=True).wait_for()
    assert eventually(lambda: [s for s in page.evaluate(WORDS) if re.search("[\u4e00-\u9fff]", s)] == ["中文"])


def test_a_tag_that_reads_like_a_word_of_streamlit_stays(place, visit, tmp_path):
    home, _url = place
    (tmp_path / "Search.md").write_text("# Sum\n\nOak and tar.", encoding="utf-8")
    arguments = ["ingest", tmp_path / "Search.md", "--tag", "Open", "--tag", "Sum", "--home", home]
    subprocess.run([sys.executable, "-m", "ui.cli", *map(str, arguments)], check=True, capture_output=True)
    page = visit(locale="zh-CN")
    page.get_by_role("button", name="下载为 CSV").wait_for(state="attached")
    tags = page.locator("[data-testid=stMultiSelect]").filter(visible=True).first
    tags.get_by_role("button", name="打开").click()
    page.get_by_role("option", name="全选").wait_for()
    page.get_by_role("option", name="Open", exact=True).click()
    page.keyboard.press("Escape")
    tags.locator("[title=Open]").wait_for()
    tags.get_by_role("button", name="移除 Open").wait_for(state="attached")
    assert eventually(lambda: latin(page) <= {"english", "open", "sum"})


def latin(page):
    """The words in Latin letters that are to be seen, in small letters, but for the kinds of documents."""
    found = re.findall("[a-z]{2,}", " ".join(page.evaluate(WORDS)).lower())
    return set(found) - {suffix.lstrip(".") for suffix in SUFFIXES}
