"""Which runs there are, of a folder or of a database: their directories, which run lies in each, and where its rows are."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from threading import Lock

import sqlalchemy as sa

from ludus.record import Record, holds_run
from ludus.record.database import DATABASE, address, connect, on_server
from ludus.record.location import LOCATION, Location
from ludus.record.runs import listing
from ludus.types import LudusError, unknown
from ludus.views.page.patience import Asked

Identity = tuple[tuple[int, ...], ...]
"""Another one, once another run lies in the directory: a file that was deleted and made anew may have its old number, so the time
of `run.json` is part of it, which is written once."""


FRESH_S = 1.0
"""How long a list of runs is good for."""


class Folder:
    """One run, or all runs of a folder. Thread-safe.

    Args:
        where: a run's directory, or a folder of such.

    Raises:
        LudusError: neither.
    """

    def __init__(self, where: Path) -> None:
        self._lock = Lock()
        self._located: dict[str, tuple[Identity, Location]] = {}
        self._servers: dict[sa.URL, sa.Engine] = {}
        if not where.is_dir():
            raise LudusError(f"{where} is no folder; name a run's directory, or a folder of runs")
        self.where = where.resolve()
        self.is_run = holds_run(where)
        if not self.is_run and not self.names():
            raise LudusError(f"no run in {where}; start one with `ludus run`, or name another folder")

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
            self._located[name] = known = seen, self._locate(name)
        return known[1]

    def _locate(self, name: str) -> Location:
        found = Location.of(self.directory(name))
        if found is None:
            raise LudusError(f"{self.directory(name)} holds no run any more")
        return found

    def name_of(self, record: Record) -> str:
        """The name of a run that was opened here."""
        return record.directory.name

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
        if on_server(place.url):
            return Record.shared(self.directory(name), self.engine(place.url), place.run_id)
        return Record.open(self.directory(name), write=False, url=place.url, run_id=place.run_id)

    def close(self) -> None:
        """Close the connections to servers."""
        for engine in self._servers.values():
            engine.dispose()


class DatabaseRuns(Folder):
    """The runs of a database, wherever their directories are: each has the name of its directory, or its id where that of another
    run is called the same. Thread-safe.

    Args:
        record: a URL, or an SQLite file.
        only: the id of the one run to show.

    Raises:
        LudusError: no such database or run.
    """

    def __init__(self, record: str, only: str | None = None) -> None:
        self._url, self._only = address(record), only
        self._lock, self._located, self._servers = Lock(), {}, {}
        self._listed = Asked(f"database {self._url!s}", self._list)
        self.is_run = only is not None
        if not self.names():
            raise unknown("run", only, self._ids()) if only else LudusError(f"{self._url!s} holds no run")
        self.where = self._rows()[self.names()[0]][0] if only else Path(self._url.database or "database")

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._rows()))

    def newest_first(self) -> list[str]:
        return list(reversed(self._rows()))

    def directory(self, name: str) -> Path:
        found = self._rows().get(name)
        if found is None:
            raise unknown("run", name, self.names())
        return found[0]

    def name_of(self, record: Record) -> str:
        return next(name for name, (_, run_id) in self._rows().items() if run_id == record.run_id)

    def _locate(self, name: str) -> Location:
        self.directory(name)
        return Location(self._url, self._rows()[name][1])

    def _rows(self) -> dict[str, tuple[Path, str]]:
        """Name -> directory and id, the newest last."""
        return self._listed.get(FRESH_S)

    def _list(self) -> dict[str, tuple[Path, str]]:
        with listing(self._url) as (_, rows):
            shown = [row for row in rows if self._only in (None, row[1])]
        times = Counter(directory.name for directory, _ in shown)
        return {(d.name if times[d.name] == 1 else run_id): (d, run_id) for d, run_id in shown}

    def _ids(self) -> list[str]:
        with listing(self._url) as (_, rows):
            return [run_id for _, run_id in rows]
