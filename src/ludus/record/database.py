"""The database of a run: SQLite by default, any other SQLAlchemy URL instead. What is special to SQLite is here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError

from ludus.record import files, tables
from ludus.types import LudusError

DATABASE = "ludus.db"


def connect(directory: Path, url: str | None) -> sa.Engine:
    """The engine of the run in `directory`."""
    if url is not None:
        return sa.create_engine(url, json_serializer=_json)
    path = directory / DATABASE

    def parsed(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise _damaged(path, f"{error} in {text[:40]!r}") from error

    address = f"sqlite+pysqlite:///{path}"
    if path.exists() and not os.access(directory, os.W_OK):
        # WAL needs a file beside the database even for reading; without the right to make it, read the file as frozen.
        mode = "mode=ro" if path.with_name(DATABASE + "-wal").exists() else "immutable=1"
        address = f"sqlite+pysqlite:///file:{path}?{mode}&uri=true"
    engine = sa.create_engine(address, json_serializer=_json, json_deserializer=parsed, connect_args={"timeout": 30})

    @event.listens_for(engine, "handle_error")
    def explain(context: sa.ExceptionContext) -> None:
        if "malformed" in str(context.original_exception):
            raise _damaged(path, str(context.original_exception)) from context.original_exception

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        # FULL: a step reported as done is on the disk, also after a power cut, when NORMAL may lose the last commits.
        # A few fsyncs per step are nothing next to its seconds.
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def check_version(directory: Path, engine: sa.Engine) -> None:
    """Refuse what is no record, or one of another version.

    Raises:
        LudusError: with what to do about it.
    """
    try:
        with engine.connect() as connection:
            found = connection.execute(sa.text("SELECT schema FROM run")).scalar()
    except DatabaseError as error:
        if files.is_full(error, directory):
            raise LudusError(f"the disk of {directory} is full: free some space and try again") from error
        if "locked" in str(error):
            raise LudusError(f"the database of {directory} stayed locked for 30 s; stop whoever holds it") from error
        raise LudusError(f"{directory} holds no readable run ({error.orig}); choose another directory") from error
    if found is None:
        raise LudusError(f"the run in {directory} was stopped before it began; start it again with `ludus run`")
    if found != tables.SCHEMA:
        raise LudusError(
            f"the run in {directory} has record version {found}, this ludus reads version {tables.SCHEMA}; "
            f"open it with the ludus that made it, or start a new run"
        )


def is_empty(connection: sa.Connection) -> bool:
    """Whether nothing was made yet (`tables.MADE`)."""
    there = sa.inspect(connection)
    made = (t for t in tables.MADE if there.has_table(t.name))  # an old record may lack the newest tables
    return all(connection.execute(sa.select(t.c.number).limit(1)).first() is None for t in made)


def insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose natural key is not there yet. INSERT .. SELECT .. WHERE NOT EXISTS is the one spelling
    that SQLite and PostgreSQL share."""
    if not rows:
        return
    columns = [table.c[name] for name in rows[0]]
    values = [sa.bindparam(f"new_{c.name}", type_=c.type).label(c.name) for c in columns]
    same = sa.and_(*(table.c[k] == sa.bindparam(f"new_{k}", type_=table.c[k].type) for k in table.info["key"]))
    query = sa.select(*values).where(~sa.exists(sa.select(table.c.number).where(same)))
    statement = sa.insert(table).from_select([c.name for c in columns], query)
    connection.execute(statement, [{f"new_{k}": v for k, v in row.items()} for row in rows])


def _damaged(path: Path, how: str) -> LudusError:
    return LudusError(f"database {path} is damaged: {how}; restore the run from a copy, or begin it anew elsewhere")


def _json(value: Any) -> str:
    # Sorted, so that two runs that built a dict in another order still have equal rows.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} does not fit into a JSON column of the record")
