"""The runs of a database, as plain data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ludus.record import database, tables
from ludus.record.location import LOCATION, Location
from ludus.record.lock import LOCK
from ludus.record.mapping import Heartbeat
from ludus.record.reader import Reader, RunState
from ludus.types import LudusError

SQLITE = b"SQLite format 3\0"
"""What an SQLite file begins with."""
PARTS = ("shards", "checkpoints", "images", "relabel")
"""Folders of a run directory that the run alone writes in."""


@dataclass(frozen=True)
class RunRow:
    """One run. Times in seconds since 1970."""

    run_id: str
    directory: str  # absolute, where it was last opened for writing
    seed: int
    settings: Mapping[str, Any]  # those that are not the default: 'world.n_blocks' -> 2
    command: str
    created: float
    state: RunState  # see `Reader.state`
    last_step: str | None
    heartbeat: Heartbeat | None


def holds_run(directory: str | Path) -> bool:
    """Whether `directory` is that of a run, begun or cut short before it began; it may be one that cannot be read."""
    return any(os.path.isfile(Path(directory, name)) for name in (LOCATION, database.DATABASE))


def is_part_of_run(path: Path) -> bool:
    """Whether a run is kept in this file: any database, and in a run directory all that the run wrote there itself."""
    with suppress(OSError):
        path = path.resolve(strict=True)
        with path.open("rb") as file:
            if file.read(len(SQLITE)) == SQLITE:
                return True
        beside = path.name in (LOCATION, LOCK) and holds_run(path.parent)
        return beside or (path.parent.name in PARTS and holds_run(path.parent.parent))
    return False


def runs_in(where: str | Path) -> list[RunRow]:
    """The runs of a database in the order in which they were begun.

    Args:
        where: its URL, the path of an SQLite file, or the directory of a run in it.

    Raises:
        LudusError: no database there, or one of another version.
    """
    with listing(where) as (engine, found):
        return [_row(Reader(directory, engine, run_id)) for directory, run_id in found]


@contextmanager
def listing(where: str | Path | sa.URL) -> Iterator[tuple[sa.Engine, list[tuple[Path, str]]]]:
    """The database at `where`, see `runs_in`, and the directory and id of each run in it: a `Reader` for each can be made
    inside the context.

    Raises:
        LudusError: no database there, or one of another version.
    """
    path = None if isinstance(where, sa.URL) or "://" in str(where) else Path(where)
    here = Location.of(path) if path and path.is_dir() else None
    url = database.address(where) if here is None else here.url
    if Location(url, None).missing:
        raise LudusError(f"{where} holds no runs; name a database, or the directory of a run")
    is_file = url.get_backend_name() == "sqlite"
    own = Path(url.database or "").parent if is_file else Path(str(url))  # a server has no folder
    home = path if path and here else own
    engine = database.connect(url)
    try:
        with database.explained(engine, home), engine.connect() as connection:
            found, there = [], sa.inspect(connection)
            if there.has_table("runs"):
                runs = tables.runs.c
                query = sa.select(runs.run_id, runs.directory).where(runs.schema == tables.SCHEMA)
                found = connection.execute(query.order_by(runs.created, runs.run_id)).all()
            elif there.has_table("run"):
                database.find_run(engine, home, None)  # says what to do
        yield engine, [(_directory(row.run_id, row.directory, home, url), row.run_id) for row in found]
    finally:
        engine.dispose()


def _directory(run_id: str, begun: str, home: Path, url: sa.URL) -> Path:
    """Where a run is: `home`, if it holds it, for it may have moved with its database."""
    try:
        here = Location.of(home)
    except LudusError:
        here = None
    return home.resolve() if here == Location(url, run_id) else Path(begun)


def _row(run: Reader) -> RunRow:
    return RunRow(
        run.run_id,
        str(run.directory),
        run.seed,
        run.settings,
        run.command,
        run.created,
        run.state(),
        run.last_step(),
        run.heartbeat(),
    )
