"""The model server and the tiny model, seen by pydantic-ai through real sockets."""

import asyncio
import http.client
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import pytest
from json_schemas import LONGEST_STRING, bounded, sensible
from model_server import Fault, ModelServer, Reply, Request, sensible_answers
from openai import AsyncOpenAI, OpenAI
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_ai import Agent, BinaryContent, NativeOutput, PromptedOutput, ToolOutput, exceptions
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Step(BaseModel):
    skill: Literal["reach", "lift"]
    target: str = Field(max_length=12)
    code: str = Field("A-1", pattern=r"^[A-Z]-\d$", max_length=3)
    then: "list[Step]" = Field([], max_length=2)


class Plan(BaseModel):
    """Something of everything."""

    model_config = ConfigDict(extra="forbid")

    why: str
    steps: list[Step] = Field(min_length=1, max_length=3)
    confidence: float = Field(ge=0, le=1)
    attempts: int = Field(ge=1, lt=50)
    done: bool
    note: str | None = None
    weights: dict[str, float]
    pair: tuple[int, str]


MODES = {"native": NativeOutput, "tool": ToolOutput, "prompted": PromptedOutput}


def png(colour: str | tuple[int, int, int] = "red", size: tuple[int, int] = (48, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def agent(server: ModelServer, output=str, key: str = "k", **client) -> Agent:
    client = AsyncOpenAI(base_url=server.url, api_key=key, **{"max_retries": 0, "timeout": 120, **client})
    model = OpenAIChatModel("tiny", provider=OpenAIProvider(openai_client=client))
    return Agent(model, output_type=output, system_prompt="You watch a robot.", retries=1)


def ask(server: ModelServer, output=str, prompt="What is there?", **client):
    return agent(server, output, **client).run_sync(prompt).output


@pytest.fixture
def server():
    with ModelServer(sensible_answers) as server:
        yield server


def test_what_is_asked_arrives(server):
    pictures = (png(), png("blue", (1, 300)))
    prompt = ["Before:", *(BinaryContent(p, media_type="image/png") for p in pictures), "and after."]
    before = time.monotonic()
    run = agent(server).run_sync(prompt, model_settings={"temperature": 0.5, "seed": 3, "max_tokens": 99})
    assert run.output == "The red cube is beside the green cube."
    [request] = server.requests
    assert request.images == pictures
    assert request.messages == (("system", "You watch a robot."), ("user", "Before:\nand after."))
    assert (request.model, request.mode, request.schema) == ("tiny", "text", None)
    assert request.settings == {"temperature": 0.5, "seed": 3, "max_completion_tokens": 99}
    assert request.headers["authorization"] == "Bearer k" and before < request.time_s < time.monotonic()


@pytest.mark.parametrize("mode", MODES)
def test_structured_output(server, mode):
    plan = ask(server, MODES[mode](Plan))
    assert plan.steps[0].skill == "reach" and (plan.confidence, plan.attempts, plan.done) == (0.5, 25, True)
    [request] = server.requests
    assert request.mode == mode and set(request.schema["properties"]) == set(Plan.model_fields)
    assert request.tool == ("final_result" if mode == "tool" else None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_text", [False, True])
def test_an_answer_may_be_a_dict_or_its_text(mode, as_text):
    step = {"skill": "lift", "target": "red", "code": "B-2", "then": []}
    with ModelServer(lambda _: json.dumps(step) if as_text else step) as server:
        assert ask(server, MODES[mode](Step)).model_dump() == step


def test_usage_and_finish_reason():
    with ModelServer(lambda _: Reply("cut", usage=(1000, 7), finish_reason="length")) as server:
        run = agent(server).run_sync("?")
    assert (run.usage.input_tokens, run.usage.output_tokens) == (1000, 7)
    assert run.all_messages()[-1].finish_reason == "length"


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        (Fault.status(400), exceptions.ModelRequestRejectedError, 400),
        (Fault.status(400, code="context_length_exceeded"), exceptions.ModelContextWindowExceededError, 400),
        (Fault.status(401), exceptions.ModelAuthenticationError, 401),
        (Fault.status(404, code="model_not_found"), exceptions.ModelNotFoundError, 404),
        (Fault.status(429), exceptions.ModelRateLimitError, 429),
        (Fault.status(429, code="insufficient_quota"), exceptions.ModelQuotaExceededError, 429),
        (Fault.status(500), exceptions.ModelServerError, 500),
        (Fault.status(503), exceptions.ModelUnavailableError, 503),
        (Fault.body("<html>Bad gateway</html>", status=502), exceptions.ModelAPIError, 502),
    ],
)
def test_an_error_status(server, fault, error, status):
    server.faults.append(fault)
    with pytest.raises(error) as caught:
        ask(server)
    assert caught.value.status_code == status
    assert ask(server) and len(server.requests) == 2  # only once


def test_retry_after(server):
    server.faults.append(Fault.status(429, retry_after=1))
    with pytest.raises(exceptions.ModelHTTPError) as caught:
        ask(server)
    assert caught.value.headers["retry-after"] == "1"
    assert caught.value.body["type"] == "requests" and caught.value.body["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.drop(), exceptions.ModelConnectionError),
        (Fault.cut_body(), exceptions.ModelConnectionError),
        (Fault.hang(0.2), exceptions.ModelConnectionError),
        (Fault.hang(30), exceptions.ModelTimeoutError),
        (Fault.slow(30), exceptions.ModelTimeoutError),
        (Fault.malformed_json_body(), exceptions.ModelAPIError),
        (Fault.body("<html>Log in</html>"), exceptions.UnexpectedModelBehavior),
        (Fault.refusal(), exceptions.ContentFilterError),
    ],
    ids=lambda x: f"{x.kind}-{x.seconds:g}" if isinstance(x, Fault) else x.__name__,
)
def test_no_answer(server, fault, error):
    server.faults.append(fault)
    waits = fault.seconds > 1
    with pytest.raises(error) as caught:
        ask(server, timeout=0.5 if waits else 120)
    assert isinstance(caught.value, exceptions.ModelTimeoutError) == waits  # which is a connection error too
    assert ask(server)


@pytest.mark.parametrize("mode", MODES)
def test_a_refusal_is_not_asked_again(server, mode):
    server.faults.append(Fault.refusal("No."))
    with pytest.raises(exceptions.ContentFilterError, match="No"):
        ask(server, MODES[mode](Step))
    assert len(server.requests) == 1


def test_a_dripping_answer_outlasts_the_timeout_between_two_reads(server):
    server.faults.append(Fault.slow(1.0, drip=True))
    start = time.monotonic()
    assert ask(server, timeout=0.5)
    assert time.monotonic() - start > 0.9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [Fault.text('{"skill": "fly"}'), Fault.text("I'd rather not."), Fault.empty()])
def test_a_wrong_answer_is_asked_for_again(server, mode, fault):
    server.faults.append(fault)
    assert ask(server, MODES[mode](Step)).skill == "reach"
    assert len(server.requests) == 2 and len(server.requests[1].messages) > len(server.requests[0].messages)
    server.faults.extend([fault] * 2)
    with pytest.raises(exceptions.UnexpectedModelBehavior):
        ask(server, MODES[mode](Step))


def test_faults_are_of_the_next_calls(server):
    server.faults.extend([Fault.nothing(), Fault.status(500), Fault.drop()])
    assert ask(server, max_retries=0)
    assert ask(server, max_retries=2)  # the client's own
    assert len(server.requests) == 4


def test_key_and_models():
    with ModelServer(sensible_answers, key="secret", models=["tiny"]) as server:
        assert ask(server, key="secret")
        with pytest.raises(exceptions.ModelAuthenticationError):
            ask(server, key="wrong")
        client = OpenAI(base_url=server.url, api_key="secret", max_retries=0)
        assert [m.id for m in client.models.list()] == ["tiny"]
        with pytest.raises(Exception, match="does not exist"):
            client.chat.completions.create(model="huge", messages=[{"role": "user", "content": "?"}])


def test_calls_do_not_wait_for_each_other():
    together = threading.Barrier(12, timeout=100)  # nobody is answered before all have asked

    def answer(request: Request) -> str:
        together.wait()
        return request.messages[-1][1]

    async def many() -> list[str]:
        asked = agent(server)
        return [run.output for run in await asyncio.gather(*(asked.run(f"{k}") for k in range(12)))]

    with ModelServer(answer) as server:
        assert asyncio.run(many()) == [str(k) for k in range(12)]
    assert len(server.requests) == 12


def test_what_is_no_request_is_refused(server):
    def post(**body) -> tuple[int, str]:
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": []} | body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())["error"]["message"]

    def picture(url: str) -> list:
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    connection = http.client.HTTPConnection(server.url.split("/")[2])
    for wrong in (
        {"messages": None},
        {"stream": True},
        {"messages": picture("https://example.org/a.png")},
        {"messages": picture("data:image/png;base64,iVBORw==")},
        {"messages": picture("data:image/png;base64,???")},
    ):
        assert post(**wrong)[0] == 400, wrong
    connection.close()
    assert not server.requests


def test_an_answer_that_fails_is_not_silent():
    with pytest.raises(ZeroDivisionError), ModelServer(lambda _: str(1 // 0)) as server:  # noqa: SIM117
        with pytest.raises(exceptions.ModelServerError):
            ask(server)


def test_nothing_outlives_the_server():
    with ModelServer(sensible_answers) as server:
        server.faults.append(Fault.hang(10_000))
        with pytest.raises(exceptions.ModelTimeoutError):
            ask(server, timeout=0.2)
        assert ask(server)
    with pytest.raises(exceptions.ModelConnectionError):
        ask(server)


class Choice(BaseModel):
    options: Literal["a", "b"] | list[Literal[1, 2]]
    small: float = Field(gt=0, lt=1e-3)
    even: int = Field(multiple_of=2, ge=3)
    long: str = Field(min_length=60)
    shares: dict[Literal["x", "y"], int]


@pytest.mark.parametrize("kind", [Plan, Step, Choice, list[Plan], int, Literal["up", "down"]])
def test_sensible_answers_are_valid(kind):
    adapter = TypeAdapter(kind)
    adapter.validate_json(json.dumps(sensible(adapter.json_schema())), strict=False)


def test_bounded():
    def words(part) -> list:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return [part] * (isinstance(part, dict) and part.get("type") == "string") + [w for p in inner for w in words(p)]

    b = bounded(Plan.model_json_schema())
    assert "$ref" not in json.dumps(b) and max(w["maxLength"] for w in words(b)) == LONGEST_STRING
    assert (
        bounded({"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}}})
        is None
    )
    with pytest.raises(LookupError, match="email"):
        bounded({"type": "string", "format": "email"})


@pytest.fixture(scope="module")
def tiny():
    pytest.importorskip("transformers")
    pytest.importorskip("llguidance")
    import tiny_vlm

    return tiny_vlm.TinyVLM


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(seed=0)


def answers(model, output=Plan, pictures=(), prompt="What is there?", settings=None):
    parts = [prompt, *(BinaryContent(p, media_type="image/png") for p in pictures)]
    with ModelServer(model.answer) as server:
        return agent(server, output).run_sync(parts, model_settings=settings).output


@pytest.mark.parametrize("mode", MODES)
def test_tiny_keeps_to_the_schema(model, mode):
    for k in range(5):
        assert answers(model, MODES[mode](Plan), [png()], f"Episode {k}").steps


def test_tiny_every_kind_of_schema(model):
    for seed in range(5):
        settings = {"seed": seed}
        assert answers(model, NativeOutput(Choice), settings=settings).even % 2 == 0
        assert answers(model, str, settings=settings)


def test_tiny_depends_on_seed_pictures_and_text(tiny, model):
    red, green, blue = png("red"), png("green"), png("blue")
    said = [
        answers(model, NativeOutput(Plan), pictures, prompt, {"seed": seed})
        for pictures, prompt, seed in [
            ([red], "?", 0), ([green], "?", 0), ([red, green], "?", 0), ([red, blue], "?", 0), ([], "?", 0),
            ([red], "!", 0), ([red], "?", 1),
        ]
    ]  # fmt: skip
    said.append(answers(tiny(seed=1), NativeOutput(Plan), [red], "?", {"seed": 0}))
    assert len({plan.model_dump_json() for plan in said}) == len(said)
    assert answers(tiny(seed=0), NativeOutput(Plan), [red], "?", {"seed": 0}) == said[0]


def test_tiny_a_long_answer_is_brought_to_an_end(model, monkeypatch):
    import tiny_vlm

    monkeypatch.setattr(tiny_vlm, "MOST_TOKENS", 0)
    plan = answers(model, NativeOutput(Plan))
    assert len(plan.steps) == 1 and not plan.steps[0].then and len(plan.why) < 3


def test_tiny_many_pictures_and_a_long_text(model):
    assert answers(model, NativeOutput(Step), [png()] * 12, "word " * 20000)
    assert answers(model, NativeOutput(Step), [png()], "<picture> <end>")


@pytest.mark.slow
def test_tiny_says_the_same_in_another_process(model):
    code = (
        "from test_model_server import *; from tiny_vlm import TinyVLM;"
        "print(answers(TinyVLM(0), NativeOutput(Plan), [png()]).model_dump_json())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == answers(model, NativeOutput(Plan), [png()]).model_dump_json()
