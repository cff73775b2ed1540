"""The runs that a page shows, and what it needs of them again and again: short lines, libraries, worlds."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy.exc import DatabaseError

from ludus.experiment.library import recorded_library
from ludus.record import Record, holds_run
from ludus.record.database import DATABASE
from ludus.record.location import LOCATION
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, unknown
from ludus.views.queries import Conclusion, Pulse, RunLine, broken_line, conclusion, pulse, run_line
from ludus.worlds.base import World
from ludus.worlds.registry import make_world

MOST_WORLDS = 4
"""Worlds that are kept open at the same time."""
MOST_RECORDS = 8
"""Records that are kept open: what a database is asked again and again is compiled once."""
MOST_KEPT = 100
"""Parts of pages that are kept."""
FRESH_S = 1.0
"""How long an answer to `Place.pulse` or `Place.lines` is good for."""

UNREADABLE = (LudusError, DatabaseError)
"""What a run that is moved, damaged or of another version ends in."""

T = TypeVar("T")


class Place:
    """One run, or all runs of a folder. Thread-safe.

    Args:
        where: a run's directory, or a folder of such.

    Raises:
        LudusError: neither.
    """

    def __init__(self, where: Path) -> None:
        if not where.is_dir():
            raise LudusError(f"{where} is no folder; name a run's directory, or a folder of runs")
        self.where = where.resolve()
        self.is_run = holds_run(where)
        if not self.is_run and not self.names():
            raise LudusError(f"no run in {where}; start one with `ludus run`, or name another folder")
        self._lines: dict[str, tuple[object, RunLine]] = {}
        self._listed: tuple[float, tuple[RunLine, ...]] | None = None
        self._records: OrderedDict[Path, tuple[object, Record]] = OrderedDict()
        self._worlds: OrderedDict[Path, World] = OrderedDict()
        self._libraries: dict[Path, tuple[int, SkillLibrary]] = {}
        self._pulses: dict[str, tuple[float, Pulse]] = {}
        self._kept: OrderedDict[Hashable, tuple[object, Any]] = OrderedDict()
        self._lock, self._pulse_lock, self._record_lock = Lock(), Lock(), Lock()
        # A world and its OpenGL context belong to the thread that made them.
        self._thread = ThreadPoolExecutor(1, "worlds")

    def names(self) -> tuple[str, ...]:
        """Names of the runs' directories."""
        if self.is_run:
            return (self.where.name,)
        return tuple(sorted(path.name for path in self.where.iterdir() if holds_run(path)))

    def has(self, name: str) -> bool:
        """Whether there is a run of this name."""
        try:
            return bool(self._directory(name))
        except LudusError:
            return False

    def open(self, name: str) -> AbstractContextManager[Record]:
        """The record of a run, for reading. It stays open for the next question.

        Raises:
            LudusError: no run of this name, or one that cannot be read.
        """
        directory = self._directory(name)
        files = [f.stat() for f in (directory / DATABASE, directory / LOCATION) if f.exists()]
        seen = tuple((f.st_dev, f.st_ino) for f in files)  # another run may come to lie there
        with self._record_lock:
            known = self._records.pop(directory, None)
            if known is not None and known[0] != seen:
                known[1].close()
                known = None
            self._records[directory] = known = known or (seen, Record.open(directory, write=False))
            while len(self._records) > MOST_RECORDS:
                self._records.popitem(last=False)[1][1].close()
        return nullcontext(known[1])

    def _directory(self, name: str) -> Path:
        if self.is_run and name == self.where.name:
            return self.where
        if self.is_run or os.path.basename(name) != name or name in ("", ".", "..") or not holds_run(self.where / name):
            raise unknown("run", name, self.names())
        return self.where / name

    def lines(self) -> tuple[RunLine, ...]:
        """A line per run, the newest first, those that cannot be read last, as they were at most `FRESH_S` ago. Files that have
        not changed are not read again."""
        with self._lock:
            if self._listed is None or time.monotonic() - self._listed[0] > FRESH_S:
                found = [self._line(name) for name in self.names()]
                found.sort(key=lambda line: (line.error is not None, -line.created))
                self._listed = time.monotonic(), tuple(found)
            return self._listed[1]

    def _line(self, name: str) -> RunLine:
        seen = None
        try:
            seen, known = self._signature(name), self._lines.get(name)
            if known is not None and seen is not None and known[0] == seen and known[1].state != "running":
                return known[1]
            with Record.open(self._directory(name), write=False) as record:
                line = run_line(record)
        except UNREADABLE as error:
            line = broken_line(name, str(error))
        self._lines[name] = seen, line
        return line

    def conclusion(self, line: RunLine) -> Conclusion | None:
        """How a run stands and what came of it; None where it cannot be read. Files that have not changed are not read again."""

        def read() -> Conclusion:
            with self.open(line.name) as record:
                return conclusion(record)

        try:
            seen = self._signature(line.name)
            return read() if seen is None else self.kept(("conclusion", line.name), (seen, line.state), read)
        except UNREADABLE:
            return None

    def _signature(self, name: str) -> object:
        """Changes with every commit; None where the rows are in another database."""
        directory = self._directory(name)
        if not (directory / DATABASE).is_file():
            return None
        files = [directory / DATABASE, directory / f"{DATABASE}-wal"]
        stats = [f.stat() for f in files if f.exists()]
        return tuple((s.st_mtime_ns, s.st_size) for s in stats)

    def pulse(self, name: str) -> Pulse:
        """How a run stands, at most `FRESH_S` ago: all visitors ask for it together.

        Raises:
            LudusError: no such run, or one that cannot be read.
        """
        with self._pulse_lock:
            known = self._pulses.get(name)
            if known is None or time.monotonic() - known[0] > FRESH_S:
                with self.open(name) as record:
                    known = self._pulses[name] = time.monotonic(), pulse(record)
            return known[1]

    def renew(self, name: str) -> None:
        """Whoever asks for the pulse of this run next gets a new one: somebody has said something."""
        with self._pulse_lock:
            self._pulses.pop(name, None)

    def kept(self, key: Hashable, version: object, make: Callable[[], T]) -> T:
        """What `make` makes, once for all visitors as long as the `version` stays the same."""
        known = self._kept.get(key)
        if known is None or known[0] != version:
            known = self._kept[key] = version, make()
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return known[1]

    def library(self, record: Record) -> SkillLibrary:
        """The run's skills as they are now.

        Raises:
            LudusError: its world cannot be made here.
        """
        n = len(record.skills())
        known = self._libraries.get(record.directory)
        if known is None or known[0] != n:
            library = self.with_world(record, lambda world: recorded_library(record, world))
            known = self._libraries[record.directory] = n, library
        return known[1]

    def with_world(self, record: Record, work: Callable[[World], T]) -> T:
        """What `work` makes of the run's world, in the thread of all worlds.

        Raises:
            LudusError: the world cannot be made here.
        """
        return self._thread.submit(lambda: work(self._world(record))).result()

    def _world(self, record: Record) -> World:
        world = self._worlds.pop(record.directory, None) or make_world(record.config.world, look=True)
        self._worlds[record.directory] = world
        while len(self._worlds) > MOST_WORLDS:
            self._worlds.popitem(last=False)[1].close()
        return world

    def close(self) -> None:
        """Close records and worlds."""
        for _, record in self._records.values():
            record.close()
        self._thread.submit(lambda: [world.close() for world in self._worlds.values()]).result()
        self._thread.shutdown()
