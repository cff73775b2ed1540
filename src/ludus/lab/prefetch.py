"""Asks questions concurrently and before their answers are needed, so that robots do not wait for a slow model.

The threads are daemons, which `concurrent.futures.ThreadPoolExecutor` and `asyncio.to_thread` do not offer: Python joins
their threads at exit, so that Ctrl-C would wait for a model's answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Prefetch:
    """Runs `work` for each thing in a thread of its own. Exceptions are dropped: the same
    question raises again when its answer is needed. The ledger limits how many calls are under way."""

    def __init__(self, work: Callable[[T], object], things: Sequence[T]) -> None:
        self._futures = [_start(work, thing) for thing in things]

    def wait(self) -> None:
        """Return when all work has ended."""
        wait(self._futures)


def concurrently(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """`[work(thing) for thing in things]`, done at the same time. Returns, or raises, when all work has ended.

    Raises:
        Exception: the first of what `work` raised, in the order of the things.
    """
    futures = [_start(work, thing) for thing in things]
    wait(futures)
    return [future.result() for future in futures]


def _start(work: Callable[[T], R], thing: T) -> Future[R]:
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work(thing))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
