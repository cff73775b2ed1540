"""Parts of the page that are made beside the loop which serves everybody, and made again when their run has something new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nicegui import ui

from ludus.views.page.place import UNREADABLE
from ludus.views.page.rendering import render

POLL_S = 2.0
"""How often a page asks whether its run has anything new."""
PATIENCE_S = 2.0
"""How long a page is kept back for a part of it, such as one that needs a world to be made."""
WAITING = '<p class="waiting" role="status">Reading …</p>'

Part = tuple[Callable[[], str], Callable[[], Any]]
"""What makes an element, and what returns its pulse."""


def html(text: str) -> ui.html:
    """What a template made: every text in it is escaped already."""
    return ui.html(text, sanitize=False)


def made(make: Callable[[], str]) -> str:
    """What `make` makes, or why it cannot."""
    try:
        return make()
    except UNREADABLE as error:
        return render("refusal.html", why=str(error))


async def filled(make: Callable[[], str]) -> ui.html:
    """An element with what `make` makes: in the page as it is sent or, where that takes longer, a moment later."""
    element = html(WAITING)
    task = asyncio.create_task(asyncio.to_thread(made, make))
    await asyncio.wait({task}, timeout=PATIENCE_S)
    if task.done():
        element.set_content(task.result())
        return element

    async def fill() -> None:
        element.set_content(await task)

    ui.timer(0.1, fill, once=True)
    return element


async def live(*parts: Part) -> list[ui.html]:
    """Elements, each of which is made again when its pulse changes."""
    seen: list[Any] = [None] * len(parts)

    def look() -> list[int]:
        """Which parts have something new."""
        now = [quiet(pulse)() for _, pulse in parts]
        new = [i for i, pulse in enumerate(now) if pulse is not None and pulse != seen[i]]
        for i in new:
            seen[i] = now[i]
        return new

    def news() -> dict[int, str]:
        return {i: made(parts[i][0]) for i in look()}

    async def renew() -> None:
        for i, text in (await asyncio.to_thread(news)).items():
            elements[i].set_content(text)

    await asyncio.to_thread(look)
    elements = [await filled(make) for make, _ in parts]
    ui.timer(POLL_S, renew, immediate=False)
    return elements


def quiet(pulse: Callable[[], Any]) -> Callable[[], Any]:
    """None while a run cannot be read, as when its directory is moved."""

    def asked() -> Any:
        try:
            return pulse()
        except UNREADABLE:
            return None

    return asked
