"""Answers that several visitors wait for together, none of them for long: a database that does not answer keeps nobody from the
rest of the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

from ludus.types import LudusError

PATIENCE_S = 5.0
"""How long an answer is waited for, from when it was asked for."""
RETRY_S = 0.2
"""The same, where the last attempt has failed."""

T = TypeVar("T")


class Silent(LudusError):
    """What was asked has not answered yet."""


class Asked(Generic[T]):
    """A question that is put in a thread of its own, one at a time, whenever its last answer is too old. Thread-safe.

    Args:
        whom: who is asked, in the sentence that says that no answer came.
        ask: returns the answer; what it raises is the answer, too.
    """

    def __init__(self, whom: str, ask: Callable[[], T]) -> None:
        self._whom, self._ask, self._lock = whom, ask, Lock()
        self._last: Future[T] | None = None
        self._next: Future[T] | None = None
        self._began = self._ended = 0.0

    def start(self, fresh_s: float) -> Future[T]:
        """The answer, if it is not older than `fresh_s`, else the next one, which is asked for."""
        with self._lock:
            if self._next is not None:
                return self._next
            if self._last is not None and time.monotonic() - self._ended <= fresh_s:
                return self._last
            self._began, self._next = time.monotonic(), Future()
            Thread(target=self._put, args=(self._next,), daemon=True).start()
            return self._next

    def get(self, fresh_s: float) -> T:
        """The answer.

        Raises:
            Silent: it did not come in time. The question stays, and whoever needs it meanwhile waits no longer.
            Exception: what asking raised.
        """
        answer = self.start(fresh_s)
        failed = self._last is not None and self._last.exception() is not None
        left = (RETRY_S if failed else PATIENCE_S) - (time.monotonic() - self._began)
        try:
            return answer.result(max(0.0, left))
        except TimeoutError:
            if failed and self._last is not None:
                return self._last.result()
            waited = time.monotonic() - self._began
            raise Silent(f"{self._whom} has not answered for {waited:.0f} s; it is asked on") from None

    @property
    def answered(self) -> bool:
        """Whether there is an answer, however old."""
        return self._last is not None

    def forget(self) -> None:
        """Whoever asks next gets a new answer."""
        with self._lock:
            self._last = self._next = None

    def _put(self, answer: Future[T]) -> None:
        try:
            answer.set_result(self._ask())
        except BaseException as error:  # whoever waits gets it
            answer.set_exception(error)
        with self._lock:
            if self._next is answer:
                self._last, self._next, self._ended = answer, None, time.monotonic()
