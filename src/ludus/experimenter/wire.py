"""Between a server's socket and the client library: whatever an OpenAI-compatible server sends becomes a completion that
keeps to the protocol, or an error in the server's words.

Servers leave fields out, send null for them, encode arguments twice, stream although nobody asked, or put an error into an
answer of status 200. The library takes the protocol at its word, so what it gets is built here from what can be read.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx2

from ludus.experimenter.advice import SENT_STATUS

LARGEST_BODY = 16 * 2**20
"""Bytes of an answer; one of 100,000 tokens has less than one."""
LARGEST_TEXT = 50_000
"""Characters of an answer, its thoughts or its refusal; what does not fit its type is sent back, and paid for again."""
LARGEST_ERROR = 2000
"""Characters of an error that are looked at."""
MOST_CALLS = 8
"""Of a tool in one answer, of which one is used."""
LARGEST_NAME = 64
"""Characters of a tool's name, as of OpenAI's."""
MOST_TOKENS = 10**9
"""Of one answer; whoever reports more has not counted."""
MOST_DIGITS = 18
"""Of an integer."""
MOST_ENCODINGS = 3
"""Of one object, JSON within JSON."""
MAX_HOPS = 5
"""Redirects in a row."""
LASTING = (
    (
        re.compile(
            r"^(?!.*(rate.?limit|quota|retry|again|overload|timed? ?out|unavailable))"
            r".*(not authenticated|unauthori[sz]ed|(invalid|incorrect|missing|no)\W+(\w+\W+)?api.?key)",
            re.IGNORECASE | re.DOTALL,
        ),
        HTTPStatus.UNAUTHORIZED,
    ),
    (
        re.compile(r"model\b.*\b(not found|not exist|unknown)|(unexpected|unknown) endpoint", re.IGNORECASE),
        HTTPStatus.NOT_FOUND,
    ),
)
"""Words of an error that no retry helps -> the status that it should have had, where it has none."""
KEPT_HEADERS = ("retry-after", "retry-after-ms", "x-request-id")


class Client(httpx2.AsyncClient):
    """Sends requests; follows 307 and 308 on the same host; what it returns keeps to the protocol."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """As of `httpx2.AsyncClient`, read to its end or to `LARGEST_BODY`."""
        options["stream"] = True
        response = await super().send(request, **options)
        for _ in range(MAX_HOPS):
            onward = response.next_request
            if response.status_code not in (307, 308) or onward is None or onward.url.host != request.url.host:
                break
            await response.aclose()
            response = await super().send(onward, **options)
        body = bytearray()
        try:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > LARGEST_BODY:
                    break
        finally:
            await response.aclose()
        kept = {name: said for name in KEPT_HEADERS if (said := response.headers.get(name, "")) and said.isascii()}
        status, content = response.status_code, bytes(body)
        if response.is_redirect:
            target = response.headers.get("location", "nowhere")
            status, content = _error(f"it redirects to {target}", HTTPStatus.NOT_FOUND)
        elif response.is_success and request.method == "POST":
            status, content = answer(content, response.charset_encoding)
        if status != response.status_code:
            kept[SENT_STATUS] = str(response.status_code)
        headers = kept | {"content-type": "application/json"}
        return httpx2.Response(status, headers=headers, content=content, request=request)


def answer(content: bytes, encoding: str | None = None) -> tuple[int, bytes]:
    """`(status, JSON)` of what came with a status that means success: a completion, or an error with what was said."""
    try:
        return _answer(content, encoding)
    except RecursionError:
        return _error("its answer is nested too deep to be read", HTTPStatus.BAD_GATEWAY)


def _answer(content: bytes, encoding: str | None) -> tuple[int, bytes]:
    body = _parsed(content, encoding)
    if not isinstance(body, Mapping):
        said = content[:200].decode("utf-8", "replace") or "nothing"
        return _error(f"its answer is no chat completion: {said}", HTTPStatus.BAD_GATEWAY)
    choices = body.get("choices")
    choice = next(_dicts(choices), {})
    failed = next((part for part in (body, choice) if part.get("error") and not choice.get("message")), None)
    if failed or not isinstance(choices, list):
        return _error(*_complaint(failed or body))
    finish = choice.get("finish_reason")
    completion = {
        "id": _text(body.get("id")) or "",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _text(body.get("model")) or "",
        "choices": [{"index": 0, "finish_reason": _text(finish) or None, "message": _message(choice)}],
        "usage": _usage(body.get("usage")),
    }
    return HTTPStatus.OK, _json(completion).encode()


# --- reading -----------------------------------------------------------------------------------------------------


def _parsed(content: bytes, encoding: str | None) -> Any:
    """JSON, or the chunks of a stream put together; None if it is neither."""
    text = content.decode("latin-1")
    for name in (json.detect_encoding(content), encoding or "latin-1"):
        try:
            text = content.decode(name)
            break
        except (LookupError, ValueError):  # no such encoding, or not in it
            continue
    found = _loaded(text)
    return _put_together(text) if found is None else found


def _loaded(text: str) -> Any:
    """JSON, or None. Python refuses to read integers of thousands of digits, which are no counts anyway."""
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) <= MOST_DIGITS else math.inf)
    except (ValueError, RecursionError):
        return None


def _put_together(text: str) -> dict[str, Any] | None:
    """A stream of chunks as one answer, or the error in it."""
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    functions: dict[str, dict[str, Any]] = {}
    finish = None
    lines = re.split(r"\r\n|\r|\n", text)  # not at the signs that end a line of text, which may stand in an answer
    for chunk in (_loaded(line[5:]) for line in lines if line.startswith("data:")):
        if not isinstance(chunk, dict):
            continue
        whole |= {name: value for name, value in chunk.items() if value}
        choice = next(_dicts(chunk.get("choices")), {})
        finish = choice.get("finish_reason") or finish
        delta = next(_dicts([choice.get("delta"), choice.get("message")]), {})
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            if isinstance(delta.get(name), str):
                message[name] = message.get(name, "") + delta[name]
        for call in _dicts(delta.get("tool_calls")):
            function = next(_dicts([call.get("function")]), {})
            known = functions.setdefault(str(call.get("index")), {"name": function.get("name"), "arguments": ""})
            known["arguments"] += _text(function.get("arguments")) or ""
    if whole.get("error") and not finish:  # in the middle of an answer
        return {"error": whole["error"]}
    if functions:
        message["tool_calls"] = [{"function": function} for function in functions.values()]
    if message or finish:
        whole["choices"] = [{"message": message, "finish_reason": finish}]
    return whole or None


def _dicts(several: Any) -> Iterator[dict[str, Any]]:
    return (one for one in (several if isinstance(several, list) else ()) if isinstance(one, dict))


def _complaint(body: Mapping[str, Any]) -> tuple[str, int]:
    """What an answer without choices says, and the status that it should have had."""
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else {}
    for said in (inner.get("message"), error, body.get("detail"), body.get("message")):
        if isinstance(said, str) and said:
            said = said[:LARGEST_ERROR]
            code = inner.get("code", body.get("code"))
            status = int(code) if isinstance(code, int | str) and str(code).isdecimal() and len(str(code)) == 3 else 0
            meant = next((s for words, s in LASTING if words.search(said)), HTTPStatus.BAD_GATEWAY)
            return said, status if 400 <= status < 600 else meant
    return f"its answer has no choices: {_json(dict(body))[:200]}", HTTPStatus.BAD_GATEWAY


def _error(said: str, status: int) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"message": said, "type": None, "param": None, "code": None}}).encode()


# --- a message ---------------------------------------------------------------------------------------------------


def _message(choice: Mapping[str, Any]) -> dict[str, Any]:
    said = choice.get("message") or choice.get("delta")
    said = said if isinstance(said, Mapping) else {"content": choice.get("text")}
    calls = list(_dicts(said.get("tool_calls"))) or [{"function": said.get("function_call")}]
    functions = [f for call in calls for f in _dicts([call.get("function")])][:MOST_CALLS]
    content = _short(object_in(said.get("content")))
    thought = _text(said.get("reasoning_content")) or _text(said.get("reasoning"))
    if not content and not functions and thought and choice.get("finish_reason") != "length":
        content = _short(object_in(thought))  # where a server takes the whole answer for thinking
    message: dict[str, Any] = {"role": "assistant", "content": content}
    message["refusal"] = _short(_text(said.get("refusal"))) or None
    if thought:
        message["reasoning_content"] = _short(thought)
    if functions:
        message["tool_calls"] = [
            {
                "id": f"call_{k}",
                "type": "function",
                # some servers put the name of a namespace before it
                "function": {
                    "name": (_text(f.get("name")) or "").rpartition(".")[2][:LARGEST_NAME],
                    "arguments": _short(object_in(f.get("arguments"))) or "",
                },
            }
            for k, f in enumerate(functions)
        ]
    return message


def object_in(said: Any) -> str | None:
    """The text of an answer. Where it is a JSON object, as it is, encoded again or behind thoughts, of that object."""
    if isinstance(said, list):  # parts
        said = "".join(
            p if isinstance(p, str) else _text(p.get("text")) or "" for p in said if isinstance(p, str | dict)
        )
    found = said
    for _ in range(MOST_ENCODINGS):
        if isinstance(found, str):
            inner = _loaded(found)
            found = _loaded(found.rpartition("</think>")[2]) if inner is None else inner
    return _json(found) if isinstance(found, Mapping) else _text(said)


def _usage(said: Any) -> dict[str, Any] | None:
    """None unless it was counted."""
    said = said if isinstance(said, Mapping) else {}
    tokens_in, tokens_out = _count(said.get("prompt_tokens")), _count(said.get("completion_tokens"))
    if not tokens_in or tokens_out is None:
        return None
    details = {
        name: {k: n for k, v in said[name].items() if (n := _count(v)) is not None}
        for name in ("prompt_tokens_details", "completion_tokens_details")
        if isinstance(said.get(name), Mapping)
    }
    both = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return both | details


def _count(said: Any) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= MOST_TOKENS else None


def _text(said: Any) -> str | None:
    """Without halves of surrogate pairs, which cannot be sent or stored."""
    return said.encode("utf-8", "replace").decode() if isinstance(said, str) else None


def _short(said: str | None) -> str | None:
    return said and said[:LARGEST_TEXT]


def _json(value: Any) -> str:
    return _text(json.dumps(value, ensure_ascii=False)) or ""
