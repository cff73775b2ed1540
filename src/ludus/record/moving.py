"""Moving the rows of a run from the file in its directory to a database of many runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from ludus.record import database, files, revisions, tables
from ludus.record.convert import back_up
from ludus.record.location import Location
from ludus.record.record import Record, session_of
from ludus.types import LudusError

MOVED = "ludus.db.moved"
ROWS = 1000
"""So many are written at a time."""


def move(directory: str | Path, url: str | Path) -> bool:
    """Move the rows of the run in `directory` to the database at `url`, which the directory remembers; returns whether there was
    something to do. The file is kept as `ludus.db.moved`.

    All rows are written in one transaction, and the directory says after it where they are: cut short, it can be repeated.

    Raises:
        LudusError: no run there, or one that is running; rows that are in another database already, or another run of this id in
            the new one; a database that cannot be used; no room for the copy.
    """
    directory, target = files.named(directory), database.address(url)
    place = Location.of(directory) if directory.is_dir() else None
    if place is not None and place.url == target:
        return False
    own = directory / database.DATABASE
    if place is not None and place.url != database.address(own):
        raise LudusError(f"the rows of {directory} are in {place.url!s}, not in a file of its own; they stay there")
    with Record.open(directory) as record:
        with closing(sqlite3.connect(own, timeout=database.LOCK_TIMEOUT_S)) as connection:
            back_up(connection, directory / MOVED)
        engine, session = database.connect(target, alone=True), None
        try:
            session = session_of(directory, engine, record.run_id)
            with database.explained(engine, directory), database.writing(engine, "ludus") as connection:
                _copy(record, connection)
            Location(target, record.run_id).write(directory)
        finally:
            if session:
                session.release()
            engine.dispose()
    for end in ("", "-wal", "-shm"):
        files.remove(own.with_name(own.name + end))
    return True


def _copy(record: Record, connection: sa.Connection) -> None:
    revisions.prepare(connection)
    r = tables.runs.c
    (run,) = record.rows(tables.runs)
    there = connection.execute(sa.select(r.created).where(r.run_id == record.run_id)).scalar()
    if there not in (None, run["created"]):
        url = connection.engine.url
        raise LudusError(f"database {url!s} already holds another run {record.run_id!r}; give another database")
    database.delete_run(connection, record.run_id)  # left by an attempt that was cut short
    for table in tables.metadata.sorted_tables:
        rows = [{k: v for k, v in row.items() if k != "number"} for row in record.rows(table)]
        for first in range(0, len(rows), ROWS):
            database.insert(connection, table, record.run_id, rows[first : first + ROWS])
