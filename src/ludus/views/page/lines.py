"""What the list of runs says of each: read again only where something has changed, and never waited for long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from ludus.record import Record, tables
from ludus.record.database import on_server
from ludus.record.location import Location
from ludus.record.reader import Reader
from ludus.record.visitor import Visitor
from ludus.types import LudusError
from ludus.views.page.folder import FRESH_S, Folder
from ludus.views.page.patience import Asked, Silent
from ludus.views.queries import Conclusion, RunLine, broken_line, conclusion, marks, run_line

SOON_S = 0.3
"""How long the whole list is waited for before a part of it is shown."""
UNREADABLE = (LudusError, DatabaseError)
"""What a run that is moved, damaged or of another version ends in."""

T = TypeVar("T")


class Lines:
    """The list of a folder's runs. Thread-safe."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: dict[tuple[str, str], tuple[Hashable, Any]] = {}
        self._listed: tuple[float, tuple[RunLine, ...]] | None = None
        self._servers: dict[sa.URL, Asked[dict[str, RunLine]]] = {}
        self._visitor, self._visit, self._lock = Visitor(), Lock(), Lock()
        self._whole = Asked("the folder of runs", self.all)

    def all(self) -> tuple[RunLine, ...]:
        """A line per run, the newest first, those that cannot be read last, as they were at most `FRESH_S` ago."""
        with self._lock:
            if self._listed is None or time.monotonic() - self._listed[0] > FRESH_S:
                self._listed = time.monotonic(), _in_order(self._all())
            return self._listed[1]

    def soon(self) -> tuple[tuple[RunLine, ...], int]:
        """The list and, at first, how many runs are still to be read: after `SOON_S` it is the list as it was, or that part of it
        which is read by then, the newest first."""
        with suppress(TimeoutError):
            return self._whole.start(FRESH_S).result(SOON_S), 0
        if self._listed is not None:
            return self._listed[1], 0
        names, known = self._folder.names(), dict(self._kept)
        read = [known[name, run_line.__name__][1] for name in names if (name, run_line.__name__) in known]
        return _in_order(read), len(names) - len(read)

    def conclusions(self, lines: Sequence[RunLine]) -> dict[str, Conclusion | None]:
        """Name -> how the run stands and what came of it; None where it cannot be read now."""
        silent = set[sa.URL]()  # nobody waits for a server more than once
        return {line.name: self._conclusion(line, silent) for line in lines if line.error is None}

    def _conclusion(self, line: RunLine, silent: set[sa.URL]) -> Conclusion | None:
        try:
            place = self._folder.location(line.name)
            if not on_server(place.url):
                return self._of_file(line.name, place, conclusion, line.state)
            if place.url in silent:
                return None
            try:
                return self._of_server(line.name, place, line.state)
            except Silent:
                silent.add(place.url)
        except UNREADABLE:
            pass
        return None

    def _all(self) -> list[RunLine]:
        found, waited = list[RunLine](), dict[str, sa.URL]()
        for name in self._folder.newest_first():
            try:
                place = self._folder.location(name)
                if on_server(place.url):
                    waited[name] = place.url
                    self._server(place.url).start(FRESH_S)
                else:
                    found.append(replace(self._of_file(name, place, run_line), name=name))
            except UNREADABLE as error:
                found.append(broken_line(name, str(error)))
        for name, url in waited.items():
            try:
                lines = self._server(url).get(FRESH_S)
                known = lines.get(name)
                found.append(
                    replace(known, name=name) if known else broken_line(name, "it is being read for the first time")
                )
            except UNREADABLE as error:
                found.append(self._meanwhile(name, self._server(url), error))
        return found

    def _meanwhile(self, name: str, server: Asked[dict[str, RunLine]], error: Exception) -> RunLine:
        """The line of a run that could not be read: while many are read for the first time, one that was read already."""
        known = self._kept.get((name, run_line.__name__))
        if known is not None and isinstance(error, Silent) and not server.answered:
            return replace(known[1], name=name)
        return broken_line(name, str(error))

    # --- rows in files -----------------------------------------------------------------------------------------------

    def _of_file(self, name: str, place: Location, make: Callable[[Reader], T], state: str | None = None) -> T:
        """What `make` makes of a run, again only once its file, or the state that is known of it, has changed."""
        key, version = (name, make.__name__), (self._folder.identity(name), _stamp(place), state)
        known = self._kept.get(key)
        # a run that is cut off changes its state without a word
        if known is None or known[0] != version or getattr(known[1], "state", "") == "running":
            self._kept[key] = known = version, self._read(self._folder.directory(name), place, make)
        return known[1]

    def _read(self, directory: Path, place: Location, make: Callable[[Reader], T]) -> T:
        try:
            with self._visit, self._visitor.at(Path(place.url.database or "")) as engine:
                run = Reader(directory, engine, place.run_id or "")
                if run.schema == tables.SCHEMA:
                    return make(run)
        except (LudusError, SQLAlchemyError, ValueError) as error:
            if "is locked" in str(getattr(error, "orig", error.__cause__ or error)):
                raise LudusError(f"the database of {directory} is locked by somebody; it is tried again") from error
        with Record.open(
            directory, write=False, url=place.url, run_id=place.run_id
        ) as record:  # reads what is harder to read, or says why it cannot
            return make(record)

    # --- rows on servers -------------------------------------------------------------------------------------------

    def _server(self, url: sa.URL) -> Asked[dict[str, RunLine]]:
        if url not in self._servers:
            self._servers[url] = Asked(f"database {url!s}", lambda: self._lines_of(url))
        return self._servers[url]

    def _lines_of(self, url: sa.URL) -> dict[str, RunLine]:
        """The lines of all runs of a database."""
        engine, places = self._folder.engine(url), dict[str, Location]()
        for name in self._folder.newest_first():
            try:
                places[name] = self._folder.location(name)
            except UNREADABLE:  # the list says so
                continue
        places = {name: place for name, place in places.items() if place.url == url}
        found, now = dict[str, RunLine](), marks(engine, [place.run_id or "" for place in places.values()])
        for name, place in places.items():
            version, known = now.get(place.run_id or ""), self._kept.get((name, "run_line"))
            if version is None or known is None or known[0] != version or known[1].state == "running":
                try:
                    known = version, run_line(self._folder.open(name))
                except UNREADABLE as error:
                    known = version, broken_line(name, str(error))
                self._kept[name, "run_line"] = known
            found[name] = known[1]
        return found

    def _of_server(self, name: str, place: Location, state: str | None) -> Conclusion:
        version = self._kept[name, "run_line"][0], state
        known = self._kept.get((name, "conclusion"))
        if known is None or known[0] != version:
            made = Asked(f"database {place.url!s}", lambda: conclusion(self._folder.open(name))).get(0.0)
            self._kept[name, "conclusion"] = known = version, made
        return known[1]


def _in_order(lines: Iterable[RunLine]) -> tuple[RunLine, ...]:
    return tuple(sorted(lines, key=lambda line: (line.error is not None, -line.created)))


def _stamp(place: Location) -> tuple[tuple[int, int], ...]:
    """Changes with every commit."""
    found, path = [], place.url.database or ""
    for file in (path, f"{path}-wal"):
        try:
            stat = os.stat(file)
        except OSError:
            continue
        found.append((stat.st_mtime_ns, stat.st_size))
    return tuple(found)
