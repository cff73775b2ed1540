"""Questions asked at the same time, and before their answers are needed: a slow model does not stop the robots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Prefetch:
    """Does work for each of several things, each in a thread of its own; what they raise is left to whoever asks again
    in earnest. How many calls are under way at the same time is the ledger's affair."""

    def __init__(self, work: Callable[[T], object], things: Sequence[T]) -> None:
        def one(thing: T) -> None:
            if not self._stopped:
                try:
                    work(thing)
                except Exception:
                    self._stopped = True  # a budget that is used up, a server that is gone: no use in going on

        self._stopped = False
        # daemons: Ctrl-C does not wait for a model
        self._threads = [threading.Thread(target=one, args=(t,), daemon=True) for t in things]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Until all is done."""
        for thread in self._threads:
            thread.join()


def concurrently(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """What `work` gives for each of the things, in order; it is done at the same time.

    Raises:
        Exception: the first of what `work` raised, in order.
    """
    found: dict[int, R] = {}
    errors: dict[int, Exception] = {}

    def one(i: int) -> None:
        try:
            found[i] = work(things[i])
        except Exception as error:
            errors[i] = error
            raise

    Prefetch(one, range(len(things))).wait()
    if errors:
        raise errors[min(errors)]
    return [found[i] for i in range(len(things))]
