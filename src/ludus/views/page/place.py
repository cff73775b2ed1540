"""The runs that a page shows, and what it needs of them again and again: short lines, libraries, worlds. While a
database is asked only locks of its run are held, and those of the list of all runs for as long as `patience` waits; so one that
does not answer keeps nobody from another run's pages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from ludus.experiment.library import recorded_library
from ludus.lab.oversight import interventions
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError
from ludus.views.page.folder import FRESH_S, DatabaseRuns, Folder, Identity
from ludus.views.page.lines import UNREADABLE, Lines
from ludus.views.page.patience import Asked
from ludus.views.queries import Conclusion, Pulse, RunLine, pulse
from ludus.worlds.base import World
from ludus.worlds.registry import make_world

__all__ = ["UNREADABLE", "Place"]

MOST_WORLDS = 4
"""Worlds that are kept open at the same time."""
MOST_RUNS = 8
"""Runs whose record is kept open: what a database is asked again and again is compiled once."""
MOST_PARTS = 40
"""Parts of pages that are kept of a run."""

T = TypeVar("T")


class Shown:
    """All that is kept of one run, as long as that run lies in its directory. Thread-safe."""

    def __init__(self, identity: Identity, open: Callable[[], Record], whom: str) -> None:
        self.identity = identity
        self.pulse = Asked(whom, self._pulse)
        self.library: tuple[int, SkillLibrary] | None = None
        self._open = open
        self._record: Record | None = None
        self._parts: OrderedDict[Hashable, tuple[Lock, list[Any]]] = OrderedDict()
        self._lock = Lock()

    @property
    def record(self) -> Record:
        """
        Raises:
            LudusError: it cannot be read, or does not answer.
        """
        self.pulse.get(FRESH_S)
        assert self._record is not None
        return self._record

    def _pulse(self) -> Pulse:
        if self._record is None:
            self._record = self._open()
        return pulse(self._record)

    def kept(self, key: Hashable, version: object, make: Callable[[], T]) -> T:
        """What `make` makes, once for all visitors as long as the `version` stays the same."""
        with self._lock:
            lock, known = self._parts.setdefault(key, (Lock(), []))
            self._parts.move_to_end(key)
            while len(self._parts) > MOST_PARTS:
                self._parts.popitem(last=False)
        with lock:
            if not known or known[0] != version:
                known[:] = version, make()
            return known[1]

    def close(self) -> None:
        """Close the record. Of one on a server, connections that others may use end too, and are made anew."""
        if self._record is not None:
            self._record.close()


class Place:
    """One run, or all runs of a folder or of a database. Thread-safe.

    Args:
        where: a run's directory, a folder of such, or `DatabaseRuns`.

    Raises:
        LudusError: neither.
    """

    def __init__(self, where: Path | DatabaseRuns) -> None:
        self._folder = Folder(where) if isinstance(where, Path) else where
        self.where, self.is_run, self.names = self._folder.where, self._folder.is_run, self._folder.names
        self._lines = Lines(self._folder)
        self._runs: OrderedDict[str, Shown] = OrderedDict()
        self._worlds: OrderedDict[tuple[str, float], World] = OrderedDict()
        self._lock = Lock()
        # A world and its OpenGL context belong to the thread that made them.
        self._thread = ThreadPoolExecutor(1, "worlds")

    def has(self, name: str) -> bool:
        """Whether there is a run of this name."""
        try:
            return bool(self._folder.directory(name))
        except LudusError:
            return False

    def open(self, name: str) -> AbstractContextManager[Record]:
        """The record of a run, for reading. It stays open for the next question.

        Raises:
            LudusError: no run of this name, one that cannot be read, or one whose database does not answer.
        """
        return nullcontext(self._shown(name).record)

    def _shown(self, name: str) -> Shown:
        identity = self._folder.identity(name)
        with self._lock:
            known = self._runs.pop(name, None)
            gone = [known] if known is not None and known.identity != identity else []
            if known is None or gone:
                known = Shown(identity, lambda: self._folder.open(name), f"the database of run {name}")
            self._runs[name] = known
            while len(self._runs) > MOST_RUNS:
                gone.append(self._runs.popitem(last=False)[1])
        for run in gone:
            run.close()
        return known

    def lines(self) -> tuple[RunLine, ...]:
        """See `Lines.all`."""
        return self._lines.all()

    def lines_soon(self) -> tuple[tuple[RunLine, ...], int]:
        """See `Lines.soon`."""
        return self._lines.soon()

    def conclusions(self, lines: Sequence[RunLine]) -> Mapping[str, Conclusion | None]:
        """See `Lines.conclusions`."""
        return self._lines.conclusions(lines)

    def pulse(self, name: str) -> Pulse:
        """How a run stands, at most `FRESH_S` ago: all visitors ask for it together.

        Raises:
            LudusError: no such run, one that cannot be read, or one whose database does not answer.
        """
        return self._shown(name).pulse.get(FRESH_S)

    def renew(self, name: str) -> None:
        """Whoever asks for the pulse of this run next gets a new one: somebody has said something."""
        self._shown(name).pulse.forget()

    def kept(self, name: str, key: Hashable, version: object, make: Callable[[], T]) -> T:
        """Of a run, see `Shown.kept`."""
        return self._shown(name).kept(key, version, make)

    def interventions(self, name: str) -> list[dict[str, Any]]:
        """What people told the run, see `ludus.lab.oversight.interventions`; read again once a step was committed."""

        def read() -> list[dict[str, Any]]:
            with self.open(name) as record:
                return interventions(record)

        return self.kept(name, "interventions", self.pulse(name).step, read)

    def library(self, record: Record) -> SkillLibrary:
        """The run's skills as they are now.

        Raises:
            LudusError: its world cannot be made here.
        """
        shown, n = self._shown(self._folder.name_of(record)), len(record.skills())
        if shown.library is None or shown.library[0] != n:
            shown.library = n, self.with_world(record, lambda world: recorded_library(record, world))
        return shown.library[1]

    def with_world(self, record: Record, work: Callable[[World], T]) -> T:
        """What `work` makes of the run's world, in the thread of all worlds.

        Raises:
            LudusError: the world cannot be made here.
        """
        return self._thread.submit(lambda: work(self._world(record))).result()

    def _world(self, record: Record) -> World:
        key = record.run_id, record.created
        world = self._worlds.pop(key, None) or make_world(record.config.world, look=True)
        self._worlds[key] = world
        while len(self._worlds) > MOST_WORLDS:
            self._worlds.popitem(last=False)[1].close()
        return world

    def close(self) -> None:
        """Close records and worlds."""
        for run in self._runs.values():
            run.close()
        self._folder.close()
        self._thread.submit(lambda: [world.close() for world in self._worlds.values()]).result()
        self._thread.shutdown()
