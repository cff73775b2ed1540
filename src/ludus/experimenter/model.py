"""One remote model: structured answers, bounded retries, errors that say what to do. Only this file, `advice` and `wire` import
pydantic-ai and what it sends with."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

from ludus.config import ExperimenterConfig
from ludus.experimenter import advice
from ludus.experimenter.addresses import address_of, is_local, modalities
from ludus.experimenter.advice import short
from ludus.experimenter.ledger import Failed, Reply
from ludus.types import LudusError

Answer = TypeVar("Answer")

REPAIRS = 2
"""Times that a model may mend an answer which does not fit its type."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Before the first retry, and at most; doubled each time, unless the server says how long."""
TOKENS_PER_IMAGE = 800
"""A guess, for budgets."""
ONE_SYSTEM_MESSAGE = {
    "openai_chat_supports_multiple_system_messages": False,
    "supports_inline_system_prompts": False,
    "native_output_requires_schema_in_instructions": True,
}
"""Of servers' addresses: the chat templates of many open models refuse a second system message; and a server may ignore the
type that is asked for, or constrain the answer by it without showing it to the model."""
SEES = ("image", "images", "vision", "video", "multimodal")
"""Names of input modalities, or of llama.cpp's capabilities, of a model with eyes."""


@dataclass(frozen=True)
class ModelInput:
    """What is sent: instructions, then text and pictures (PNG or JPEG) in order."""

    instructions: str
    parts: tuple[str | bytes, ...]

    @property
    def tokens(self) -> int:
        """About how many."""
        letters = len(self.instructions) + sum(len(p) for p in self.parts if isinstance(p, str))
        return letters // 4 + TOKENS_PER_IMAGE * sum(isinstance(p, bytes) for p in self.parts)


class Model:
    """Thread-safe: calls of several threads run at the same time.

    Args:
        name: 'provider:model', or the address of an OpenAI-compatible server, with '#model' where it serves several.

    Raises:
        LudusError: a name that names nothing, a key that is missing, a provider whose package is not installed.
    """

    def __init__(self, name: str, config: ExperimenterConfig) -> None:
        self.name, self._config, self._address = name, config, address_of(name)
        self._model = _model(name, self._address, config)

    @property
    def structure(self) -> str:
        """How an answer is made to fit its type: 'native', 'tool' or 'prompted'."""
        if self._config.structure != "auto":
            return self._config.structure
        return "native" if self._address else self._usual_structure

    @property
    def _usual_structure(self) -> str:
        return self._model.profile.get("default_structured_output_mode", "tool")

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name=f"asks {self.name}", daemon=True).start()
        return loop

    def ask(self, model_input: ModelInput, answer: type[BaseModel]) -> Reply:
        """The model's answer as JSON that fits `answer`, or none after `REPAIRS` attempts to mend it, or none because of
        anything else that came.

        Raises:
            Failed: what no retry helps, or retries are used up; with what to do.
        """
        return self._wait(self._ask(model_input, answer))

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C must not leave a request behind
            future.cancel()
            raise

    async def _ask(self, model_input: ModelInput, answer: type[BaseModel]) -> Reply:
        from pydantic_ai import UsageLimits, capture_run_messages
        from pydantic_ai.exceptions import ModelAPIError
        from pydantic_ai.usage import RunUsage

        content, settings = self._sent(model_input)
        usage, retries, lost = RunUsage(), 0, 0

        def reply(said: dict[str, Any] | None, error: str | None = None, sent: int = 0, free: bool = False) -> Reply:
            counted = self._counted(usage, self.tokens_in(model_input, answer), lost)
            if free and not usage.requests and not retries:
                counted["usd"] = 0.0  # a refusal is free; an attempt before it that broke off may not be
            return Reply(said, error, max(1, usage.requests + sent), retries=retries, **counted)

        while True:
            model, limits = self._model, UsageLimits(request_limit=None)
            agent = self._agent(model, model_input.instructions, answer)
            messages: list[Any] = []
            try:
                with capture_run_messages() as messages:
                    result = await agent.run(content, usage=usage, model_settings=settings, usage_limits=limits)
            except Exception as error:
                if advice.LIMIT.search(short(error)) and self._rename_limit(model):
                    retries += 1
                elif advice.passes(error):
                    lost += advice.may_be_paid(error)
                    if retries >= self._config.retries:
                        raise Failed(advice.tired(self.name, error, retries), reply(None, short(error), 1)) from None
                    wanted = getattr(error, "retry_after", None)
                    pause = min(LONGEST_PAUSE_S, wanted or FIRST_PAUSE_S * 2**retries)
                    retries += 1
                    await asyncio.sleep(pause)
                elif isinstance(error, ModelAPIError):
                    pictures = sum(isinstance(p, bytes) for p in model_input.parts)
                    said = advice.refused(self.name, error, pictures)
                    raise Failed(said, reply(None, short(error), 1, free=True)) from None
                else:
                    return reply(None, advice.unusable(error, messages, self._config.max_tokens, self.structure))
            else:
                return reply(result.output.model_dump(mode="json"))

    def _agent(self, model: Any, instructions: str, answer: type[BaseModel]) -> Any:
        from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
        from pydantic_ai.capabilities import Instrumentation

        kinds = {"native": NativeOutput, "tool": ToolOutput, "prompted": PromptedOutput}
        # the plain type, too, is asked for in the usual way, and then text is read as well
        usual = self.structure == self._usual_structure
        return Agent(
            model,
            output_type=answer if usual else kinds[self.structure](answer),
            instructions=instructions,
            retries=REPAIRS,
            capabilities=[Instrumentation()] if self._config.spans else (),
        )

    def _sent(self, model_input: ModelInput) -> tuple[list[Any], dict[str, Any]]:
        """Content and settings of a request."""
        from pydantic_ai import BinaryContent

        content = [
            BinaryContent(p, media_type=_media_type(p)) if isinstance(p, bytes) else p for p in model_input.parts
        ]
        return content, {
            "temperature": self._config.temperature,
            "max_tokens": self._config.max_tokens,
            "timeout": self._config.timeout_s,
            "request_timeout": self._config.timeout_s,
            "max_retries": 0,  # retries are counted here
            "framing_announcement": "never",
        }

    def _rename_limit(self, model: Any) -> bool:
        """From now on `max_completion_tokens` is sent by its older name. False if that has been tried with this model."""
        name = "openai_chat_supports_max_completion_tokens"
        if self._address is None or not model.profile.get(name, True):
            return False
        self._model = _at_address(self.name, self._address, self._config, **{name: False})
        return True

    def reach(self, with_pictures: bool = False) -> None:
        """See that an OpenAI-compatible server is there and takes the key, by its list of models, in `timeout_s` at most;
        nothing is asked. Of other providers the first question tells.

        Args:
            with_pictures: whether it will be shown pictures.

        Raises:
            LudusError: it is not there, does not take the key, or says that it has no eyes; with what to do.
        """
        from openai import APIStatusError, AsyncOpenAI, AuthenticationError

        client, c = getattr(self._model, "client", None), self._config
        if type(client) is not AsyncOpenAI:  # its subclasses have addresses of their own
            return

        async def listed() -> Any:
            patient = client.with_options(timeout=c.timeout_s, max_retries=c.retries)
            response = await asyncio.wait_for(patient.models.with_raw_response.list(), c.timeout_s)
            try:
                return json.loads(response.http_response.content)
            except (ValueError, RecursionError):
                return None

        try:
            found = self._wait(listed())
        except AuthenticationError as error:
            if "scope" not in str(error):  # a key may be for answers only
                raise LudusError(f"{self.name} refused: {short(error)}; {advice.on_key(self.name)}") from None
        except APIStatusError:
            return  # not every server lists its models
        except Exception as error:
            why = short(error) if str(error) else f"no list of its models in experimenter.timeout_s={c.timeout_s:g}"
            mend = advice.on_way(self.name, error) or "see that the server is up and its model loaded"
            where = "" if self._address in (None, self.name) else f" at {client.base_url}"
            raise LudusError(f"{self.name} could not be reached{where}: {why}; {mend}") from None
        else:
            field, takes = modalities(found, self._model.model_name)
            if with_pictures and takes and not set(SEES) & set(takes):
                raise LudusError(
                    f"{self.name} takes no pictures, it lists {field}: {', '.join(takes)}; set "
                    "experimenter.images=false, or name a model with eyes"
                )

    def tokens_in(self, model_input: ModelInput, answer: type[BaseModel]) -> int:
        """About how many tokens a question takes, its answer's type included."""
        return model_input.tokens + len(json.dumps(answer.model_json_schema())) // 4

    def _counted(self, usage: Any, tokens_in: int, lost: int) -> dict[str, Any]:
        """What an exchange used. Of requests whose use was not reported, what is reserved for them, as of those whose answers
        were lost on the way."""
        unmeasured = usage.unmeasured_requests + lost
        tokens_in = usage.input_tokens + unmeasured * tokens_in
        tokens_out = usage.output_tokens + unmeasured * self._config.max_tokens
        if unmeasured or self._has_price or is_local(self._address or ""):
            usd = self.cost(tokens_in, tokens_out)
        else:
            usd = None if usage.cost is None else float(usage.cost)
        return {"tokens_in": tokens_in, "tokens_out": tokens_out, "usd": usd}

    @property
    def _has_price(self) -> bool:
        return self._config.price_in >= 0 and self._config.price_out >= 0

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost, USD, nothing at a local address; None where that is not known."""
        from genai_prices import Usage, calc_price

        c = self._config
        if self._has_price:
            return (tokens_in * c.price_in + tokens_out * c.price_out) / 1e6
        if self._address:
            return 0.0 if is_local(self._address) else None
        provider, _, model = self.name.partition(":")
        usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        try:
            return float(calc_price(usage, model, provider_id=provider).total_price)
        except LookupError:
            return None


def _media_type(picture: bytes) -> str:
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "image/png"


def _model(name: str, address: str | None, config: ExperimenterConfig) -> Any:
    try:
        from pydantic_ai.models import infer_model
    except ImportError as error:
        raise LudusError(f"models need pydantic-ai ({error}); pip install ludus") from None
    variable = advice.variable_of(name)
    key = os.environ.get(variable, "")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise LudusError(
            f"the key in {advice.key_of(name)} has characters that no key has, such as curly quotes or line ends; set it again"
        )
    try:
        return _at_address(name, address, config) if address else infer_model(name)
    except Exception as error:
        hint = advice.on_surroundings(error)
        if hint is None and "Unknown model" in str(error):
            hint = "a model is named provider:model, such as openai:..., or by a server's address, http://host:port/v1#model"
        said = short(error) + (f"; {hint}" if hint else "")
        raise LudusError(f"experimenter {name!r} cannot be used: {said}") from None


def _at_address(name: str, address: str, config: ExperimenterConfig, **profile: bool) -> Any:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from ludus.experimenter.wire import Client

    base, _, model = address.partition("#")
    # local servers ask for no key, the client insists on one
    key = os.environ.get(advice.variable_of(name)) or "none"
    # What leads to other machines does not concern this one: proxies, certificates.
    client = Client(timeout=config.timeout_s, trust_env=not is_local(address) or address.startswith("https"))
    provider = OpenAIProvider(base_url=base, api_key=key, http_client=client)
    told: Any = {**ONE_SYSTEM_MESSAGE, **profile}
    return OpenAIChatModel(model or "default", provider=provider, profile=told)


def parts_of(texts: Sequence[str | bytes]) -> tuple[str | bytes, ...]:
    """Adjacent texts joined."""
    joined: list[str | bytes] = []
    for part in texts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] = f"{joined[-1]}\n\n{part}"
        else:
            joined.append(part)
    return tuple(joined)
