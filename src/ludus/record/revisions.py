"""The revision of a database's tables, and alembic's migrations (`migrations/versions`), which carry older ones forward.

A revision adds: indexes, tables, columns that may be empty. So whoever reads, or writes with an older ludus, is not disturbed.
What would disturb them is another `tables.SCHEMA`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from ludus.record import tables
from ludus.types import LudusError

HEAD = "0003"
FIRST = "0001"
"""That of tables which have no revision yet."""
MIGRATIONS = Path(__file__).parent / "migrations"

version = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), primary_key=True),
)


def prepare(connection: sa.Connection) -> None:
    """Make the tables, or carry them forward, in the connection's transaction, which keeps others from doing the same.

    Raises:
        LudusError: tables of record version 1; no right to.
    """
    there = sa.inspect(connection)
    if there.has_table("run"):
        raise LudusError(f"database {connection.engine.url!s} is one of record version 1; give another one")
    if there.has_table("runs"):
        upgrade(connection)
    else:
        tables.metadata.create_all(connection)
        stamp(connection)


def stamp(connection: sa.Connection, revision: str = HEAD) -> None:
    """Say that the tables, which were just made, are of this revision."""
    version.create(connection)
    connection.execute(sa.insert(version).values(version_num=revision))


def is_behind(connection: sa.Connection) -> bool:
    """Whether the tables are of an older revision than those of this ludus. They may be of a newer one."""
    return (_revision(connection) or FIRST) < HEAD


def upgrade(connection: sa.Connection) -> None:
    """Carry the tables forward, in the connection's transaction, which keeps others from doing the same.

    Raises:
        LudusError: no right to.
    """
    if not is_behind(connection):
        return
    from alembic import command, config  # half a second, for what is done once in the life of a database

    try:
        if _revision(connection) is None:
            stamp(connection, FIRST)
        settings = config.Config()
        settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        settings.attributes["connection"] = connection
        command.upgrade(settings, HEAD)
    except ProgrammingError as error:
        why = (str(error.orig).splitlines() or ["unknown"])[0]
        raise LudusError(
            f"the tables of {connection.engine.url!s} are to be carried forward to revision {HEAD}, and {why}; let their owner "
            "open a run there, or give the command as their owner"
        ) from error


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(version.name):
        return None
    return connection.execute(sa.select(sa.func.max(version.c.version_num))).scalar()
