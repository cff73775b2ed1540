"""One model behind a wire: structured answers, bounded retries, errors that say what to do. Only this file knows
pydantic-ai."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from ludus.config import ExperimenterConfig
from ludus.experimenter.ledger import Failed, Reply
from ludus.types import LudusError

REPAIRS = 2
"""Times that a model may mend an answer which does not fit its type."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Before the first retry, and at most; doubled each time, unless the server says how long."""
ADDRESS = re.compile(r"https?://")
TOKENS_PER_IMAGE = 800
"""A guess, for budgets."""


@dataclass(frozen=True)
class Asking:
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
        self.name, self._config = name, config
        self._model = _model(name, config)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name=f"asks {self.name}", daemon=True).start()
        return loop

    def ask(self, asking: Asking, answer: type[BaseModel]) -> Reply:
        """The model's answer as JSON that fits `answer`, or none after `REPAIRS` attempts to mend it.

        Raises:
            Failed: what no retry helps, or retries are used up; with what to do.
        """
        return self._wait(self._ask(asking, answer))

    def _wait(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C must not leave a request behind
            future.cancel()
            raise

    async def _ask(self, asking: Asking, answer: type[BaseModel]) -> Reply:
        from pydantic_ai import Agent, BinaryContent, UsageLimits
        from pydantic_ai.capabilities import Instrumentation
        from pydantic_ai.exceptions import AgentRunError, ModelAPIError, UnexpectedModelBehavior
        from pydantic_ai.usage import RunUsage

        agent: Any = Agent(
            self._model,
            output_type=_structured(answer, self._config.structure),
            instructions=asking.instructions,
            retries=REPAIRS,
            capabilities=[Instrumentation()] if self._config.spans else (),
        )
        content = [BinaryContent(p, media_type=_media_type(p)) if isinstance(p, bytes) else p for p in asking.parts]
        settings = {
            "temperature": self._config.temperature,
            "max_tokens": self._config.max_tokens,
            "timeout": self._config.timeout_s,
            "request_timeout": self._config.timeout_s,
            "max_retries": 0,  # retries are counted here
        }
        usage, retries = RunUsage(), 0

        def reply(said: dict[str, Any] | None, error: str | None = None) -> Reply:
            price = None if usage.unmeasured_requests else self._price(usage)
            return Reply(said, error, max(1, usage.requests), usage.input_tokens, usage.output_tokens, price, retries)

        while True:
            try:
                limits = UsageLimits(request_limit=None)
                result = await agent.run(content, usage=usage, model_settings=settings, usage_limits=limits)
                return reply(result.output.model_dump(mode="json"))
            except (ModelAPIError, UnexpectedModelBehavior) as error:
                if not _passes(error):
                    if isinstance(error, ModelAPIError):
                        raise Failed(self._advice(error), reply(None, _short(error))) from None
                    return reply(None, _short(error))
                if retries >= self._config.retries:
                    raise Failed(self._tired(error, retries), reply(None, _short(error))) from None
                pause = min(LONGEST_PAUSE_S, getattr(error, "retry_after", None) or FIRST_PAUSE_S * 2**retries)
                retries += 1
                await asyncio.sleep(pause)
            except AgentRunError as error:
                return reply(None, _short(error))

    def _price(self, usage: Any) -> float | None:
        c = self._config
        if c.price_in >= 0 and c.price_out >= 0:
            return (usage.input_tokens * c.price_in + usage.output_tokens * c.price_out) / 1e6
        return None if usage.cost is None else float(usage.cost)

    @cached_property
    def priced(self) -> bool:
        """Whether it is known what a call costs."""
        from genai_prices import Usage, calc_price

        if self._config.price_in >= 0 and self._config.price_out >= 0:
            return True
        if ADDRESS.match(self.name):
            return False
        provider, _, model = self.name.partition(":")
        try:
            calc_price(Usage(input_tokens=1000, output_tokens=100), model, provider_id=provider)
        except LookupError:
            return False
        return True

    def _tired(self, error: Exception, retries: int) -> str:
        return (
            f"{self.name} could not be reached or kept failing, {retries + 1} times: {_short(error)}; everything is kept: "
            "see that the server is up, or raise experimenter.timeout_s, then `ludus resume`"
        )

    def _advice(self, error: Exception) -> str:
        from pydantic_ai import exceptions as e

        advice = "change what it complains of, then `ludus resume`"
        if isinstance(error, e.ModelAuthenticationError):
            advice = f"{_key_of(self.name)} is missing, wrong or expired; set it, then `ludus resume`"
        elif isinstance(error, e.ModelNotFoundError):
            advice = (
                "no such model there, or a wrong address; `ludus resume RUN experimenter.ROLE=...` goes on with another"
            )
        elif isinstance(error, e.ModelContextWindowExceededError):
            advice = (
                "the question is too long for it; lower experimenter.exemplars, set experimenter.facts=false or "
                "experimenter.images=false, or take a model with a longer context"
            )
        elif isinstance(error, e.ModelQuotaExceededError):
            advice = "the account's quota or credit is used up; top it up, then `ludus resume`"
        return f"{self.name} refused: {_short(error)}; {advice}"


def _passes(error: Exception) -> bool:
    """Whether the same request may well succeed a little later."""
    from pydantic_ai import exceptions as e

    temporary = (
        e.ModelRateLimitError, e.ModelUnavailableError, e.ModelServerError, e.ModelConnectionError, e.ModelRequestTimeout
    )  # fmt: skip
    if isinstance(error, temporary) or getattr(error, "status_code", 0) >= 500:
        return True
    # what is no message of the protocol at all was cut off or garbled on the way, or came from a proxy
    return type(error) is e.ModelAPIError or "Invalid response from" in str(error)


def _media_type(picture: bytes) -> str:
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "image/png"


def _structured(answer: type[BaseModel], structure: str) -> Any:
    from pydantic_ai import NativeOutput, PromptedOutput, ToolOutput

    kinds = {"native": NativeOutput, "tool": ToolOutput, "prompted": PromptedOutput}
    return kinds[structure](answer) if structure in kinds else answer


def _model(name: str, config: ExperimenterConfig) -> Any:
    try:
        from pydantic_ai.exceptions import UserError
        from pydantic_ai.models import infer_model
    except ImportError as error:
        raise LudusError(f"models need pydantic-ai ({error}); pip install ludus") from None
    if ADDRESS.match(name):
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        address, _, model = name.partition("#")
        key = os.environ.get("OPENAI_API_KEY", "none")  # local servers ask for none, the client insists on one
        return OpenAIChatModel(model or "default", provider=OpenAIProvider(base_url=address, api_key=key))
    try:
        return infer_model(name)
    except (UserError, ImportError, ValueError) as error:
        raise LudusError(f"experimenter {name!r} cannot be used: {_short(error)}") from None


def _key_of(name: str) -> str:
    provider = "openai" if ADDRESS.match(name) else name.partition(":")[0]
    return f"the environment variable {provider.split('-')[0].upper()}_API_KEY"


def _short(error: Exception) -> str:
    """One line without what must not be repeated: keys, and thousands of characters."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    status = getattr(error, "status_code", None)
    text = f"{said} ({status})" if said and status else str(getattr(error, "message", None) or error)
    text = " ".join(text.split())
    for name, value in os.environ.items():
        if len(value) >= 8 and name.endswith(("_KEY", "_TOKEN", "_SECRET")):
            text = text.replace(value, f"${name}")
    text = re.sub(r"\b(sk|key|Bearer)[-_ ][A-Za-z0-9_*-]{6,}", r"\1-...", text)
    return text if len(text) <= 300 else text[:300] + "…"


def parts_of(texts: Sequence[str | bytes]) -> tuple[str | bytes, ...]:
    """Adjacent texts joined."""
    joined: list[str | bytes] = []
    for part in texts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] = f"{joined[-1]}\n\n{part}"
        else:
            joined.append(part)
    return tuple(joined)
