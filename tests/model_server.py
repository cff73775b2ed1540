"""A model behind an HTTP server on this machine, for tests: OpenAI's chat completions, with faults on demand.

    with ModelServer(sensible_answers) as server:
        server.faults.extend([Fault.status(429, retry_after=1), Fault.drop()])
        ...  # a client of server.url
        assert server.requests[-1].images == (png,)

Structured output may be asked for in three ways: by a JSON schema as the response format (native), by a tool that must
be called, or in the prompt. `Request.schema` is what was asked for in any of them, and the answer is sent the same way.
It streams nothing and fetches nothing.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from json_schemas import sensible
from PIL import Image

HOST = "127.0.0.1"
DRIP_S = 0.05  # between two pieces of an answer that drips

# OpenAI's type and code where a status has a usual one
ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


@dataclass(frozen=True)
class Request:
    """What a client asked, and when."""

    model: str
    messages: tuple[tuple[str, str], ...]  # role, text
    images: tuple[bytes, ...]  # as sent, in their order; each is a picture that PIL can open
    response_format: Mapping[str, Any] | None
    tools: Mapping[str, Mapping[str, Any]]  # name: JSON schema of the arguments
    tool_choice: Any
    settings: Mapping[str, Any]  # the rest of the body: temperature, seed, max_completion_tokens, ...
    headers: Mapping[str, str]  # names in lower case
    time_s: float  # of arrival, time.monotonic()

    @property
    def text(self) -> str:
        return "\n\n".join(text for _, text in self.messages)

    @property
    def tool(self) -> str | None:
        """The tool that has to be called."""
        if isinstance(self.tool_choice, dict):
            return self.tool_choice["function"]["name"]
        return next(iter(self.tools), None) if self.tool_choice == "required" else None

    @property
    def mode(self) -> Literal["native", "tool", "prompted", "text"]:
        """How structured output was asked for; "text" if it was not."""
        if self.response_format and self.response_format["type"] == "json_schema":
            return "native"
        return "tool" if self.tool else "prompted" if self.schema else "text"

    @cached_property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the answer."""
        if self.response_format and self.response_format["type"] == "json_schema":
            return self.response_format["json_schema"]["schema"]
        if self.tool:
            return dict(self.tools[self.tool])
        return next((s for _, text in self.messages for s in _objects(text) if "properties" in s or "$ref" in s), None)


@dataclass(frozen=True)
class Reply:
    """What the model says. A dict is sent as JSON; where a tool has to be called, the content is its arguments."""

    content: str | dict[str, Any] | None
    usage: tuple[int, int] | None = None  # tokens in, tokens out; None: about what they would be
    finish_reason: str | None = None
    refusal: str | None = None
    as_text: bool = False  # never in a tool call


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call; made by one of the methods."""

    kind: str
    seconds: float = 0.0
    http: int = 200
    content_type: str = "application/json"
    payload: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    said: Reply | None = None
    change: Callable[[dict[str, Any]], Any] | None = None

    @classmethod
    def nothing(cls) -> Fault:
        """Nothing goes wrong; for a fault in a later call."""
        return cls("nothing")

    @classmethod
    def status(
        cls, status: int, code: str | None = None, message: str | None = None, retry_after: float | None = None
    ) -> Fault:
        """An error of the API, with a body like OpenAI's."""
        kind, usual = ERRORS.get(status, ("server_error", None))
        code = code or usual
        kind = code if code == "insufficient_quota" else kind
        error = {"message": message or f"{code or kind} (status {status})", "type": kind, "param": None, "code": code}
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return cls("body", http=status, payload=json.dumps({"error": error}).encode(), headers=headers)

    @classmethod
    def body(cls, payload: str, status: int = 200, content_type: str = "text/html") -> Fault:
        """Something else than the API's answer, such as a proxy's page."""
        return cls("body", http=status, content_type=content_type, payload=payload.encode())

    @classmethod
    def malformed_json_body(cls) -> Fault:
        """All of a body that is half an answer."""
        return cls("body", payload=b'{"id": "chatcmpl-0", "object": "chat.completion", "choices": [{"index": 0, "mess')

    @classmethod
    def changed(cls, change: Callable[[dict[str, Any]], Any]) -> Fault:
        """The right answer, changed into other JSON or bytes."""
        return cls("changed", change=change)

    @classmethod
    def redirect(cls, to: str, status: int = 307) -> Fault:
        return cls("body", http=status, headers={"location": to})

    @classmethod
    def drop(cls) -> Fault:
        """The connection is closed without an answer."""
        return cls("drop")

    @classmethod
    def cut_body(cls) -> Fault:
        """The connection is closed in the middle of the answer."""
        return cls("cut")

    @classmethod
    def slow(cls, seconds: float, drip: bool = False) -> Fault:
        """The answer comes after that time; dripping, it comes piece by piece during it, never long silent."""
        return cls("drip" if drip else "slow", seconds=seconds)

    @classmethod
    def hang(cls, seconds: float) -> Fault:
        """Silence, then the connection is closed."""
        return cls("drop", seconds=seconds)

    @classmethod
    def reply(cls, reply: Reply) -> Fault:
        return cls("said", said=reply)

    @classmethod
    def text(cls, content: str, finish_reason: str = "stop") -> Fault:
        """This text, whatever was asked for."""
        return cls.reply(Reply(content, finish_reason=finish_reason, as_text=True))

    @classmethod
    def empty(cls) -> Fault:
        return cls.text("")

    @classmethod
    def refusal(cls, why: str = "I can't help with that.") -> Fault:
        return cls.reply(Reply(None, refusal=why))


Answer = Callable[[Request], "str | dict[str, Any] | Reply"]


def sensible_answers(request: Request) -> str | dict[str, Any]:
    """An answer that keeps to the schema, the same every time: see `json_schemas.sensible`."""
    return sensible(request.schema) if request.schema else "The red cube is beside the green cube."


class ModelServer:
    """Serves `answer` while it is open. `answer` runs in several threads at once; what it raises, leaving raises too."""

    def __init__(
        self,
        answer: Answer,
        key: str | None = None,
        models: Sequence[str] = (),
        latency: float = 0.0,
        images: int | None = None,
        port: int = 0,
    ) -> None:
        """`key`: the only one accepted. `models`: the only names accepted, if any. `latency`: s, of every call. `images`:
        accepted in one request. `port`: 0 takes a free one."""
        self.answer, self.key, self.models, self.latency = answer, key, tuple(models), latency
        self.images, self.port = images, port
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()  # of the next calls, one each; then what `misbehave` says
        self.misbehave: Callable[[Request], Fault] = lambda request: Fault.nothing()
        self.list: tuple[Any, float] | None = None  # the list of models as JSON or bytes, and how long it takes, s
        self.errors: list[BaseException] = []
        self.charged: list[tuple[int, int]] = []  # tokens in and out of every answer, but cut and dripping ones
        self.numbers = itertools.count(1)  # of the answers
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._http.server_port}/v1"

    def __enter__(self) -> ModelServer:
        self._http = _HTTP(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="model server")
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        self._thread.join()
        if self.errors and kind is None:
            raise self.errors[0]


class _HTTP(ThreadingHTTPServer):
    """Remembers its connections, so that none outlives it."""

    request_queue_size = 128
    daemon_threads = False

    def __init__(self, owner: ModelServer) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__((HOST, owner.port), _Call)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().close_request(request)

    def close_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):  # the client may hang up
            self.owner.errors.append(error)


class _Call(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HTTP

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.path.rstrip("/") != "/v1/models":
            return self.fail(404, f"no such page: GET {self.path}", "unknown_url")
        if not self.may_enter():
            return self.fail(401, "Incorrect API key provided.")
        if self.server.owner.list is not None:
            content, seconds = self.server.owner.list
            self.server.owner.closing.wait(seconds)
            return self.send(content)
        listed = [{"id": m, "object": "model", "created": 0, "owned_by": "tests"} for m in self.server.owner.models]
        return self.send({"object": "list", "data": listed})

    def do_POST(self) -> None:
        owner, now = self.server.owner, time.monotonic()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.partition("?")[0].rstrip("/") != "/v1/chat/completions":
            return self.fail(404, f"no such page: POST {self.path}", "unknown_url")
        try:
            request = _request(json.loads(body), {k.lower(): v for k, v in self.headers.items()}, now)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            return self.fail(400, f"not a chat completion request: {error!r}")
        owner.requests.append(request)
        if not self.may_enter():
            return self.fail(401, "Incorrect API key provided.")
        if owner.models and request.model not in owner.models:
            return self.fail(404, f"The model `{request.model}` does not exist.")
        if owner.images is not None and len(request.images) > owner.images:
            message = f"At most {owner.images} image(s) may be provided in one prompt."  # vLLM's
            body = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
            return self.send(body, 400)
        try:
            fault = owner.faults.popleft()
        except IndexError:
            fault = owner.misbehave(request)
        owner.closing.wait(owner.latency + (fault.seconds if fault.kind != "drip" else 0))
        if fault.kind == "drop" or owner.closing.is_set():
            return self.hang_up()
        if fault.kind == "body":
            return self.send(fault.payload, fault.http, fault.content_type, fault.headers)
        try:
            answer = fault.said or owner.answer(request)
        except Exception as error:
            owner.errors.append(error)
            return self.fail(500, f"the test's answer raised {error!r}")
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        payload = _completion(request, reply, f"chatcmpl-{next(owner.numbers)}")
        if fault.change:
            return self.send(fault.change(payload))
        if fault.kind not in ("cut", "drip"):
            owner.charged.append((payload["usage"]["prompt_tokens"], payload["usage"]["completion_tokens"]))
        return self.send(payload, drip_s=fault.seconds if fault.kind == "drip" else 0, cut=fault.kind == "cut")

    def may_enter(self) -> bool:
        key = self.server.owner.key
        return key is None or self.headers.get("authorization") == f"Bearer {key}"

    def fail(self, status: int, message: str, code: str | None = None) -> None:
        fault = Fault.status(status, code, message)
        self.send(fault.payload, status)

    def send(
        self,
        content: Any,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        drip_s: float = 0.0,
        cut: bool = False,
    ) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        named = {"content-type": content_type, "content-length": str(len(payload)), "x-request-id": "req-tests"}
        for name, value in {**named, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        payload = payload[: len(payload) // 2] if cut else payload
        n = max(1, min(round(drip_s / DRIP_S), len(payload)))
        for k in range(n):
            self.server.owner.closing.wait(drip_s / n)
            self.wfile.write(payload[k * len(payload) // n : (k + 1) * len(payload) // n])
        if cut:
            self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _request(body: dict[str, Any], headers: Mapping[str, str], time_s: float) -> Request:
    """ValueError, KeyError, TypeError or OSError if it is none."""
    if body.pop("stream", False):
        raise ValueError("this server does not stream")
    messages, images = [], []
    for message in body.pop("messages"):
        content = message.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [json.dumps(message["tool_calls"])] if message.get("tool_calls") else []
        for part in parts:
            if part["type"] == "image_url":
                images.append(_picture(part["image_url"]["url"]))
            else:
                texts.append(part["text"])
        messages.append((message["role"], "\n".join(texts)))
    functions = [tool["function"] for tool in body.pop("tools", None) or ()]
    return Request(
        model=body.pop("model"),
        messages=tuple(messages),
        images=tuple(images),
        response_format=body.pop("response_format", None),
        tools={f["name"]: f["parameters"] for f in functions},
        tool_choice=body.pop("tool_choice", "auto" if functions else "none"),
        settings=body,
        headers=headers,
        time_s=time_s,
    )


def _picture(url: str) -> bytes:
    head, comma, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64") or not comma:
        raise ValueError(f"not an image as a data URL in base64: {url[:40]}")
    picture = base64.b64decode(data, validate=True)
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
        if Image.MIME[image.format or ""] != head.removeprefix("data:").removesuffix(";base64"):
            raise ValueError(f"{head} is in truth {image.format}")
    return picture


def _completion(request: Request, reply: Reply, identity: str) -> dict[str, Any]:
    content = json.dumps(reply.content) if isinstance(reply.content, dict) else reply.content
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": reply.refusal}
    finish = "stop"
    if request.tool and content is not None and not reply.as_text:
        call = {"id": f"call-{identity}", "type": "function", "function": {"name": request.tool, "arguments": content}}
        message |= {"content": None, "tool_calls": [call]}
        finish = "tool_calls"
    asked = len(request.text) // 4 + 85 * len(request.images)  # OpenAI counts 85 tokens for a small image
    used_in, used_out = reply.usage or (asked, len(content or reply.refusal or "") // 4 + 1)
    return {
        "id": identity,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason or finish, "logprobs": None}],
        "usage": {"prompt_tokens": used_in, "completion_tokens": used_out, "total_tokens": used_in + used_out},
    }


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, outermost only."""
    found, at, decoder = [], text.find("{"), json.JSONDecoder()
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
            found.append(value)
        except ValueError:
            end = at + 1
        at = text.find("{", end)
    return found
