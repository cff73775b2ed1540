"""Every call to a model or a person goes through the ledger: it is stored, counted against the budget, and answered from a
recording where there is one. A question that was answered once is never asked again, so a step that a crash cut short costs
nothing when it is run again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ludus.config import BudgetConfig
from ludus.experimenter.roles import NoAnswer
from ludus.types import LudusError

MAX_FAILURES = 20
"""Questions in a row without a usable answer after which a run stops."""
WITHDRAWN = "the run was told to stop, and waits for nobody any more"
"""What is written in place of an answer that nobody waited for."""
GO_ON = "then `ludus resume RUN` goes on, or the same `ludus exam`"


@dataclass(frozen=True)
class Request:
    """A call to be made, named within the run by `key` and `sample`."""

    key: str
    sample: int
    role: str
    prompt: str
    """Name and version of the prompt, 'propose 1'."""
    request: str
    """Hash of all that is sent but the pictures."""
    images: tuple[str, ...]
    """Hashes of the pictures."""
    model: str
    tokens: int = 0
    """About how many it will use at most, in and out; for the budget."""
    cost: float = 0.0
    """What these cost, USD."""


@dataclass(frozen=True)
class Reply:
    """The answer to a call and what the call used. `answer` is None where there was no usable one; `error` says why."""

    answer: Mapping[str, Any] | None
    error: str | None = None
    turns: int = 1
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None
    retries: int = 0


class Calls(Protocol):
    """Stores calls: a record."""

    def add_call(self, row: Mapping[str, Any]) -> None: ...
    def calls(self) -> list[dict[str, Any]]: ...


class NullCalls:
    """Stores nothing."""

    def add_call(self, row: Mapping[str, Any]) -> None: ...
    def calls(self) -> list[dict[str, Any]]:
        return []


class CannotAsk(LudusError):
    """The question was not asked, and further questions cannot be asked either."""


class Withdrawn(CannotAsk):
    """The question was taken back: what it was asked for does not come."""


class Failed(CannotAsk):
    """A call failed, and a retry would too. `reply` is what it used."""

    def __init__(self, message: str, reply: Reply) -> None:
        super().__init__(message)
        self.reply = reply


class Ledger:
    """Thread-safe.

    Args:
        calls: where this run's calls are kept.
        budget: its limits.
        recording: calls of another run, which answer instead of a model.
        strict: whether a question that is not in the recording is an error; else the model is asked.
        max_concurrency: calls under way at the same time; the others wait for their turn.
    """

    def __init__(
        self,
        calls: Calls,
        budget: BudgetConfig | None = None,
        recording: Sequence[Mapping[str, Any]] = (),
        strict: bool = False,
        max_concurrency: int = 16,
    ) -> None:
        self._calls, self._budget, self._strict = calls, budget or BudgetConfig(), strict
        self._recorded = {_answer_key(r): r for r in recording if r["attempt"] == 0}
        self._stale = {key[:2]: row for key, row in self._recorded.items()}
        self._known: dict[tuple[str, int, str], Mapping[str, Any]] = {}
        self._attempts: dict[tuple[str, int], int] = {}
        self._spent = {"calls": 0, "tokens": 0, "usd": 0.0, "minutes": 0.0}
        self._reserved = {"calls": 0, "tokens": 0, "usd": 0.0}
        self._failures, self._last_error = 0, ""
        self._closed = False
        self._lock = threading.Lock()
        self._free = threading.Semaphore(max(1, max_concurrency))
        self._answered = threading.Condition(self._lock)
        for row in calls.calls():
            self._count(row)
        self._failures = 0  # a resumed run may have another model or other settings

    @property
    def spent(self) -> Mapping[str, float]:
        """Calls, tokens, known USD and minutes of waiting so far; without what recordings answered."""
        return dict(self._spent)

    def check_price(self, model: str, known: bool) -> None:
        """Raises: LudusError: the budget limits USD, and the price of the model is not known."""
        if self._budget.usd and not known:
            raise LudusError(
                f"budget.usd={self._budget.usd:g}, but the price of {model} is not known: set experimenter.price_in and "
                "experimenter.price_out (USD per million tokens), or limit budget.tokens instead"
            )

    def close(self, timeout_s: float) -> None:
        """Refuse further questions, and wait at most so long for answers under way, which are paid for."""
        with self._answered:
            self._closed = True
            self._answered.wait_for(lambda: not self._reserved["calls"], timeout_s)

    def ask(self, request: Request, send: Callable[[], Reply]) -> Mapping[str, Any]:
        """The answer: this run's own, if it has been given; else the recording's; else what `send` gets.

        Raises:
            NoAnswer: the model gave none that can be used.
            Failed: of `send`; written down first.
            CannotAsk: the budget is used up; a recording that is stale or lacks this question; no usable answer
                `MAX_FAILURES` times in a row; the ledger is closed.
        """
        with self._lock:
            row = self._known.get((request.key, request.sample, request.request))
        if row is None:
            recorded = self._replay(request)
            if recorded:
                row = self._keep(request, *recorded, replayed=True)
            else:
                with self._free:
                    row = self._call(request, send)
        if row["answer"] is None:
            raise NoAnswer(f"no usable answer of {row['model']} to {request.key!r}: {row['error']}")
        return row["answer"]

    def _replay(self, request: Request) -> tuple[Reply, float] | None:
        row = self._recorded.get((request.key, request.sample, request.request))
        if row is not None:
            fields = {k: row[k] for k in Reply.__dataclass_fields__}
            return Reply(**fields), 0.0
        if not self._strict:
            return None
        row = self._stale.get((request.key, request.sample))
        if row is None:
            raise CannotAsk(
                f"the recording has no answer to {request.key!r} (sample {request.sample}); replay it without "
                "--strict to ask the model"
            )
        if row["prompt"] != request.prompt:
            why = f"it was made with prompt {row['prompt']!r}, this is {request.prompt!r}"
        elif row["model"] != request.model:
            why = f"it was made with model {row['model']!r}, this is {request.model!r}"
        else:
            why = f"the text of prompt {request.prompt!r}, its settings or what is asked has changed"
        raise CannotAsk(
            f"the recording of {request.key!r} is stale: {why}; replay it without --strict to ask the model again"
        )

    def _call(self, request: Request, send: Callable[[], Reply]) -> Mapping[str, Any]:
        self._reserve(request)
        started = time.perf_counter()
        try:
            try:
                reply = send()
            except Failed as error:
                self._keep(request, error.reply, time.perf_counter() - started, failed=True)
                raise
            return self._keep(request, reply, time.perf_counter() - started)
        finally:
            with self._answered:
                for what, used in _use(request).items():
                    self._reserved[what] -= used
                self._answered.notify_all()

    def _reserve(self, request: Request) -> None:
        b = self._budget
        with self._lock:
            if self._closed:
                raise CannotAsk(f"{request.key!r} comes too late, the run is ending")
            if self._failures >= MAX_FAILURES:
                raise CannotAsk(
                    f"{request.model} has given no usable answer {MAX_FAILURES} times in a row, the last time because "
                    f"{self._last_error}; mend that, or try another model or experimenter.structure; {GO_ON}"
                )
            ahead = {k: self._spent[k] + self._reserved.get(k, 0) for k in self._spent}
            asked = _use(request)
            for what, used in ahead.items():
                limit = getattr(b, what)
                if limit and (used + asked.get(what, 0) > limit or used >= limit):
                    raise CannotAsk(
                        f"budget.{what}={limit:g} is used up: {used:g} so far, and {request.key!r} is to be asked"
                        f"{f', which may take {asked[what]:g}' if what in ('tokens', 'usd') else ''}; "
                        f"everything is kept, go on with `ludus resume RUN budget.{what}=...`, or the same `ludus exam`"
                    )
            for what, used in asked.items():
                self._reserved[what] += used

    def _keep(
        self, request: Request, reply: Reply, seconds: float, replayed: bool = False, failed: bool = False
    ) -> Mapping[str, Any]:
        with self._lock:
            attempt = self._attempts.get((request.key, request.sample), 0) + 1 if failed else 0
            row = asdict(request) | asdict(reply) | {"attempt": attempt, "replayed": replayed, "seconds": seconds}
            row |= {"images": list(request.images), "at": time.time()}
            del row["tokens"], row["cost"]
            self._calls.add_call(row)
            self._count(row)
            return row

    def _count(self, row: Mapping[str, Any]) -> None:
        if row["attempt"]:
            call = row["key"], row["sample"]
            self._attempts[call] = max(self._attempts.get(call, 0), row["attempt"])
        else:
            self._known[_answer_key(row)] = row
            if row["error"] != WITHDRAWN:
                self._failures = self._failures + 1 if row["answer"] is None else 0
            self._last_error = row["error"] or self._last_error
        if not row["replayed"]:
            self._spent["calls"] += 1
            self._spent["tokens"] += row["tokens_in"] + row["tokens_out"]
            self._spent["usd"] += row["usd"] or 0.0
            self._spent["minutes"] += row["seconds"] / 60


def _use(request: Request) -> dict[str, float]:
    """What the request takes of a budget, at most."""
    return {"calls": 1, "tokens": request.tokens, "usd": request.cost}


def _answer_key(row: Mapping[str, Any]) -> tuple[str, int, str]:
    """What names an answer: the same question may have been put to another model, or in other words."""
    return row["key"], row["sample"], row["request"]
