"""Hostile visitors of the page of `ludus serve`, over HTTP and WebSocket: refused or harmless. The ASGI application is asked
directly, in one process and one loop."""

import ast
import asyncio
import html
import json
import logging
import re
from urllib.parse import quote

import pytest
from test_views import HOSTILE, make

from ludus.record import Record
from ludus.views.page.guard import COOKIE, OPERATOR, READER
from ludus.views.page.place import Place

pytest.importorskip("nicegui")
TOKENS = {OPERATOR: "operate", READER: "read"}
BREAKOUT = "</script><script>alert(1)</script>`+alert(2)+`${alert(3)}\x1b[2J"
RECONNECTS = 50
UPGRADE = ((b"connection", b"upgrade"), (b"upgrade", b"websocket"))


class Visitor:
    """What a browser sends, with the cookie of a role, or with none."""

    def __init__(self, app, role=None):
        cookie = [(b"cookie", f"{COOKIE}={TOKENS[role]}".encode())] if role else []
        self.app, self.headers = app, [(b"host", b"10.0.0.1:80"), *cookie]

    async def get(self, path, method="GET"):
        """`(status, text)`"""
        path, _, query = path.partition("?")
        sent, scope = [], self._scope("http", path, query) | {"method": method, "scheme": "http"}

        async def receive():
            if sent and not sent[-1].get("more_body", True):
                return {"type": "http.disconnect"}
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b""}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(m.get("body", b"") for m in sent).decode()

    async def socket(self, query):
        """An open WebSocket, as `(tell, queue to it, task)`; None where it is refused."""
        to, heard = asyncio.Queue(), []
        scope = self._scope("websocket", "/_nicegui_ws/socket.io/", f"EIO=4&transport=websocket&{query}")
        accepted = asyncio.Event()

        async def send(message):
            heard.append(message)
            accepted.set()

        await to.put({"type": "websocket.connect"})
        scope |= {"scheme": "ws", "subprotocols": [], "headers": [*self.headers, *UPGRADE]}
        task = asyncio.create_task(self.app(scope, to.get, send))
        await asyncio.wait_for(accepted.wait(), 10)
        if heard[0]["type"] != "websocket.accept":
            await task
            return None

        async def tell(data):
            kind = "bytes" if isinstance(data, bytes) else "text"
            await to.put({"type": "websocket.receive", kind: data})
            await asyncio.sleep(0.05)

        await tell("40")
        return tell, to, task

    def _scope(self, kind, path, query):
        server = {"server": ("10.0.0.1", 80), "client": ("10.0.0.2", 5000), "root_path": "", "http_version": "1.1"}
        raw = {"raw_path": path.encode(), "query_string": query.encode(), "headers": self.headers}
        return {"type": kind, "asgi": {"version": "3.0"}, "path": path.replace("%2f", "/"), **raw, **server}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make(folder / "first", HOSTILE, finished=False)
    return folder


def said(folder):
    with Record.open(folder / "first", write=False) as record:
        return [(m.sender, m.kind, m.text) for m in record.messages() if m.kind in ("remark", "command")]


def listeners(page):
    """Of the event 'say' in a page as it is sent, and the parameters of its socket."""
    text = html.unescape(page)
    query = ast.literal_eval(re.search(r"query: (\{.*?\}),\n", page)[1]) | {"document_id": "d", "tab_id": "t"}
    found = [e for e in re.findall(r"\{[^{}]*\}", text) if '"say"' in e and "listener_id" in e]
    return found, query


def test_hostile_visitors_are_refused_or_harmless(folder, monkeypatch, caplog):
    from ludus.views.page.server import application

    monkeypatch.setattr(Place, "library", lambda self, record: pytest.fail("no world is needed"))
    app = application(Place(folder), TOKENS, lambda: None)

    async def all_of_it():
        started, ended = asyncio.Event(), asyncio.Event()

        async def receive():
            if not started.is_set():
                return {"type": "lifespan.startup"}
            await ended.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message):
            started.set()

        running = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
        await started.wait()
        try:
            await addresses(app)
            await sockets(app, folder)
            await reconnects(app)
        finally:
            ended.set()
            await running

    with caplog.at_level(logging.INFO):
        asyncio.run(asyncio.wait_for(all_of_it(), 60))
    assert "\x1b" not in caplog.text and "told" in caplog.text


async def addresses(app):
    nobody, reader = Visitor(app), Visitor(app, READER)
    assert (await nobody.get("/"))[0] == (await nobody.get("/run/first/room"))[0] == 401
    assert (await nobody.get("/?token=wrong"))[0] == 401
    for path in ("/run/..%2f..%2fetc/room", "/run/%2e%2e/room", "/run/first/passwd", "/run/nothing/room"):
        assert (await reader.get(path))[0] == 404, path
    for path in ("../ludus.db", "/etc/passwd", "images/../../first/ludus.db", "%00", "images/" + "x" * 9000):
        assert (await reader.get(f"/run/first/picture?path={path}"))[0] == 404, path
    for what in ("film?id=", "mosaic?id="):
        assert (await reader.get(f"/run/first/{what}../../x"))[0] == 404
    assert (await reader.get("/run/first/mosaic?" + "id=x&" * 500))[0] == 422
    assert (await reader.get("/run/first/room", "POST"))[0] == 405
    for path in (
        f"/run/first/room?words={quote(BREAKOUT)}",
        f"/?world={quote(BREAKOUT)}",
        f"/compare?run={quote(BREAKOUT)}&run=a",
    ):
        status, page = await reader.get(path)
        assert status == 200
        for raw in ("<script>alert", "`+alert", "${alert", "\x1b"):
            assert raw not in page, (path, raw)
    assert (await reader.get(f"/run/first/room?words={'x' * 200_000}&round=-1&before=9{'9' * 400}"))[0] == 200


async def sockets(app, folder):
    reader, operator = Visitor(app, READER), Visitor(app, OPERATOR)
    assert await Visitor(app).socket("") is None
    page = (await reader.get("/run/first/room"))[1]
    events, query = listeners(page)
    assert events == [] and 'id="say"' not in html.unescape(page)  # readers have neither box nor listener

    (event, *_), query = listeners((await operator.get("/run/first/room"))[1])
    listener = json.loads(event)["listener_id"]
    address = "&".join(f"{k}={quote(json.dumps(v) if isinstance(v, bool) else str(v))}" for k, v in query.items())
    tell, to, task = await operator.socket(address)

    async def say(**sent):
        about = {"id": 0, "client_id": query["client_id"], "listener_id": listener, "args": [json.dumps(sent)]}
        await tell("42" + json.dumps(["event", about]))
        await asyncio.sleep(0.3)

    await say(line="/pause", name="loop")
    await say(line="/nothing", name="Ada")
    await say(line=["x"], name={"a": 1})
    await say(line="x" * 300_000, name="Ada")
    assert said(folder) == []
    await say(line=f"mind {BREAKOUT}", name="Ada")
    assert [(s, k) for s, k, _ in said(folder)] == [("Ada", "remark")] and "\x1b" not in said(folder)[0][2]

    for garbage in (
        "42",
        "42[]",
        "43",
        "4{",
        b"\xff\xfe",
        '42["event",{}]',
        '42["event",7]',
        '42["nothing",{}]',
        "2probe",
        "9",
    ):
        await tell(garbage)
    about = {"client_id": query["client_id"], "level": "error", "message": "told \x1b]0;x\x07"}
    await tell("42" + json.dumps(["log", about]))
    await tell("42" + json.dumps(["event", {"args": "x" * 2_000_000}]))
    await to.put({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(task, 10)
    assert len(said(folder)) == 1


async def reconnects(app):
    """Nothing is left hanging, and the page still answers."""
    reader = Visitor(app, READER)
    for _ in range(RECONNECTS):
        *_, to, task = await reader.socket("client_id=nobody")
        await to.put({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(task, 10)
    status, page = await reader.get("/run/first/room")
    assert status == 200 and "mind" in page
