"""Which runs there are: their directories, which run lies in each, and where its rows are."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

import sqlalchemy as sa

from ludus.record import Record, holds_run
from ludus.record.database import DATABASE, connect
from ludus.record.location import LOCATION, Location
from ludus.types import LudusError, unknown

Identity = tuple[tuple[int, ...], ...]
"""Another one, once another run lies in the directory: a file that was deleted and made anew may have its old number, so the time
of `run.json` is part of it, which is written once."""


class Folder:
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
        self._lock = Lock()
        self._located: dict[str, tuple[Identity, Location]] = {}
        self._servers: dict[sa.URL, sa.Engine] = {}

    def names(self) -> tuple[str, ...]:
        """Names of the runs' directories."""
        if self.is_run:
            return (self.where.name,)
        return tuple(sorted(path.name for path in self.where.iterdir() if holds_run(path)))

    def newest_first(self) -> list[str]:
        """The same, in the order in which they probably began."""

        def age(name: str) -> float:
            try:
                return -os.stat(self.where / name / LOCATION).st_mtime
            except OSError:
                return 0.0

        return sorted(self.names(), key=age)

    def directory(self, name: str) -> Path:
        """
        Raises:
            LudusError: no run of this name.
        """
        if self.is_run and name == self.where.name:
            return self.where
        if self.is_run or os.path.basename(name) != name or name in ("", ".", "..") or not holds_run(self.where / name):
            raise unknown("run", name, self.names())
        return self.where / name

    def identity(self, name: str) -> Identity:
        """See `Identity`.

        Raises:
            LudusError: no run of this name.
        """
        directory, found = self.directory(name), []
        for file in (DATABASE, LOCATION):
            try:
                stat = os.stat(directory / file)
            except OSError:
                continue
            found.append((stat.st_dev, stat.st_ino) + ((stat.st_mtime_ns,) if file == LOCATION else ()))
        return tuple(found)

    def location(self, name: str) -> Location:
        """Where the rows of a run are.

        Raises:
            LudusError: no run of this name, or its `run.json` cannot be read.
        """
        seen, known = self.identity(name), self._located.get(name)
        if known is None or known[0] != seen:
            found = Location.of(self.directory(name))
            if found is None:
                raise LudusError(f"{self.directory(name)} holds no run any more")
            self._located[name] = known = seen, found
        return known[1]

    def engine(self, url: sa.URL) -> sa.Engine:
        """The engine of a server, which all of its runs share."""
        with self._lock:
            if url not in self._servers:
                self._servers[url] = connect(url)
            return self._servers[url]

    def open(self, name: str) -> Record:
        """The record of a run, for reading.

        Raises:
            LudusError: no run of this name, or one that cannot be read.
        """
        place = self.location(name)
        if on_server(place):
            return Record.shared(self.directory(name), self.engine(place.url), place.run_id)
        return Record.open(self.directory(name), write=False)

    def close(self) -> None:
        """Close the connections to servers."""
        for engine in self._servers.values():
            engine.dispose()


def on_server(place: Location) -> bool:
    """Whether the rows are in a database that many runs reach by one connection."""
    return place.url.get_backend_name() != "sqlite"
