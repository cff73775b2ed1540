"""The server of the page: NiceGUI brings what is new to browsers, plain routes bring pictures. Nothing else needs NiceGUI."""

from __future__ import annotations

import asyncio
import secrets
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.resources import files
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from nicegui import run, ui

from ludus.data.store import EpisodeStore
from ludus.lab.oversight import say
from ludus.lab.room import LONGEST_REMARK
from ludus.types import LudusError
from ludus.views import queries
from ludus.views.page import content, film, guard
from ludus.views.page.place import UNREADABLE, Place
from ludus.views.report import style

POLL_S = 2.0
"""How often a page asks whether its run has anything new."""
MOST_SHEETS = 8
"""Episodes whose frames are kept."""
PATIENCE_S = 2.0
"""How long a page is kept back for a part of it, such as one that needs a world to be made."""
RESPONSE_S = 60.0
"""How long NiceGUI waits for a page."""
RECONNECT_S = 30.0
"""How long a browser may be away before its page is made anew."""
WAITING = '<p class="waiting" role="status">Reading …</p>'
MISSING = 404


def application(place: Place, token: str | None, ready: Callable[[], None]) -> Any:
    """The ASGI application, once per process.

    Args:
        token: what a visitor must bring; None for a server that only this machine reaches.
        ready: called once it answers.
    """

    @asynccontextmanager
    async def begun(_: FastAPI) -> AsyncIterator[None]:
        ready()
        yield

    app = FastAPI(openapi_url=None, lifespan=begun)
    _pictures(app, place)
    _pages(place)
    ui.add_head_html(_head(), shared=True)
    ui.run_with(
        app,
        title="ludus",
        dark=None,
        language="en-US",
        favicon=_ICON,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
    )
    return guard.Guard(app, token)


def serve(place: Place, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted. On another address than this machine's own a token is drawn, which the address shows.

    Raises:
        LudusError: the port is taken, or the address is not one of this machine.
    """
    try:
        sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise LudusError(
            f"cannot listen at {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from None
    token = None if host in guard.LOOPBACK else secrets.token_urlsafe(24)

    def ready() -> None:
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{sock.getsockname()[1]}/{f'?token={token}' if token else ''}")

    app = application(place, token, ready)
    server = uvicorn.Server(uvicorn.Config(app, host, port, log_level="warning", timeout_graceful_shutdown=2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # NiceGUI looks at every object of the process, torch's too
            server.run(sockets=[sock])
    finally:
        place.close()


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1f6f8b"/>'
    '<rect x="9" y="16" width="9" height="9" fill="#fff"/><rect x="13" y="7" width="9" height="9" fill="#d9a441"/></svg>'
)


def _head() -> str:
    css, script = ((files("ludus.views.page") / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return f"<style>{style()}{css}</style><script>{script}</script>"


# --- pictures ------------------------------------------------------------------------------------------------------


def _pictures(app: FastAPI, place: Place) -> None:
    @lru_cache(MOST_SHEETS)
    def drawn(name: str, id: str) -> bytes:
        with place.open(name) as record:
            episode = EpisodeStore(record).load(id)
            return place.with_world(record, lambda world: film.sheet(episode, world))

    @app.get("/run/{name}/picture")
    def picture(name: str, path: str) -> Response:
        """A picture that a message of the run points to."""
        try:
            with place.open(name) as record:
                images = record.path("images").resolve()
                wanted = record.path(path).resolve()
        except (*UNREADABLE, ValueError):
            return Response(status_code=MISSING)
        if not wanted.is_relative_to(images) or wanted.suffix != ".png" or not wanted.is_file():
            return Response(status_code=MISSING)
        return FileResponse(wanted, headers={"cache-control": "private, max-age=3600"})

    @app.get("/run/{name}/film")
    def sheet(name: str, id: str) -> Response:
        """The frames of an episode, see `film.sheet`."""
        try:
            return Response(drawn(name, id), media_type="image/jpeg")
        except UNREADABLE as error:
            return Response(str(error), MISSING, media_type="text/plain")


# --- pages ---------------------------------------------------------------------------------------------------------


def _pages(place: Place) -> None:
    @ui.page("/", response_timeout=RESPONSE_S)
    async def index(request: Request) -> Response | None:
        params = dict(request.query_params)
        if place.is_run:
            return Response(status_code=303, headers={"location": content.link(place.where.name, "room")})
        await _live(lambda: content.index(place, params), lambda: place.lines())
        return None

    @ui.page("/run/{name}/{tab}", response_timeout=RESPONSE_S)
    async def tab(name: str, tab: str, request: Request) -> Response | None:
        params = dict(request.query_params)
        if tab not in content.TABS or not place.has(name):
            return Response("There is no such page.", MISSING, media_type="text/plain")
        ui.page_title(f"{name}: {tab}")

        head = await _live(lambda: content.head(place, name, tab), lambda: place.pulse(name))
        head.classes("sticky")
        if tab == "room":
            await _room(place, name, params)
        elif params.get("id") or params.get("skill"):  # somebody reads or plays it
            await _filled(lambda: content.body(place, name, tab, params))
        else:
            await _live(lambda: content.body(place, name, tab, params), lambda: place.pulse(name).step)
        return None


def _html(text: str) -> ui.html:
    """What a template made: every text in it is escaped already."""
    return ui.html(text, sanitize=False)


async def _attempt(make: Callable[[], str]) -> str:
    """What `make` makes, beside the loop that serves everybody; or why it cannot."""

    def made() -> str:
        try:
            return make()
        except UNREADABLE as error:
            return content.render("refusal.html", why=str(error))

    return await run.io_bound(made) or ""


async def _filled(make: Callable[[], str]) -> ui.html:
    """An element with what `make` makes: in the page as it is sent or, where that takes longer, a moment later."""
    element = _html(WAITING)
    task = asyncio.create_task(_attempt(make))
    await asyncio.wait({task}, timeout=PATIENCE_S)
    if task.done():
        element.set_content(task.result())
        return element

    async def fill() -> None:
        element.set_content(await task)

    ui.timer(0.1, fill, once=True)
    return element


async def _live(make: Callable[[], str], pulse: Callable[[], Any]) -> ui.html:
    """An element that is made again when what `pulse` returns changes."""

    async def look() -> None:
        nonlocal seen
        now = await run.io_bound(_quiet(pulse))
        if now != seen and now is not None:
            seen = now
            element.set_content(await _attempt(make))

    seen = await run.io_bound(_quiet(pulse))
    element = await _filled(make)
    ui.timer(POLL_S, look, immediate=False)
    return element


def _quiet(pulse: Callable[[], Any]) -> Callable[[], Any]:
    """None while a run cannot be read, as when its directory is moved."""

    def asked() -> Any:
        try:
            return pulse()
        except UNREADABLE:
            return None

    return asked


async def _room(place: Place, name: str, params: dict[str, str]) -> None:
    """The room; what is said from now on is added at its end, unless an earlier part is looked at."""
    last, seen = None, None  # the last message that is shown, and the last that there was
    turn = asyncio.Lock()

    def first() -> str:
        nonlocal last
        last, shown = content.talk(place, name, params)
        return shown

    await _filled(first)
    if "before" in params:
        return
    added = ui.element("div").classes("added")

    def said() -> str:
        nonlocal last, seen
        newest = place.pulse(name).message
        if last is None or newest == seen:
            return ""
        with place.open(name) as record:
            found = queries.postings(record, content.wanted(params), after=last)
            last, seen = found[-1].number if found else last, newest
            return content.messages(record, name, found) if found else ""

    async def look() -> None:
        async with turn:
            html = await run.io_bound(_quiet(said))
        if html:
            with added:
                _html(html)

    ui.timer(POLL_S, look, immediate=False)
    await _remark_box(place, name, look)


async def _remark_box(place: Place, name: str, look: Callable[[], Awaitable[None]]) -> None:
    """Where a person says something, while the run is not over."""

    def leave(text: str) -> str | None:
        try:
            with place.open(name) as record:
                say(record, text)
        except UNREADABLE as error:
            return str(error)
        return None

    async def send() -> None:
        refused = await run.io_bound(leave, box.value or "")
        if refused:
            ui.notify(refused, type="warning")
            return
        box.set_value("")
        await look()

    if await run.io_bound(_quiet(lambda: place.pulse(name).state)) not in ("running", "stopped"):
        return
    with ui.element("div").classes("say"):
        box = ui.textarea("A remark to the experimenter").props(f"outlined autogrow maxlength={LONGEST_REMARK}")
        ui.label(
            "It is shown as guidance with the next question for a task, marked as a person's. A model or a person in the role "
            "reads it; the built-in planner does not."
        ).classes("dim")
        ui.button("Say it", on_click=send, color=None).props("no-caps unelevated")
