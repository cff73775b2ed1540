"""What tests in a real browser share."""

PATIENCE_MS = 120_000
VIEWS = ({}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}})
"""A window, and a phone in the dark."""


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


def violations(page):
    """What axe finds on the page: rules, and the elements that break them."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
