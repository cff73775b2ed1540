"""The room on the page: the conversation as it grows, and where an operator says something or decides."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from ludus.lab import oversight
from ludus.views import queries
from ludus.views.page import content
from ludus.views.page.live import POLL_S, filled, html, live, quiet
from ludus.views.page.place import UNREADABLE, Place
from ludus.views.page.rendering import Params, render
from ludus.views.text import clean, heard

LONGEST_NAME = 40
"""Characters of a visitor's name."""


async def room(place: Place, name: str, params: Params, operator: bool) -> None:
    """The room; what is said from now on is added at its end, unless an earlier part is looked at.

    Args:
        operator: whether the visitor may say something.
    """
    last, seen = None, None  # the last message that is shown, and the last that there was
    turn = asyncio.Lock()
    state = await asyncio.to_thread(quiet(lambda: place.pulse(name).state))
    operator = operator and state in ("running", "stopped")  # else nobody would hear it

    def first() -> str:
        nonlocal last
        last, shown = content.talk(place, name, params, operator)
        return shown

    await filled(first)
    if "before" in params:
        return
    added = ui.element("div").classes("added")
    news = ui.label().classes("unseen").props("role=status")  # what was added, in one sentence

    def said() -> tuple[str, str]:
        nonlocal last, seen
        newest = place.pulse(name).message
        if last is None or newest == seen:
            return "", ""
        with place.open(name) as record:
            found = queries.postings(record, content.wanted(params), after=last, limit=sys.maxsize)
            last, seen = found[-1].number if found else last, newest
            return (content.messages(place, record, name, found, operator), content.news(found)) if found else ("", "")

    async def look() -> None:
        async with turn:
            more, sentence = await asyncio.to_thread(quiet(said)) or ("", "")
        if more:
            with added:
                html(more)
            news.set_text(sentence)

    ui.timer(POLL_S, look, immediate=False)
    if operator:
        await live((lambda: content.orders(place, name), lambda: (place.pulse(name).state, place.pulse(name).message)))
        html(render("say.html", help=oversight.help_text(), name_limit=LONGEST_NAME))
        ui.on("say", _heard(place, name, look))


def _heard(place: Place, name: str, look: Callable[[], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """What is done with what the browser sends: the box, or a button beside a message."""

    def say(line: str, author: str) -> dict[str, str]:
        try:
            with place.open(name) as record:
                message = oversight.say(record, line, author)
                shown = message.text if message.kind == oversight.HELP else heard(record.state(), record.going_on)
        except UNREADABLE as error:
            return {"refused": clean(str(error))}
        place.renew(name)
        return {"help": shown} if shown else {}

    async def receive(event: GenericEventArguments) -> None:
        answer = await asyncio.to_thread(say, *spoken(event.args))
        ui.run_javascript(f"ludusAnswered({json.dumps(answer)})")
        await look()

    return receive


def spoken(sent: Any) -> tuple[str, str]:
    """`(line, author)` of what a browser sent, whatever it is; `oversight.say` refuses names that are none, or a module's."""
    given = sent if isinstance(sent, dict) else {}
    line, name = (str(given.get(key) or "") for key in ("line", "name"))
    return line, name.strip() or oversight.PERSON
