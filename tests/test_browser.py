"""The report and the page in a real browser, beside a run and after it: everything is there, what people say has an effect,
nothing is fetched from elsewhere, nothing complains."""

import shutil
import sqlite3
import subprocess
import sys

import pytest
from browser_parts import VIEWS, overhang, violations, watched

from ludus.record import Record
from ludus.types import Message

pytestmark = pytest.mark.browser
HOSTILE = "go on <img src=x onerror=alert(1)><script>alert(2)</script> {{ 7*7 }}"


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A run with its page beside it: its directory, its process, and the address of the page."""
    directory = tmp_path_factory.mktemp("runs") / "done"
    command = [sys.executable, "-m", "ludus.cli", "run", "--preset", "tiny", "--serve", "--dir", str(directory)]
    until_stopped = "experiment.rounds=9", "experiment.stop_after=0"
    settings = "oversight.approve_skills=true", *until_stopped
    process = subprocess.Popen([*command, *settings], stdout=subprocess.PIPE, text=True)
    try:
        opened = next(line for line in process.stdout if line.startswith("Open "))
        yield directory, process, opened.removeprefix("Open ").strip()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def run(started):
    """The directory of the run, once it is over."""
    directory, process, _ = started
    text = process.stdout.read()
    assert process.wait(280) == 0 and "The page has ended with the run" in text
    return directory


def test_people_step_in_while_a_run_goes_on(started, browser):
    """Every command has an effect that is told in the room; the run ends because of the last one."""
    pytest.importorskip("nicegui")
    _, process, address = started
    page, complaints, requests = watched(browser, (address, address.replace("http", "ws")))
    page.goto(address)
    page.locator(".work").first.wait_for()
    assert violations(page) == []
    page.get_by_role("link", name="Room", exact=True).click()
    page.get_by_label("Your name").fill("Ada")

    def says(line, effect):
        page.get_by_label("A remark to the experimenter").fill(line)
        page.get_by_role("button", name="Say it").click()
        page.locator("article.effect", has_text=effect).first.wait_for()

    page.get_by_role("button", name="Pause").click()
    page.locator("article.effect", has_text="Paused before").wait_for()
    says("/propose lift red", "plans 'lift red'")
    says("/veto lift green", "lift green")
    page.get_by_label("A remark to the experimenter").fill("/fly")
    page.get_by_role("button", name="Say it").press("Enter")
    page.locator("#answer", has_text="unknown command '/fly'").wait_for()
    page.get_by_label("A remark to the experimenter").fill("/help")
    page.get_by_role("button", name="Say it").press("Enter")
    page.locator("#answer", has_text="Ends a pause").wait_for()
    page.reload()  # the name is remembered
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Approve").first.click()  # once a skill is written
    page.locator("article.effect", has_text="is practised").first.wait_for()
    assert violations(page) == []
    page.reload()
    page.get_by_role("button", name="Reject").first.click()
    page.locator("article.effect", has_text="is dropped").first.wait_for()
    page.locator("article.verdict").first.wait_for()
    page.reload()  # verdicts that came meanwhile are listed anew
    page.get_by_role("button", name="Wrong").first.click()
    page.locator("article.effect", has_text="wrong").first.wait_for()
    page.get_by_role("button", name="Stop after this round").click()
    page.locator("article.effect", has_text="Stops after round").wait_for()
    assert page.locator("article.command", has_text="/stop").locator("b", has_text="Ada").count() == 1
    assert process.poll() is None and complaints == requests == []


def test_the_report_stands_on_its_own(run, browser):
    page, complaints, requests = watched(browser, ("file:",))
    page.goto((run / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = page.evaluate("[...document.images].map(i => i.naturalWidth)")
    headings = page.locator("h2").all_inner_texts()
    first = page.locator("main h1 + .banner").inner_text()
    page.set_viewport_size({"width": 390, "height": 800})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    assert len(widths) >= 6 and min(widths) > 0
    assert {"What was asked", "What the robots did", "What it cost", "How far to trust it"} <= set(headings)
    assert first.startswith("Finished")
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
        for tab in ("Now", "Learning", "Skills", "Episodes", "Cost", "Room"):
            page.get_by_role("link", name=tab, exact=True).click()
            page.locator(f"[aria-current]:text-is('{tab}')").wait_for()
            page.locator(".view").first.wait_for()
            assert overhang(page) == 0, tab
            assert violations(page) == [], tab
            assert page.title() == f"done: {tab.lower()} – ludus" and page.locator("h1").all_inner_texts() == ["done"]
        assert page.locator(".status").inner_text().startswith("Finished")
        assert (
            page.locator(".message.curve .chart").count()
            and page.get_by_label("A remark to the experimenter").count() == 0
        )
        assert complaints == requests == []
    compare(page, address)
    look_at_an_episode(page, address)
    say_something(page, address, stopped)
    assert complaints == requests == []


def compare(page, address):
    page.goto(address)
    for name in ("done", "stopped"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare").click()
    page.locator("g.c1 polyline.curve").first.wait_for(state="attached")
    assert overhang(page) == 0 and page.locator("th .key").count() == 2
    page.get_by_text("The numbers").click()
    page.get_by_role("table").get_by_role("cell", name="lift X").first.wait_for()  # the charts as text
    assert violations(page) == []


def look_at_an_episode(page, address):
    """With the keyboard alone."""
    page.goto(f"{address}run/done/episodes?result=failure")
    page.locator("table.episodes a").first.focus()
    page.keyboard.press("Enter")
    page.locator("#film:empty").wait_for()  # it is drawn
    assert violations(page) == [] and "reward" in page.locator(".traces").get_attribute("aria-label")
    page.locator("#time").press("End")
    assert page.locator("#time").get_attribute("aria-valuetext") == page.locator("#clock").inner_text() != "0.0 s"
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
