"""The server of the page: its addresses, joined by NiceGUI."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.resources import files
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from nicegui import ui

from ludus.types import LudusError
from ludus.views.page import content, guard, present, runs
from ludus.views.page.live import Part, filled, live
from ludus.views.page.pictures import MISSING, add_pictures
from ludus.views.page.place import Place
from ludus.views.page.rendering import link
from ludus.views.page.speech import room
from ludus.views.report import style
from ludus.views.text import clean

RESPONSE_S = 60.0
"""How long NiceGUI waits for a page."""
RECONNECT_S = 30.0
"""How long a browser may be away before its page is made anew."""
THREADS = 32
"""In which parts of pages are made: more than visitors of a run whose database does not answer keep waiting."""
LISTING_S = 5.0
"""For which a server that begins waits until the runs of its folder have been read once."""
LONGEST_LOG = 2000
"""Characters of what is logged at once."""


def application(place: Place, tokens: Mapping[str, str], ready: Callable[[], None]) -> Any:
    """The ASGI application, once per process.

    Args:
        tokens: see `guard.Guard`; empty for a server that only this machine reaches.
        ready: called once it answers.
    """

    @asynccontextmanager
    async def begun(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "page"))
        ready()
        yield

    app = FastAPI(openapi_url=None, lifespan=begun)
    logging.getLogger("nicegui").addFilter(_plain)  # browsers may have it log what they like
    add_pictures(app, place)
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
    return guard.Guard(app, tokens)


def serve(place: Place, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted. On another address than this machine's own a token per role is drawn, which addresses show.

    Args:
        say: is told the address, and, with tokens, that for visitors who may only look.

    Raises:
        LudusError: the port is taken, or the address is not one of this machine.
    """
    try:
        sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise LudusError(
            f"cannot listen at {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from None
    roles = () if host in guard.LOOPBACK else (guard.OPERATOR, guard.READER)
    tokens = {role: secrets.token_urlsafe(24) for role in roles}

    listing = Thread(target=lambda: place.lines() and runs.index(place, {}), daemon=True)

    def ready() -> None:
        if not place.is_run:
            listing.join(LISTING_S)  # whoever opens the list now need not wait for it
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{sock.getsockname()[1]}/"
        say(f"Open {address}{f'?token={tokens[guard.OPERATOR]}' if tokens else ''}")
        if tokens:
            say(f"To let others look only: {address}?token={tokens[guard.READER]}")

    if not place.is_run:
        listing.start()
    app = application(place, tokens, ready)
    server = uvicorn.Server(uvicorn.Config(app, host, port, log_level="warning", timeout_graceful_shutdown=2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # NiceGUI looks at every object of the process, torch's too
            server.run(sockets=[sock])
    finally:
        place.close()


def _plain(record: logging.LogRecord) -> bool:
    """Without what steers a terminal, and not without end."""
    record.msg, record.args = clean(record.getMessage())[:LONGEST_LOG], ()
    return True


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1f6f8b"/>'
    '<rect x="9" y="16" width="9" height="9" fill="#fff"/><rect x="13" y="7" width="9" height="9" fill="#d9a441"/></svg>'
)


def _head() -> str:
    css, script = ((files("ludus.views.page") / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return f"<style>{style()}{css}</style><script>{script}</script>"


# --- pages ---------------------------------------------------------------------------------------------------------


def _pages(place: Place) -> None:
    @ui.page("/", response_timeout=RESPONSE_S)
    async def index(request: Request) -> Response | None:
        params = dict(request.query_params)
        if place.is_run:
            return Response(status_code=303, headers={"location": link(place.where.name, "now")})
        ui.page_title(f"Runs in {place.where.name} – ludus")
        await live((lambda: runs.index(place, params), place.lines_soon))
        return None

    @ui.page("/compare", response_timeout=RESPONSE_S)
    async def compare(request: Request) -> None:
        names = request.query_params.getlist("run")
        ui.page_title("Runs beside each other – ludus")
        await live((lambda: runs.compare(place, names), lambda: [place.pulse(n).step for n in names if place.has(n)]))

    @ui.page("/run/{name}/{tab}", response_timeout=RESPONSE_S)
    async def tab(name: str, tab: str, request: Request) -> Response | None:
        params = dict(request.query_params)
        if tab not in content.TABS or not place.has(name):
            return Response("There is no such page.", MISSING, media_type="text/plain")
        ui.page_title(f"{name}: {tab} – ludus")

        parts: list[Part] = [(lambda: content.head(place, name, tab), lambda: place.pulse(name))]
        if tab == "now":
            parts.append((lambda: present.gauges(place, name), lambda: place.pulse(name)))
        one = params.get("id") or params.get("skill")  # somebody reads or plays it: it stays as it is
        if tab != "room" and not one:
            parts.append((lambda: content.body(place, name, tab, params), lambda: place.pulse(name).step))
        head, *_ = await live(*parts)
        head.classes("sticky")
        if tab == "room":
            await room(place, name, params, request.scope.get(guard.ROLE) == guard.OPERATOR)
        elif one:
            await filled(lambda: content.body(place, name, tab, params))
        return None
