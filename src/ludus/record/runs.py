"""The runs of a database, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ludus.record import database, tables
from ludus.record.location import Location
from ludus.record.mapping import Heartbeat
from ludus.record.reader import Reader, RunState
from ludus.types import LudusError


@dataclass(frozen=True)
class RunRow:
    """One run. Times in seconds since 1970."""

    run_id: str
    directory: str  # absolute, where it was begun
    seed: int
    settings: Mapping[str, Any]  # those that are not the default: 'world.n_blocks' -> 2
    command: str
    created: float
    state: RunState  # see `Reader.state`
    last_step: str | None
    heartbeat: Heartbeat | None


def holds_run(directory: str | Path) -> bool:
    """Whether `directory` is that of a run, begun or cut short before it began."""
    return Path(directory).is_dir() and Location.of(Path(directory)) is not None


def runs_in(where: str | Path) -> list[RunRow]:
    """The runs of a database in the order in which they were begun.

    Args:
        where: its URL, the path of an SQLite file, or the directory of a run in it.

    Raises:
        LudusError: no database there, or one of another version.
    """
    path = Path(where)
    home = None if "://" in str(where) else path if path.is_dir() else path.parent
    here = Location.of(home) if home is not None else None
    url = here.url if here is not None and home == path else database.address(where)
    if Location(url, None).missing:
        raise LudusError(f"{where} holds no runs; name a database, or the directory of a run")
    engine = database.connect(url)
    try:
        with database.explained(engine, path), engine.connect() as connection:
            if database.version_of(connection) != tables.SCHEMA:
                database.find_run(engine, path, None)  # says what to do
            runs = tables.runs.c
            query = sa.select(runs.run_id, runs.directory).where(runs.schema == tables.SCHEMA)
            found = connection.execute(query.order_by(runs.created, runs.run_id)).all()
        rows = []
        for run in found:
            moved = home is not None and here is not None and here.run_id == run.run_id and here.url == url
            rows.append(_row(Reader(home.resolve() if moved and home else Path(run.directory), engine, run.run_id)))
        return rows
    finally:
        engine.dispose()


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
