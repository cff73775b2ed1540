"""The report and the page in a real browser: everything is there, nothing is fetched from elsewhere, nothing complains."""

import shutil
import sqlite3
import subprocess
import sys

import pytest

from ludus.record import Record
from ludus.types import Message

pytestmark = pytest.mark.browser
HOSTILE = "go on <img src=x onerror=alert(1)><script>alert(2)</script> {{ 7*7 }}"
PATIENCE_MS = 120_000
VIEWS = ({}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "done"
    command = [sys.executable, "-m", "ludus.cli", "run", "--preset", "tiny", "--dir", str(directory)]
    subprocess.run(command, check=True, timeout=280)
    return directory


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install Debian's package chromium"
    with playwright.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def watched(browser, own, **view):
    """A page, and lists that fill with what its console complains of and with what it fetches from elsewhere."""
    page, complaints, requests = browser.new_context(**view).new_page(), [], []
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith((*own, "data:")) else requests.append(r.url))
    return page, complaints, requests


def overhang(page):
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_the_report_stands_on_its_own(run, browser):
    page, complaints, requests = watched(browser, ("file:",))
    page.goto((run / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = page.evaluate("[...document.images].map(i => i.naturalWidth)")
    headings = page.locator("h2").all_inner_texts()
    first = page.locator("main > h1 + .banner").inner_text()
    page.set_viewport_size({"width": 390, "height": 800})
    assert len(widths) >= 6 and min(widths) > 0
    assert {"Success per skill, before and after", "The chat", "Time spent"} <= set(headings)
    assert first.startswith("Finished.")
    assert overhang(page) == 0  # a phone scrolls tables, not the page
    assert complaints == requests == []


@pytest.fixture
def served(run):
    """The address of a page over the finished run and a copy that stopped before its end; and the copy's directory."""
    stopped = run.parent / "stopped"
    shutil.copytree(run, stopped)
    with sqlite3.connect(stopped / "ludus.db") as database:
        database.execute("DELETE FROM steps WHERE name = 'measure/after'")
    command = [sys.executable, "-m", "ludus.cli", "serve", str(run.parent), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().removeprefix("Open ").strip(), stopped
    finally:
        server.terminate()
        server.wait(60)
    assert server.returncode == 130


def test_the_page_shows_runs_and_takes_a_remark(served, browser):
    pytest.importorskip("nicegui")
    address, stopped = served
    own = (address, address.replace("http", "ws"))
    for view in VIEWS:
        page, complaints, requests = watched(browser, own, **view)
        page.goto(address)
        page.get_by_role("link", name="done").click()
        for tab in ("Learning", "Skills", "Episodes", "Cost", "Room"):
            page.get_by_role("link", name=tab, exact=True).click()
            page.locator(f"[aria-current]:text-is('{tab}')").wait_for()
            page.locator(".view").wait_for()
            assert overhang(page) == 0, tab
        assert page.locator(".status").inner_text() == "Finished."
        assert page.locator(".message img").count() and page.get_by_label("A remark to the experimenter").count() == 0
        assert complaints == requests == []
    look_at_an_episode(page, address)
    say_something(page, address, stopped)
    assert complaints == requests == []


def look_at_an_episode(page, address):
    """With the keyboard alone."""
    page.goto(f"{address}run/done/episodes?result=failure")
    page.locator("table.episodes a").first.focus()
    page.keyboard.press("Enter")
    page.locator("#film:empty").wait_for()  # it is drawn
    page.locator("#time").press("End")
    before = page.locator("#cursor").get_attribute("x1")
    page.get_by_role("button", name="Play").press("Enter")  # from the beginning
    page.wait_for_function(f"document.getElementById('cursor').getAttribute('x1') < {before}")
    page.get_by_role("button", name="Pause").wait_for()


def say_something(page, address, stopped):
    """What a person and the run say appears without loading the page again."""
    page.goto(f"{address}run/stopped/room")
    page.get_by_label("A remark to the experimenter").fill(HOSTILE)
    page.get_by_role("button", name="Say it").click()
    page.locator("article.remark", has_text=HOSTILE).wait_for()
    with Record.open(stopped, write=False) as record:
        assert [m.text for m in record.messages("remark")] == [HOSTILE]
        record.post(Message("later", "loop", "all", "note", "this came later"))
    page.locator("article", has_text="this came later").wait_for()
    page.get_by_label("kind").select_option("note")
    page.wait_for_url("**/room?kind=note")
    page.locator("article", has_text="this came later").wait_for()
    assert page.locator("article.remark").count() == 0
