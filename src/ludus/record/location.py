"""Which database a run directory belongs to, and as which run: `run.json` in the directory."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ludus.config import WorldConfig
from ludus.record import database, files, tables
from ludus.types import LudusError

LOCATION = "run.json"
RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
BESIDE = "from_run"
"""Key, next to a kept absolute path, of the same path relative to the run's directory."""


def discreet(text: str) -> str:
    """The text without the passwords of the addresses in it."""
    return re.sub(r"(://[^\s/@:]*:)[^\s@]*(?=@)|([?&]password=)[^\s&']*", r"\1\2***", text)


def way(path: str | Path, directory: Path) -> str:
    """The path of `path` relative to the run's directory, by which it is found when both were moved together."""
    return os.path.relpath(Path(path).resolve(), directory.resolve())


def found(whole: str, beside: str | None, directory: Path) -> str:
    """The absolute path `whole` that a run in `directory` keeps; if nothing is there any more, what lies at `beside`,
    relative to the directory, provided that something does."""
    if beside is not None and not os.path.exists(whole):
        moved = directory.resolve() / beside
        if moved.exists():
            return str(moved.resolve())
    return whole


def world_at(world: WorldConfig, beside: str | None, directory: Path) -> WorldConfig:
    """The world as a run in `directory` finds it: its file, if it has one, may have moved with the directory."""
    return world if world.file is None else world.at(found(str(world.file), beside, directory))


def way_to_world(world: WorldConfig, directory: Path) -> dict[str, str]:
    """What is kept with a world's settings for `world_at`."""
    return {} if world.file is None else {BESIDE: way(world.file, directory)}


@dataclass(frozen=True)
class Location:
    """Where the rows of a run are. `run_id` is None where the directory does not say: the only run in the database."""

    url: sa.URL
    run_id: str | None

    @classmethod
    def new(cls, directory: Path, url: str | Path | sa.URL | None, run_id: str | None) -> Location:
        """For a run that begins; without `run_id` under an id that no other run has.

        Raises:
            LudusError: a malformed id, or a database of an unknown kind.
        """
        if run_id is None:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.resolve().name)[:60]
            run_id = f"{name}-{uuid.uuid4().hex[:8]}"
        if not RUN_ID.fullmatch(run_id):
            raise LudusError(f"run_id {run_id!r} must be 1 to 100 of the characters A-Z, a-z, 0-9, '.', '_' and '-'")
        return cls(database.address(directory / database.DATABASE if url is None else url), run_id)

    @classmethod
    def of(cls, directory: Path, url: str | Path | sa.URL | None = None, run_id: str | None = None) -> Location | None:
        """That of the run in `directory`, None if there is none; `url` and `run_id` replace what `run.json` says.

        Raises:
            LudusError: `run.json` cannot be read.
        """
        path, own = directory / LOCATION, directory / database.DATABASE
        try:
            kept = json.loads(path.read_text()) if path.is_file() else {}
            where, name = kept.get("database"), kept.get("run_id")
            if where is not None and "://" not in where:
                where = found(where, kept.get(BESIDE), directory)
            if url is None and where is None and not own.is_file():
                return None
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise LudusError(
                f"{path} cannot be read ({error}); restore it from a copy, or give url and run_id"
            ) from error
        return cls(database.address(url or where or own), run_id or name)

    def check_id(self, engine: sa.Engine, directory: Path) -> None:
        """
        Raises:
            LudusError: the directory's own database holds other runs than the one that `run.json` names: one of the two files is
                another run's.
        """
        if self.run_id is None or self.url != database.address(directory / database.DATABASE):
            return
        with database.explained(engine, directory), engine.connect() as connection:
            there = sa.inspect(connection).has_table("runs")
            ids = connection.execute(sa.select(tables.runs.c.run_id)).scalars().all() if there else []
        if ids and self.run_id not in ids:
            raise LudusError(
                f"{directory / LOCATION} names the run {self.run_id!r}, the database beside it holds "
                f"{' and '.join(ids[:5])}; put the file there that belongs to it"
            )

    def find(self, engine: sa.Engine, directory: Path) -> str:
        """The id of the run of `directory`.

        Raises:
            NotBegun: the run was stopped before it had a row.
            LudusError: no such run, or one of another version; or `run.json` names another database than this one.
        """
        try:
            return database.find_run(engine, directory, self.run_id)
        except database.NotBegun as error:
            kept = Location.of(directory)
            if kept is None or kept.url == self.url:
                raise
            raise LudusError(
                f"the database {self.url!s} does not hold the run of {directory}, whose rows are in {kept.url!s}; leave --record "
                f"out, or move them with `ludus convert {files.typed(directory)} --record URL`"
            ) from error

    @property
    def missing(self) -> bool:
        """Whether the database is an SQLite file that is not there; opening it would make an empty one."""
        return self.url.get_backend_name() == "sqlite" and not Path(self.url.database or "").is_file()

    def write(self, directory: Path) -> None:
        """Write `run.json`, without the database's password: PostgreSQL's client finds that in PGPASSWORD or ~/.pgpass."""
        kept = {"run_id": self.run_id}
        if self.url.get_backend_name() == "sqlite":
            path = str(self.url.database)  # no URL: in its text '?' and '%' would mean something
            if path != str((directory / database.DATABASE).resolve()):
                kept |= {"database": path, BESIDE: way(path, directory)}
        else:
            kept["database"] = self.url._replace(password=None).render_as_string()
        files.write(directory / LOCATION, (json.dumps(kept) + "\n").encode())
