"""Who may look: a layer before all requests, of pages as well as of WebSockets."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

COOKIE = "ludus_token"
READER, OPERATOR = "reader", "operator"
"""Roles of a visitor: who may look, and who may also say something and decide."""
ROLE = "ludus_role"
"""Where the scope of a request that is let through says whose it is."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""NiceGUI compiles its components in the page, hence 'unsafe-eval'. Nothing is fetched from elsewhere, whatever a text says."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Guard:
    """ASGI middleware. Refuses requests that another site's page makes (`Origin`), requests under a foreign name, which is how a
    page gets at servers of this machine (DNS rebinding), and, with tokens, all that do not bring one: once as `?token=...`,
    then as a cookie. The token decides on the role, which the scope of the request says from then on.

    Args:
        tokens: role -> what a visitor of this role brings. Empty: whoever reaches the server is an operator, under a name of this
            machine only.
    """

    def __init__(self, app: Any, tokens: Mapping[str, str]) -> None:
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        if not self._same_site(headers):
            await _refuse(
                scope, send, 403, "This address is not that of the server; open the one that `ludus serve` printed."
            )
        elif scope["type"] == "http" and self._role(given := _query(scope).get("token", "")):
            await self._admit(scope, given, send)
        elif role := self._known(headers.get("cookie", "")):
            await self._app(scope | {ROLE: role}, receive, _with_headers(send))
        else:
            await _refuse(scope, send, 401, "A token is needed: open the address that `ludus serve` printed.")

    def _same_site(self, headers: Mapping[str, str]) -> bool:
        host = headers.get("host", "")
        try:
            name, origin = urlsplit(f"//{host}").hostname, urlsplit(headers.get("origin", f"//{host}")).netloc
        except ValueError:  # no address at all
            return False
        return (bool(self._tokens) or name in LOOPBACK) and origin == host

    def _known(self, cookie: str) -> str | None:
        if not self._tokens:
            return OPERATOR
        try:
            kept = SimpleCookie(cookie).get(COOKIE)
        except CookieError:
            kept = None
        return self._role(kept.value) if kept else None

    def _role(self, given: str) -> str | None:
        found = [role for role, token in self._tokens.items() if secrets.compare_digest(given.encode(), token.encode())]
        return found[0] if found else None

    async def _admit(self, scope: dict[str, Any], token: str, send: Any) -> None:
        """Keep the token in a cookie, and go on without it in the address, which is shown and kept by browsers."""
        rest = urlencode({k: v for k, v in _query(scope).items() if k != "token"})
        # a path that began with two slashes would be another server's address
        path = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
        cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", {"location": path, "set-cookie": cookie})


def _query(scope: Mapping[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1")))


def _with_headers(send: Any) -> Any:
    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            message = message | {"headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


async def _refuse(scope: Mapping[str, Any], send: Any, status: int, said: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
    else:
        await _answer(send, status, said, {})


async def _answer(send: Any, status: int, said: str, headers: Mapping[str, str]) -> None:
    every = HEADERS | {"content-type": "text/plain; charset=utf-8"} | dict(headers)
    encoded = [(k.encode(), v.encode("latin-1")) for k, v in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": said.encode()})
