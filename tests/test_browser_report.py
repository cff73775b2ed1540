"""The report in a real browser: every picture is there, nothing is fetched, nothing complains."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.browser


def test_the_report_stands_on_its_own(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    command = [sys.executable, "-m", "ludus.cli", "run", "--preset", "tiny", "--dir", str(tmp_path / "run")]
    subprocess.run(command, check=True, timeout=280)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install Debian's package chromium"
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        complaints, requests = [], []
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: requests.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto((tmp_path / "run" / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        widths = page.evaluate("[...document.images].map(i => i.naturalWidth)")
        headings = page.locator("h2").all_inner_texts()
        first = page.locator("main > h1 + .banner").inner_text()
        page.set_viewport_size({"width": 390, "height": 800})
        overhang = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        browser.close()
    assert len(widths) >= 6 and min(widths) > 0
    assert {"Success per skill, before and after", "The chat", "Time spent"} <= set(headings)
    assert first.startswith("Finished.")
    assert overhang == 0  # a phone scrolls tables, not the page
    assert complaints == []
    assert requests == []
