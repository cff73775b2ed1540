"""One remote model: structured answers, bounded retries, errors that say what to do. Only this file imports pydantic-ai."""

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
from ludus.experimenter.answers import clean
from ludus.experimenter.ledger import Failed, Reply
from ludus.types import LudusError

REPAIRS = 2
"""Times that a model may mend an answer which does not fit its type."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Before the first retry, and at most; doubled each time, unless the server says how long."""
ADDRESS = re.compile(r"https?://")
SECRET = re.compile(r"https?://([^/?#]*@|[^#]*\?)")
"""An address with a user, a password or a query."""
GO_ON = "then `ludus resume RUN` goes on, or the same `ludus exam`"
LACK = re.compile(r"not support|unsupported|requires|exceed", re.IGNORECASE)
ADVICE = (
    (
        re.compile(r"context (length|size|window)|model length|max_model_len|too[ _](long|large)", re.IGNORECASE),
        "the question is too long for it; lower experimenter.exemplars, set experimenter.facts=false or "
        "experimenter.images=false, or take a model with a longer context",
    ),
    (
        re.compile(r"\bimages?\b|image_url|multi-?modal|mmproj", re.IGNORECASE),
        "{pictures} pictures were sent; lower experimenter.exemplars (0: only the question's own), set "
        "experimenter.images=false for a model without eyes, or let the server take more",
    ),
    (
        re.compile(r"\btools?\b|tool[_-]|response_format|json_?schema|grammar", re.IGNORECASE),
        "it takes no answer's type in this way; set experimenter.structure to native, tool or prompted",
    ),
    (re.compile(r"temperature", re.IGNORECASE), "set experimenter.temperature to what it takes"),
)
"""What servers complain of -> what to do. Local servers may say with status 500 what they `LACK`."""
TOKENS_PER_IMAGE = 800
"""A guess, for budgets."""


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
        self.name, self._config = name, config
        self._model = _model(name, config)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name=f"asks {self.name}", daemon=True).start()
        return loop

    def ask(self, model_input: ModelInput, answer: type[BaseModel]) -> Reply:
        """The model's answer as JSON that fits `answer`, or none after `REPAIRS` attempts to mend it.

        Raises:
            Failed: what no retry helps, or retries are used up; with what to do.
        """
        return self._wait(self._ask(model_input, answer))

    def _wait(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C must not leave a request behind
            future.cancel()
            raise

    async def _ask(self, model_input: ModelInput, answer: type[BaseModel]) -> Reply:
        from pydantic_ai import Agent, BinaryContent, UsageLimits
        from pydantic_ai.capabilities import Instrumentation
        from pydantic_ai.exceptions import AgentRunError, ModelAPIError, UnexpectedModelBehavior
        from pydantic_ai.usage import RunUsage

        agent: Any = Agent(
            self._model,
            output_type=_structured(answer, self._config.structure),
            instructions=model_input.instructions,
            retries=REPAIRS,
            capabilities=[Instrumentation()] if self._config.spans else (),
        )
        content = [
            BinaryContent(p, media_type=_media_type(p)) if isinstance(p, bytes) else p for p in model_input.parts
        ]
        settings = {
            "temperature": self._config.temperature,
            "max_tokens": self._config.max_tokens,
            "timeout": self._config.timeout_s,
            "request_timeout": self._config.timeout_s,
            "max_retries": 0,  # retries are counted here
        }
        usage, retries = RunUsage(), 0

        def reply(
            said: dict[str, Any] | None, error: str | None = None, unanswered: int = 0, refused: bool = False
        ) -> Reply:
            price = None if usage.unmeasured_requests else self._price(usage)
            if refused and not usage.requests and not retries:
                price = 0.0  # a refusal is free; an attempt before it that broke off may not be
            turns = max(1, usage.requests + unanswered)
            return Reply(said, error, turns, usage.input_tokens, usage.output_tokens, price, retries)

        while True:
            try:
                limits = UsageLimits(request_limit=None)
                result = await agent.run(content, usage=usage, model_settings=settings, usage_limits=limits)
                return reply(result.output.model_dump(mode="json"))
            except (ModelAPIError, UnexpectedModelBehavior) as error:
                if not _passes(error):
                    if isinstance(error, ModelAPIError):
                        raise Failed(
                            self._advice(error, model_input), reply(None, _short(error), 1, refused=True)
                        ) from None
                    return reply(None, _short(error))
                if retries >= self._config.retries:
                    raise Failed(self._tired(error, retries), reply(None, _short(error), 1)) from None
                pause = min(LONGEST_PAUSE_S, getattr(error, "retry_after", None) or FIRST_PAUSE_S * 2**retries)
                retries += 1
                await asyncio.sleep(pause)
            except AgentRunError as error:
                return reply(None, _short(error))

    def reach(self) -> None:
        """See that an OpenAI-compatible server is there and takes the key, by its list of models; nothing is asked. Of
        other providers the first question tells.

        Raises:
            LudusError: it is not there, or does not take the key; with what to do.
        """
        from openai import APIConnectionError, AsyncOpenAI, AuthenticationError, OpenAI, OpenAIError

        client, c = getattr(self._model, "client", None), self._config
        if type(client) is not AsyncOpenAI:  # its subclasses have addresses of their own
            return
        try:
            with OpenAI(
                api_key=client.api_key, base_url=client.base_url, timeout=c.timeout_s, max_retries=c.retries
            ) as server:
                server.models.list()
        except AuthenticationError as error:
            if "scope" not in str(error):  # a key may be for answers only
                raise LudusError(f"{self.name} refused: {_short(error)}; {self._advice_on_key()}") from None
        except APIConnectionError as error:
            why = _short(error.__cause__ or error)
            raise LudusError(f"{self.name} could not be reached: {why}; see that the server is up") from None
        except OpenAIError:
            return  # not every server lists its models

    def _advice_on_key(self) -> str:
        return f"{_key_of(self.name)} is missing, wrong or expired; set it"

    def _price(self, usage: Any) -> float | None:
        if self._config.price_in >= 0 and self._config.price_out >= 0:
            return self.cost(usage.input_tokens, usage.output_tokens)
        return None if usage.cost is None else float(usage.cost)

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost, USD; None where that is not known."""
        from genai_prices import Usage, calc_price

        c = self._config
        if c.price_in >= 0 and c.price_out >= 0:
            return (tokens_in * c.price_in + tokens_out * c.price_out) / 1e6
        if ADDRESS.match(self.name):
            return None
        provider, _, model = self.name.partition(":")
        usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        try:
            return float(calc_price(usage, model, provider_id=provider).total_price)
        except LookupError:
            return None

    def _tired(self, error: Exception, retries: int) -> str:
        return (
            f"{self.name} could not be reached or kept failing, {retries + 1} times: {_short(error)}; everything is kept: "
            f"see that the server is up, or raise experimenter.timeout_s; {GO_ON}"
        )

    def _advice(self, error: Exception, model_input: ModelInput) -> str:
        from pydantic_ai import exceptions as e

        if isinstance(error, e.ModelAuthenticationError):
            advice = self._advice_on_key()
        elif isinstance(error, e.ModelNotFoundError):
            advice = "no such model there, or a wrong address; name the right one in experimenter.ROLE=..."
        elif isinstance(error, e.ModelContextWindowExceededError):
            advice = ADVICE[0][1]
        elif isinstance(error, e.ModelQuotaExceededError):
            advice = "the account's quota or credit is used up; top it up"
        else:
            advice = _known(error) or "change what it complains of"
            advice = advice.format(pictures=sum(isinstance(p, bytes) for p in model_input.parts))
        return f"{self.name} refused: {_short(error)}; {advice}; {GO_ON}"


def _known(error: Exception) -> str | None:
    """What to do about a complaint that no retry helps, if it is one of `ADVICE`."""
    said, status = _short(error), getattr(error, "status_code", 0)
    if status not in (400, 413, 415, 422) and not (status in (500, 501) and LACK.search(said)):
        return None
    return next((advice for complaint, advice in ADVICE if complaint.search(said)), None)


def _passes(error: Exception) -> bool:
    """Whether the same request may well succeed a little later."""
    from pydantic_ai import exceptions as e

    if _known(error):
        return False
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

        if SECRET.match(name):  # whatever stands in a name is kept with the run
            raise LudusError(
                "leave user, password and query out of a server's address; its key comes from the environment variable "
                "OPENAI_API_KEY"
            )
        address, _, model = name.partition("#")
        key = os.environ.get("OPENAI_API_KEY", "none")  # local servers ask for none, the client insists on one
        return OpenAIChatModel(model or "default", provider=OpenAIProvider(base_url=address, api_key=key))
    try:
        return infer_model(name)
    except (UserError, ImportError, ValueError) as error:
        hint = ""
        if "Unknown model" in str(error):
            hint = "; a model is named provider:model, such as openai:..., or by a server's address, http://host:port/v1#model"
        raise LudusError(f"experimenter {name!r} cannot be used: {_short(error)}{hint}") from None


def _key_of(name: str) -> str:
    provider = "openai" if ADDRESS.match(name) else name.partition(":")[0]
    return f"the environment variable {provider.split('-')[0].upper()}_API_KEY"


def _short(error: BaseException) -> str:
    """One line without what must not be repeated: keys, and thousands of characters."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    status = getattr(error, "status_code", None)
    text = f"{said} ({status})" if said and status else str(getattr(error, "message", None) or error)
    text = clean(text)
    for name, value in os.environ.items():
        if len(value) >= 8 and name.endswith(("_KEY", "_TOKEN", "_SECRET")):
            text = text.replace(value, f"${name}")
    text = re.sub(r"\b(sk|key|Bearer)[-_ ](?=[\w*-]*[\d*])[\w*-]{6,}", r"\1-...", text)  # not 'key provided'
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
