"""The page in a real browser, driven by the keyboard alone, and where nothing can be rendered."""

import os
import subprocess
import sys

import pytest
from browser_parts import VIEWS, overhang, watched
from command import ludus

from ludus.lab.oversight import say
from ludus.record import Record

pytestmark = pytest.mark.browser


def tab_to(page, name, most=80):
    """Press Tab until the element of this name has the focus, which must be visible."""
    element = page.get_by_role("link", name=name, exact=True).or_(page.get_by_role("button", name=name, exact=True))
    element = element.or_(page.get_by_label(name))
    for _ in range(most):
        page.keyboard.press("Tab")
        if element.count() and element.first.evaluate("e => e === document.activeElement"):
            break
    assert element.first.evaluate("e => e === document.activeElement && e.matches(':focus-visible')"), name
    assert element.first.evaluate("e => getComputedStyle(e).outlineStyle") != "none"


@pytest.fixture
def questions(tmp_path):
    """A run whose tasks a person names, with its page beside it: its process, and the address of the page. It asks for the first
    task after the training, and was told to pause when it had hardly begun."""
    settings = (
        "experiment.max_practising=0",
        "experimenter.propose=human",
        "experiment.plans_per_round=2",
        "experiment.rounds=1",
        "training.updates=150",
        "training.early_stop=false",
    )
    directory = tmp_path / "asks"
    command = [sys.executable, "-m", "ludus.cli", "run", "--preset", "tiny", "--serve", "--dir", str(directory)]
    process = subprocess.Popen([*command, *settings], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        opened = next(line for line in process.stdout if line.startswith("Open "))
        with Record.open(directory, write=False) as record:
            say(record, "/pause")
        yield process, opened.removeprefix("Open ").strip()
    finally:
        process.kill()


def test_the_keyboard_alone_drives_a_run(questions, browser):
    """Pause, continue, propose, answer, stop: by Tab, Enter and the box; what is made anew leaves the focus where it was."""
    pytest.importorskip("nicegui")
    _, address = questions
    page, complaints, requests = watched(browser, (address, address.replace("http", "ws")))
    page.goto(address)
    page.locator(".view").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    tab_to(page, "Room")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Continue").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the message box"
    page.keyboard.press("Enter")
    page.keyboard.type("/propose lift red")
    page.keyboard.press("Shift+Enter")  # a new line, not yet said
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.locator("article.command", has_text="/propose lift red").wait_for()
    page.get_by_role("status").filter(has_text="new message").first.wait_for(state="attached")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "Stop after this round"
    page.locator("article.effect", has_text="plans 'lift red'").first.wait_for()
    for now, then in (("Continue", "Pause"), ("Pause", "Continue"), ("Continue", "Pause")):
        while page.evaluate("document.activeElement.textContent") != now:
            page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        page.get_by_role("button", name=then).wait_for()
        page.wait_for_function(
            "document.activeElement.closest('.orders') !== null"
        )  # not lost with the button that is gone
        if then == "Continue":
            page.locator("article.effect", has_text="Paused before").nth(1).wait_for()
    answer = page.get_by_role("button", name="Answer", exact=True)
    answer.wait_for()  # for the other plan of the round
    tab_to(page, "Answer")
    page.keyboard.press("Enter")
    page.keyboard.type("grasp red")
    page.keyboard.press("Enter")
    page.locator(".held", has_text="How likely").wait_for()  # the focus is still in the box
    page.keyboard.type("/answer 0.5")
    page.keyboard.press("Enter")
    page.locator("article.plan", has_text="grasp red").first.wait_for()
    assert complaints == requests == []


REDS = """async (src) => {
  const picture = Object.assign(new Image(), { src }), canvas = document.createElement("canvas");
  await picture.decode();
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const { data } = pen.getImageData(0, 0, 320, 320);
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += data[i] > 150 && data[i + 1] < 110 && data[i + 2] < 110;
  return n;
}"""


@pytest.fixture(scope="module")
def without_opengl(tmp_path_factory):
    """The address of a page that cannot render, over a run of a few episodes."""
    pytest.importorskip("nicegui")
    run = tmp_path_factory.mktemp("sketched") / "run"
    ludus("collect", run, "--preset", "tiny", "world.n_envs=2", "-n", 2, "--skills", "lift red")
    command = [sys.executable, "-m", "ludus.cli", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(command, env={**os.environ, "MUJOCO_GL": "off"}, stdout=subprocess.PIPE, text=True)
    try:
        opened = next(line for line in process.stdout if line.startswith("Open "))
        yield opened.removeprefix("Open ").strip()
    finally:
        process.kill()


@pytest.mark.parametrize("view", VIEWS)
def test_without_opengl_an_episode_is_sketched(without_opengl, browser, view):
    own = (without_opengl, without_opengl.replace("http", "ws"), "blob:")
    page, complaints, requests = watched(browser, own, **view)
    page.goto(without_opengl)
    page.get_by_label("Last frame of").first.click()
    page.wait_for_function("document.getElementById('film')?.textContent === ''")
    sheet = page.locator("#film").get_attribute("data-sheet")
    assert page.evaluate(REDS, sheet) > 100  # the red block, from above and from the side
    assert overhang(page) == 0
    if page.get_by_role("link", name="Download for Rerun").count():
        with page.expect_download() as download:
            page.get_by_role("link", name="Download for Rerun").click()
        assert download.value.suggested_filename.endswith(".rrd")
    assert complaints == requests == []
