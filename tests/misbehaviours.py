"""What servers make of a right answer: each differs from OpenAI's protocol in one thing. `READ` can be understood all the same,
`UNUSABLE` holds no answer, `PASSING` may pass and `LASTING` may not. Collected from reports on public servers and proxies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from model_server import Fault, Reply

Completion = dict[str, Any]
MARKUP = "[/red] [bold] <script>alert(1)</script> \x1b[2J $HOME %s {task} :x:"
DEEP = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _text(completion: Completion, change: Callable[[str], Any]) -> Completion:
    """The answer's own text, wherever it stands, changed."""
    message = completion["choices"][0]["message"]
    calls = message.get("tool_calls")
    holder, key = (calls[0]["function"], "arguments") if calls else (message, "content")
    if holder[key]:
        holder[key] = change(holder[key])
    return completion


def _answer(completion: Completion, **changed: Any) -> Completion:
    """Fields of the answer changed, of those that it has."""

    def change(text: str) -> str:
        answer = json.loads(text)
        return json.dumps(answer | {k: v for k, v in changed.items() if k in answer})

    return _text(completion, change)


def _without(path: str) -> Callable[[Completion], Completion]:
    """'choices.0.index' left out, where it is."""
    *way, last = path.split(".")

    def change(completion: Completion) -> Completion:
        at: Any = completion
        for step in way:
            at = at[int(step)] if step.isdecimal() else at.get(step) or [{}]
        at.pop(last, None)
        return completion

    return change


def _message(**changed: Any) -> Callable[[Completion], Completion]:
    return lambda c: c | {"choices": [c["choices"][0] | {"message": c["choices"][0]["message"] | changed}]}


def _choice(**changed: Any) -> Callable[[Completion], Completion]:
    return lambda c: c | {"choices": [c["choices"][0] | changed]}


def _usage(**changed: Any) -> Callable[[Completion], Completion]:
    return lambda c: c | {"usage": c["usage"] | changed}


def _calls(**changed: Any) -> Callable[[Completion], Completion]:
    """Fields of the tool's call changed, if one is made; None leaves them out."""

    def change(completion: Completion) -> Completion:
        for call in completion["choices"][0]["message"].get("tool_calls") or ():
            call.update(changed)
            for name in (k for k, v in changed.items() if v is None):
                del call[name]
        return completion

    return change


def _stream(completion: Completion) -> bytes:
    choice = completion["choices"][0]
    message = choice["message"]
    text, pieces = message.get("content"), []
    if text:
        pieces = [{"content": text[:5]}, {"content": text[5:]}]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        for k, part in enumerate((function["arguments"][:5], function["arguments"][5:])):
            named = {"name": function["name"]} if k == 0 else {}
            pieces.append({"tool_calls": [{"index": 0, "function": {"arguments": part} | named}]})
    chunks = [completion | {"choices": [{"index": 0, "delta": delta}], "usage": None} for delta in pieces]
    chunks.append(completion | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"


def _stream_of_text(content: str, *then: Completion) -> bytes:
    chunks = ({"choices": [{"index": 0, "delta": {"content": content}}]}, *then)
    return b"".join(b"data: " + json.dumps(c, ensure_ascii=False).encode() + b"\n\n" for c in chunks)


def _said(completion: Completion) -> str:
    """The answer's own text, wherever it stands."""
    message = completion["choices"][0]["message"]
    return message["content"] or message["tool_calls"][0]["function"]["arguments"]


def _thoughtful(completion: Completion) -> Completion:
    message = completion["choices"][0]["message"]
    thought = message["content"] or json.dumps(message.get("tool_calls"))
    if message.get("tool_calls"):
        thought = message["tool_calls"][0]["function"]["arguments"]
    said = {"role": "assistant", "content": None, "reasoning_content": thought}
    return completion | {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}


READ: dict[str, Fault] = {
    name: Fault.changed(change)
    for name, change in {
        "an object in place of text": lambda c: _text(c, json.loads),
        "encoded twice": lambda c: _text(c, json.dumps),
        "encoded three times": lambda c: _text(c, lambda t: json.dumps(json.dumps(t))),
        "within another object": lambda c: _text(c, lambda t: json.dumps({"parameters": json.loads(t)})),
        "behind thoughts": lambda c: _text(c, lambda t: f"<think>\nhmm {{no}}\n</think>\n\n{t}"),
        "only in thoughts": _thoughtful,
        "thoughts beside it": _message(reasoning_content="let me see", reasoning=3),
        "in parts": lambda c: _text(c, lambda t: [{"type": "text", "text": t[:4]}, {"type": "text", "text": t[4:]}]),
        "long texts": lambda c: _answer(c, why="because " * 120, missing="because " * 120),
        "more steps than fit": lambda c: _answer(c, steps=["go to red " + "on " * 300] * 30),
        "a percentage": lambda c: _answer(c, probability="85 %", success_probability=85),
        "other capitals": lambda c: _answer(c, caption=' "Reach Red." ', judgement="STUCK"),
        "half a surrogate pair": lambda c: _answer(c, why="\ud83d", missing="\ud83d", task="reach red \ud83d"),
        "half a surrogate pair outside": lambda c: c | {"model": "\ud83d", "system_fingerprint": "\ud83d"},
        "markup": lambda c: _answer(c, why=MARKUP, missing=MARKUP, task=MARKUP, steps=[MARKUP]),
        "control characters": lambda c: _answer(c, why="a\x00b\x1b[31mc\u202e", steps=["lift \x00 red"]),
        "no index": _without("choices.0.index"),
        "no id": _without("id"),
        "id null": lambda c: c | {"id": None},
        "no object": _without("object"),
        "no created": _without("created"),
        "created with a fraction": lambda c: c | {"created": 1.5},
        "model null": lambda c: c | {"model": None},
        "no role": _without("choices.0.message.role"),
        "no finish": _without("choices.0.finish_reason"),
        "an unknown finish": _choice(finish_reason="eos_token"),
        "a finish that is a number": _choice(finish_reason=3),
        "an empty finish": _choice(finish_reason=""),
        "no usage": _without("usage"),
        "usage null": lambda c: c | {"usage": None},
        "usage zero": _usage(prompt_tokens=0, completion_tokens=0),
        "usage with fractions": _usage(prompt_tokens=10.5, completion_tokens=None),
        "usage beyond 64 bits": _usage(prompt_tokens=2**70, completion_tokens=2**70),
        "usage negative": _usage(prompt_tokens=-5, completion_tokens=-5),
        "usage a word": lambda c: c | {"usage": "much"},
        "fields of other types": lambda c: (
            c | {"service_tier": 3, "moderation": "no", "metadata": 7} | _choice(logprobs="x")(c)
        ),
        "more choices": lambda c: c | {"choices": [*c["choices"], 7, None]},
        "no type of the call": _calls(type=None),
        "call id null": _calls(id=None),
        "call id empty": _calls(id=""),
        "streamed": _stream,
        "streamed with signs that end a line of text": lambda c: _stream_of_text(
            _said(_answer(c, why="a\u2028b\x85c", missing="a\u2028b\x85c")).replace("\\u2028", "\u2028")
        ),
        "utf-16": lambda c: json.dumps(c).encode("utf-16"),
        "a byte order mark": lambda c: b"\xef\xbb\xbf" + json.dumps(c).encode(),
        "latin-1": lambda c: json.dumps(_answer(c, why="wei\u00df"), ensure_ascii=False).encode("latin-1"),
        "padded": lambda c: b"\n" * 50 + b" " * 5000 + json.dumps(c).encode(),
        "numbers of thousands of digits": lambda c: json.dumps(c)[:-1].encode() + b', "x": ' + b"9" * 5000 + b"}",
    }.items()
}
UNUSABLE: dict[str, Fault] = {
    "no choices": Fault.changed(lambda c: c | {"choices": []}),
    "message null": Fault.changed(_choice(message=None)),
    "not a number": Fault.changed(
        lambda c: _text(c, lambda t: t[:-1] + ', "probability": NaN, "caption": NaN, "steps": NaN, "task": 5}')
    ),
    "deep": Fault.changed(lambda c: _text(c, lambda t: "[" * 100_000)),
    "cut by max_tokens": Fault.reply(Reply("", finish_reason="length", as_text=True)),
    "not json": Fault.text("not json"),
    "another role's": Fault.text('{"colour": "red", "task": 5}'),
    "long": Fault.text("x" * 10_000),
    "longer than any answer": Fault.text("x" * 2_000_000),
    "empty": Fault.empty(),
    "refusal": Fault.refusal(),
}
PASSING: dict[str, Fault] = {
    **{f"status {n}": Fault.status(n) for n in (408, 409, 425, 429, 500, 502, 503, 504, 529)},
    **{
        f"retry after {after!r}": Fault("body", http=429, payload=b"{}", headers={"retry-after": after})
        for after in ("-5", "soon", "nan", "Wed, 21 Oct 2015 07:28:00 GMT")
    },
    **{
        name: Fault.changed(lambda c, body=body: body)
        for name, body in {
            "an error in 200": {"error": {"message": "overloaded, try later", "code": 529}},
            "an error as text": {"error": "model is loading"},
            "choices null": {"id": None, "choices": None, "error": {"message": "Provider returned error", "code": 502}},
            "detail": {"detail": "upstream failed"},
            "null": b"null",
            "a list": [],
            "nothing": b"",
            "half": b'{"choices": [{"mess',
            "deep": DEEP,
            "html": b"<html>busy</html>",
            "an error of thousands of words": {"detail": "model sk-" * 50_000},
            "an error in a stream": b'data: {"error": {"message": "out of memory", "code": 500}}\n\n',
        }.items()
    },
    "an error in the middle of a stream": Fault.changed(
        lambda c: _stream_of_text(_said(c)[:5], {"error": {"message": "out of memory", "code": 500}})
    ),
    "a header that is not ASCII": Fault(
        "body", http=503, payload=b"{}", headers={"retry-after": "caf\xe9", "x-request-id": "\xe9"}
    ),
    "an encoding that decodes nothing": Fault("body", payload=b"\xff{", content_type="text/html; charset=idna"),
    "an error in a choice": Fault.changed(
        lambda c: c | {"choices": [{"finish_reason": "error", "error": {"message": "upstream", "code": 502}}]}
    ),
    "dropped": Fault.drop(),
    "cut off": Fault.cut_body(),
    "not gzip": Fault("body", payload=b"{}", headers={"content-encoding": "gzip"}),
}
LASTING: dict[str, Fault] = {
    **{f"status {n}": Fault.status(n) for n in (400, 401, 402, 403, 404, 413, 418, 422)},
    "redirected elsewhere": Fault.redirect("http://elsewhere.invalid/v1/chat/completions"),
    "redirected as GET": Fault.redirect("/v1/chat/completions?moved", 302),
    "no credit": Fault.status(429, code="insufficient_quota"),
    "deep error": Fault("body", http=400, payload=DEEP),
    "a long error": Fault.status(400, message="sk-" * 100_000),
    "another server's": Fault.changed(lambda c: {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
    "markup": Fault.status(400, message=MARKUP),
    "half a surrogate pair": Fault.status(400, message="\ud83d"),
}
