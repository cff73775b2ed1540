"""Parts of the page that are made beside the loop which serves everybody, and made again when their run has something new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nicegui import run, ui

from ludus.views.page.place import UNREADABLE
from ludus.views.page.rendering import render

POLL_S = 2.0
"""How often a page asks whether its run has anything new."""
PATIENCE_S = 2.0
"""How long a page is kept back for a part of it, such as one that needs a world to be made."""
WAITING = '<p class="waiting" role="status">Reading …</p>'


def html(text: str) -> ui.html:
    """What a template made: every text in it is escaped already."""
    return ui.html(text, sanitize=False)


async def attempt(make: Callable[[], str]) -> str:
    """What `make` makes, beside the loop that serves everybody; or why it cannot."""

    def made() -> str:
        try:
            return make()
        except UNREADABLE as error:
            return render("refusal.html", why=str(error))

    return await run.io_bound(made) or ""


async def filled(make: Callable[[], str]) -> ui.html:
    """An element with what `make` makes: in the page as it is sent or, where that takes longer, a moment later."""
    element = html(WAITING)
    task = asyncio.create_task(attempt(make))
    await asyncio.wait({task}, timeout=PATIENCE_S)
    if task.done():
        element.set_content(task.result())
        return element

    async def fill() -> None:
        element.set_content(await task)

    ui.timer(0.1, fill, once=True)
    return element


async def live(make: Callable[[], str], pulse: Callable[[], Any]) -> ui.html:
    """An element that is made again when what `pulse` returns changes."""

    async def look() -> None:
        nonlocal seen
        now = await run.io_bound(quiet(pulse))
        if now != seen and now is not None:
            seen = now
            element.set_content(await attempt(make))

    seen = await run.io_bound(quiet(pulse))
    element = await filled(make)
    ui.timer(POLL_S, look, immediate=False)
    return element


def quiet(pulse: Callable[[], Any]) -> Callable[[], Any]:
    """None while a run cannot be read, as when its directory is moved."""

    def asked() -> Any:
        try:
            return pulse()
        except UNREADABLE:
            return None

    return asked
