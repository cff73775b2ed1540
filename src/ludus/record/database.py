"""The database of one run or of many: SQLite or PostgreSQL (`server.py`). All else that differs between the two is here."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError

from ludus.record import files, filesystem, server, tables
from ludus.types import LudusError

DATABASE = "ludus.db"
SQLITE, POSTGRESQL = "sqlite+pysqlite", "postgresql+psycopg"
LOCK_TIMEOUT_S = 30
FROZEN = "file:"
"""How the name of an SQLite file begins that is opened by a URI of SQLite's own, and so percent-encoded."""
INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}  # both know ON CONFLICT


def address(where: str | Path | sa.URL) -> sa.URL:
    """The URL of a database that is given as one, or as the path of an SQLite file. Paths become absolute.

    Raises:
        LudusError: neither SQLite nor PostgreSQL; no URL; one of SQLite with options, or without a file.
    """
    if isinstance(where, Path) or (isinstance(where, str) and "://" not in where):
        return sa.URL.create(SQLITE, database=str(files.named(where).resolve()))
    try:
        url = sa.make_url(where)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError):
        shown = re.sub("//[^@]*@|password=.*", "//***@", str(where))
        raise LudusError(f"database {shown!r} is no URL; give 'postgresql+psycopg://…' or a file") from None
    if kind not in INSERT:
        raise LudusError(f"database {url!s} is neither SQLite nor PostgreSQL; give 'postgresql+psycopg://…' or a file")
    if kind == "postgresql" and url.drivername in ("postgresql", POSTGRESQL):
        return _without_secrets(url.set(drivername=POSTGRESQL))
    if url.drivername not in ("sqlite", SQLITE):
        ways = f"SQLite with {SQLITE} and PostgreSQL with {POSTGRESQL}"
        raise LudusError(f"database {url!s} cannot be used: ludus opens {ways}; give '{POSTGRESQL}://…' or a file")
    if url.database in (None, "", ":memory:") and not url.query:
        raise LudusError(f"database {url!s} is in memory, and a run ends with it; name a file, e.g. sqlite:///runs.db")
    if not url.database or url.query or (isinstance(where, str) and "?" in where):
        raise LudusError(
            f"database {where!s}: an SQLite URL names a file and nothing behind a '?', which would begin options; give the "
            "path of the file instead"
        )
    return sa.URL.create(SQLITE, database=str(files.named(url.database).resolve()))


def _without_secrets(url: sa.URL) -> sa.URL:
    """The URL with its password where none of its texts shows it."""
    if "sslpassword" in url.query:
        raise LudusError("'sslpassword' in a URL would be shown; put it into ~/.pg_service.conf and give ?service=NAME")
    password = url.query.get("password")
    return url.difference_update_query(["password"]).set(password=str(password)) if password else url


def connect(url: sa.URL, alone: bool = False) -> sa.Engine:
    """An engine for the database at `url`, see `address`. Connects on first use.

    Args:
        alone: to a server by one connection at most, for a `server.Session`.

    Raises:
        LudusError: no such driver, or an option that it does not take.
    """
    try:
        return server.connect(url, _json, alone) if on_server(url) else _sqlite(url)
    except ModuleNotFoundError as error:
        raise LudusError(f"{error}; `pip install 'ludus[postgresql]'` brings PostgreSQL's driver") from error
    except (ArgumentError, ValueError, TypeError) as error:  # of a driver that there is not, or of its options
        raise LudusError(f"database {url!s} cannot be used: {error}; give 'postgresql+psycopg://…'") from error


def on_server(url: sa.URL) -> bool:
    """Whether the rows are in PostgreSQL, and not in an SQLite file."""
    return url.get_backend_name() != "sqlite"


def _sqlite(url: sa.URL) -> sa.Engine:
    path = Path(url.database or "")

    def parsed(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise _damaged(path, f"{error} in {text[:40]!r}") from error

    if path.exists() and not os.access(path.parent, os.W_OK):
        # WAL needs a file beside the database even for reading; without the right to make it, read the file as frozen.
        frozen = {"mode": "ro"} if path.with_name(path.name + "-wal").exists() else {"immutable": "1"}
        url = url.set(database=FROZEN + quote(str(path))).update_query_dict({**frozen, "uri": "true"})
    engine = sa.create_engine(
        url, json_serializer=_json, json_deserializer=parsed, connect_args={"timeout": LOCK_TIMEOUT_S}
    )

    @event.listens_for(engine, "handle_error")
    def explain(context: sa.ExceptionContext) -> None:
        if "malformed" in str(context.original_exception):
            raise _damaged(path, str(context.original_exception)) from context.original_exception

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        journal = ["journal_mode = WAL"]
        if _without_shared_maps(path.parent):
            # WAL needs one. A rollback journal is as safe: who writes and who reads then wait for each other.
            # A database that is in WAL mode already can be opened without the map by one connection alone.
            journal = ["locking_mode = EXCLUSIVE", "journal_mode = DELETE", "locking_mode = NORMAL"]
        # FULL: a step reported as done is on the disk, also after a power cut, when NORMAL may lose the last commits.
        # A few fsyncs per step are nothing next to its seconds.
        for pragma in (*journal, "synchronous = FULL"):
            _patiently(cursor, f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _patiently(cursor: sqlite3.Cursor, statement: str) -> None:
    """Execute it, also where SQLite does not wait by itself: who changes a file's journal while another connection writes is
    refused at once."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            cursor.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _without_shared_maps(folder: Path) -> bool:
    try:
        return bool(filesystem.missing(folder, [filesystem.SHARED_MAPS]))
    except OSError:  # nothing can be written there, and nothing will
        return False


class NotBegun(LudusError):
    """A run that was stopped while it was made."""


class OtherVersion(LudusError):
    """A record of another version than this ludus reads."""

    def __init__(self, message: str, version: int):
        super().__init__(message)
        self.version = version


@contextmanager
def explained(engine: sa.Engine, directory: Path) -> Iterator[None]:
    """Turn the errors of a database that cannot be read into a `LudusError` that says what to do.

    Args:
        directory: the run's; of a list of runs, where the database is.
    """
    try:
        yield
    except DatabaseError as error:
        if files.is_full(error, directory):
            raise LudusError(f"the disk of {directory} is full; free some space and try again") from error
        if engine.dialect.name != "sqlite":
            why = (str(error.orig).splitlines() or ["unknown"])[0]  # hints of the server follow
            raise LudusError(f"cannot use the database {engine.url!s}: {why}; {server.AGAIN}") from error
        if "locked" in str(error):
            check_locks(engine.url)
            raise LudusError(
                f"the database of {directory} stayed locked for {LOCK_TIMEOUT_S} s; stop whoever holds it"
            ) from error
        name = engine.url.database or ""
        path = Path(unquote(name.removeprefix(FROZEN)) if name.startswith(FROZEN) else name)
        if not path.parent.is_dir():
            raise LudusError(
                f"the folder of the database {path} is missing; make {path.parent}, or name another database"
            ) from error
        if path != (directory / DATABASE).resolve():
            raise LudusError(f"cannot use the database {path}: {error.orig}; name another one") from error
        raise LudusError(f"{directory} holds no readable run ({error.orig}); choose another directory") from error


def check_locks(url: sa.URL) -> None:
    """
    Raises:
        LudusError: an SQLite file's folder has no locks. SQLite would wait for them as if somebody held them.
    """
    if url.get_backend_name() == "sqlite":
        with suppress(OSError):  # a folder that cannot be used has its own sentence
            filesystem.check(Path((url.database or "").removeprefix("file:")).parent, filesystem.POSIX_LOCKS)


@contextmanager
def writing(engine: sa.Engine, name: str) -> Iterator[sa.Connection]:
    """A transaction that waits for any other of the same `name`, a run's id. So the numbers of a run's rows grow in the
    order of its commits, and whoever reads the rows after the last one it knows misses none."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def find_run(engine: sa.Engine, directory: Path, run_id: str | None) -> str:
    """The id of the run of `directory`: `run_id`, or that of the only run in the database.

    Raises:
        LudusError: no such run, or one of another version; with what to do about it.
    """
    with explained(engine, directory), engine.connect() as connection:
        version, ids = version_of(connection), []
        if version not in (None, 1):
            runs = tables.runs.c
            where = sa.true() if run_id is None else runs.run_id == run_id
            found = connection.execute(sa.select(runs.run_id, runs.schema).where(where)).all()
            ids, version = [row.run_id for row in found], found[0].schema if found else None
    if version is None:
        raise NotBegun(
            f"the run in {directory} was stopped before it began; start it again with the command that made it"
        )
    if len(ids) > 1:
        raise LudusError(f"the database of {directory} holds {len(ids)} runs; say which: run_id={' or '.join(ids[:5])}")
    if version != tables.SCHEMA:
        mend = (
            f"upgrade it in place with `ludus convert {files.typed(directory)}`, which keeps a copy of the old database"
            if version == 1 and engine.dialect.name == "sqlite"
            else "open it with the ludus that made it, or start a new run"
        )
        raise OtherVersion(
            f"the run in {directory} has record version {version}, this ludus reads version {tables.SCHEMA}; {mend}",
            version,
        )
    return ids[0]


def version_of(connection: sa.Connection) -> int | None:
    """1 where the tables are those of version 1 and hold a run; None where they hold none, or where there is no table yet. Later
    versions name themselves in `runs.schema`.

    Raises:
        DatabaseError: tables, but not of a record.
    """
    there = sa.inspect(connection).get_table_names()
    if "runs" in there:
        return tables.SCHEMA
    if not there:
        return None
    return connection.execute(sa.text("SELECT schema FROM run")).scalar()


def make_room(engine: sa.Engine, directory: Path, run_id: str | None) -> None:
    """Delete the run of `directory` if nothing was made in it.

    Raises:
        LudusError: something was.
    """
    with explained(engine, directory), writing(engine, "ludus") as connection:
        there = sa.inspect(connection)
        if not there.has_table("runs") and not there.has_table("run"):
            return
        version = version_of(connection)
        if version == 1 or (version and not _all_empty(connection, run_id)):
            raise LudusError(
                f"{directory} already holds a run; continue it with `ludus resume {files.typed(directory)}` "
                f"or choose another directory"
            )
        if version is None:  # version 1, stopped before it began
            old = sa.MetaData()
            old.reflect(connection)
            old.drop_all(connection)
            return
        delete_run(connection, run_id)


def delete_run(connection: sa.Connection, run_id: str | None) -> None:
    """Delete the rows of a run from every table; with None, those of all runs."""
    there = set(sa.inspect(connection).get_table_names())  # not all, where the tables are of an older revision
    for table in (table for table in tables.metadata.sorted_tables if table.name in there):
        connection.execute(sa.delete(table).where(sa.true() if run_id is None else table.c.run_id == run_id))


def _all_empty(connection: sa.Connection, run_id: str | None) -> bool:
    runs = tables.runs.c
    where = sa.true() if run_id is None else runs.run_id == run_id
    found = connection.execute(sa.select(runs.run_id, runs.schema).where(where)).all()
    return all(row.schema == tables.SCHEMA and is_empty(connection, row.run_id) for row in found)


def is_empty(connection: sa.Connection, run_id: str) -> bool:
    """Whether nothing was made yet in the run (`tables.MADE`)."""
    made = (sa.select(t.c.number).where(t.c.run_id == run_id).limit(1) for t in tables.MADE)
    return all(connection.execute(query).first() is None for query in made)


def insert(connection: sa.Connection, table: sa.Table, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those of a run's rows whose natural key is not there yet."""
    if rows:
        statement = INSERT[connection.dialect.name](table).on_conflict_do_nothing()
        connection.execute(statement, [_storable(row, run_id) for row in rows])


def put(connection: sa.Connection, table: sa.Table, run_id: str, row: Mapping[str, Any]) -> None:
    """Insert a row, or overwrite the one of the same natural key."""
    statement = INSERT[connection.dialect.name](table)
    key = table.info["key"]
    new = {name: statement.excluded[name] for name in row if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new), [_storable(row, run_id)])


def _storable(row: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    return {k: _text(v) if isinstance(v, str) else v for k, v in row.items()} | {"run_id": run_id}


def _text(value: str) -> str:
    # PostgreSQL's text holds no NUL, and neither database holds what is no UTF-8: half a surrogate pair in a model's answer,
    # the name of a file in a command line.
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _damaged(path: Path, how: str) -> LudusError:
    return LudusError(f"database {path} is damaged: {how}; restore the run from a copy, or begin it anew elsewhere")


def _json(value: Any) -> str:
    # Sorted, so that two runs that built a dict in another order still have equal rows.
    return _text(json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} does not fit into a JSON column of the record")
