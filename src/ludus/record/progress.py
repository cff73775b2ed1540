"""How far a process has come: rows that others can read, and a callback for the terminal."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from ludus.record.mapping import StageState

__all__ = ["Progress", "Show", "StageState"]

Show = Callable[[StageState], None]
"""Called with every change of a stage."""

WAITS = ("waiting for ", "paused ")
"""How the names of stages begin in which a run waits for somebody."""
WRITE_INTERVAL_S = 1.0
"""A stage's row is written at most so often, and at its begin and end."""
logger = logging.getLogger(__name__)


class StageWriter(Protocol):
    """Where stages are written: a `Record`."""

    @property
    def writable(self) -> bool: ...
    def write_stage(self, state: StageState) -> None: ...


class Progress:
    """Reports the stages of a run. Thread-safe.

    Progress never ends a run: an error of the record (a full disk) or of `show` is logged once per stage and ignored.

    Args:
        record: gets a row per stage; None, or one opened with `write=False`: no rows.
        show: called with every change of a stage.
    """

    def __init__(self, record: StageWriter | None = None, show: Show | None = None) -> None:
        self._record = record if record is not None and record.writable else None
        self._show = show

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A stage of `total` units of work; yields `advance(n)`. A finished stage reports `done = total`; when
        the body raises, the stage stays unfinished."""
        stage = _Stage(self._record, self._show, name, total)
        stage.report(write=True)
        try:
            yield stage.advance
        except BaseException:
            stage.report(write=True)
            raise
        stage.report(write=True, finished=True)


class _Stage:
    def __init__(
        self,
        record: StageWriter | None,
        show: Show | None,
        name: str,
        total: int,
    ) -> None:
        now = time.time()
        self._state = StageState(name, 0, total, now, now, None)
        self._sinks: dict[str, Callable[[StageState], None]] = {}
        if show is not None:
            self._sinks["show"] = show
        if record is not None:
            self._sinks["record"] = record.write_stage
        self._failed: set[str] = set()
        self._written = 0.0
        self._lock = threading.RLock()  # reentrant: what shows a stage may advance it

    def advance(self, n: int = 1) -> None:
        with self._lock:
            self._state = replace(self._state, done=self._state.done + n)
            self.report(write=time.monotonic() - self._written >= WRITE_INTERVAL_S)

    def report(self, write: bool, finished: bool = False) -> None:
        with self._lock:
            now = time.time()
            done = self._state.total if finished else self._state.done
            self._state = replace(self._state, done=done, updated=now, finished=now if finished else None)
            if write:
                self._written = time.monotonic()
            for sink, tell in self._sinks.items():
                if sink == "record" and not write:
                    continue
                try:
                    tell(self._state)
                except Exception as error:
                    if sink not in self._failed:
                        logger.warning("progress of %r is not kept (%s): %s", self._state.name, sink, error)
                    self._failed.add(sink)
