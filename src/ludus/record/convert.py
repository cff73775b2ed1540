"""Upgrade of a run directory from record version 1 to the present one.

Version 1 had one run per database (table `run`, no `run_id`), other names of columns and settings, and no status of skills.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from ludus.record import database, files, revisions, tables
from ludus.record.location import Location
from ludus.record.lock import DirectoryLock
from ludus.types import LudusError

BACKUP = "ludus.db.v1"
COLUMNS = {
    "outcomes": {"success_at_end": "success", "success_once": "ever"},
    "evaluations": {"successes_once": "ever"},
}
"""Table -> column -> its name in version 1."""
SECTIONS = {"pac": "agent"}
SETTINGS = {
    "sampling": {
        "own": "commanded_ratio",
        "achieved": "hindsight_ratio",
        "clone": "bc_labels",
        "balance_achieved": "balance_hindsight",
    },
    "training": {"parts": "microbatches"},
    "experimenter": {"ahead": "prefetch", "at_once": "max_concurrency"},
}
"""Section -> setting in version 1 -> its name now."""
VALUES = {"bc_labels": {"own": "commanded", "achieved": "hindsight"}}


def convert(directory: str | Path, upgrade_checkpoint: Callable[[Path], None] | None = None) -> bool:
    """Upgrade the run in `directory` in place; returns whether there was something to do.

    The old database is kept as `ludus.db.v1`. All rows are converted in one transaction: when the conversion is cut
    short, the run is still one of version 1 and can be converted again.

    Args:
        upgrade_checkpoint: called with the path of every checkpoint before the database is converted; must replace the
            file whole or not at all, and leave alone one that is upgraded already. By default checkpoints stay as they
            are: the names of the settings in them did not change.

    Raises:
        LudusError: no run in an SQLite file there, one that is running, a damaged one, or no room for the copy.
    """
    directory = Path(directory)
    path = directory / database.DATABASE
    if not path.is_file():
        raise LudusError(f"{directory} holds no {database.DATABASE} to convert; name a run's directory")
    try:
        lock = DirectoryLock(directory)
    except OSError as error:
        raise LudusError(f"cannot write in {directory}: {error.strerror}") from error
    try:
        with closing(sqlite3.connect(path, timeout=database.LOCK_TIMEOUT_S, isolation_level=None)) as connection:
            if _version(connection, directory) != 1:
                return False
            back_up(connection, directory / BACKUP)
            for checkpoint in sorted((directory / "checkpoints").glob("*.pt")):
                if upgrade_checkpoint is not None:
                    upgrade_checkpoint(checkpoint)
            place = Location.new(directory, None, None)
            _convert_rows(connection, directory, str(place.run_id))
            place.write(directory)  # cut short before it: the only run in the database is this one
        return True
    except (sqlite3.Error, OSError) as error:
        if files.is_full(error, directory):
            raise LudusError(f"the disk of {directory} is full; free some space and convert again") from error
        raise LudusError(f"{directory} cannot be converted ({error}); its database is whole, as it was") from error
    finally:
        lock.release()


def new_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of settings, `section -> setting -> value`, with the names of the present version. Other trees stay as they
    are but for sections of these names."""
    return {
        SECTIONS.get(section, section): _renamed(section, kept) if isinstance(kept, Mapping) else kept
        for section, kept in tree.items()
    }


def _renamed(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    names = SETTINGS.get(section, {})
    new = {names.get(name, name): value for name, value in settings.items()}
    return {k: VALUES[k].get(v, v) if k in VALUES else v for k, v in new.items()}


def _version(connection: sqlite3.Connection, directory: Path) -> int:
    there = _tables(connection)
    found = connection.execute("SELECT schema FROM run").fetchone() if "run" in there else None
    if "runs" in there:
        return tables.SCHEMA
    if found is None:
        raise LudusError(f"{directory} holds no run that began; start one with `ludus run`")
    return found[0]


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def back_up(connection: sqlite3.Connection, path: Path) -> None:
    """A copy of the database, whole or not at all. One that is there is from a conversion that was cut short."""
    if path.exists():
        return
    if shutil.disk_usage(path.parent).free < 3 * Path(path.parent, database.DATABASE).stat().st_size:
        raise LudusError(f"the disk of {path.parent} is too full for a copy of the database; free some space")
    with files.replacing(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, not three


def _convert_rows(connection: sqlite3.Connection, directory: Path, run_id: str) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        old = {name for name in _tables(connection) if name == "run" or name in tables.metadata.tables}
        columns = {name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")} for name in old}
        for (index,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall():
            connection.execute(f'DROP INDEX "{index}"')
        for name in old:
            connection.execute(f"ALTER TABLE {name} RENAME TO v1_{name}")
        for table in tables.metadata.sorted_tables:
            connection.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
            for index in table.indexes:
                connection.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
        connection.execute(str(CreateTable(revisions.version).compile(dialect=sqlite.dialect())))
        connection.execute(f"INSERT INTO {revisions.version.name} VALUES (?)", (revisions.HEAD,))
        _copy_run(connection, directory, run_id)
        for name in sorted(old - {"run"}):
            _copy(connection, tables.metadata.tables[name], columns[name], run_id)
        _add_statuses(connection)
        _rename_settings(connection)
        for name in old:
            connection.execute(f"DROP TABLE v1_{name}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _copy_run(connection: sqlite3.Connection, directory: Path, run_id: str) -> None:
    connection.execute(
        "INSERT INTO runs (run_id, schema, directory, config, seed, command, versions, created) "
        "SELECT ?, ?, ?, config, seed, command, versions, created FROM v1_run",
        (run_id, tables.SCHEMA, str(directory.resolve())),
    )


def _copy(connection: sqlite3.Connection, table: sa.Table, old: set[str], run_id: str) -> None:
    renamed = COLUMNS.get(table.name, {})
    source = {c.name: renamed.get(c.name, c.name) for c in table.c}
    values = {new: f'"{name}"' for new, name in source.items() if name in old}
    values["run_id"] = "?"
    if table is tables.skills:
        values |= {"author": "CASE WHEN base THEN 'base' ELSE 'extra' END", "parents": "'[]'"}
    names = ", ".join(f'"{name}"' for name in values)
    query = f"SELECT {', '.join(values.values())} FROM v1_{table.name} ORDER BY number"
    connection.execute(f"INSERT INTO {table.name} ({names}) {query}", (run_id,))


def _add_statuses(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO skill_changes (run_id, caption, round, status, step) "
        "SELECT run_id, caption, round, CASE WHEN base THEN 'base' ELSE 'accepted' END, step FROM skills ORDER BY number"
    )


def _rename_settings(connection: sqlite3.Connection) -> None:
    """In the run's configuration, and in the results of steps that hold a part of it."""
    for table, column in (("runs", "config"), ("steps", "result")):
        for row, text in connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
            tree = json.loads(text)
            new = json.dumps(new_settings(tree), sort_keys=True, ensure_ascii=False)
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))
