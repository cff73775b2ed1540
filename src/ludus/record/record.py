"""The record of a run: a directory, and rows in a database. Every process reads it or appends to it; none keeps the only
copy.

A run is a sequence of named, deterministic *steps*. A step exists once its commit returned; until then nothing of it
is in the database but its live messages, and doing it again from the same seeds gives the same rows and files:

    if not record.done("round/1/collect"):
        with record.commit("round/1/collect") as step:
            store.append(episodes)            # the file now, its rows with the step
            record.add_outcomes(outcomes)
            step.result = {"episodes": 64}    # read back with record.result("round/1/collect")

Knows nothing of worlds, skills' meaning, or learning.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ludus import machine
from ludus.config import Config, as_dict
from ludus.record import database, files, filesystem, objects, revisions, tables
from ludus.record.location import LOCATION, Location, discreet, way_to_world
from ludus.record.lock import Claim, lock_directory
from ludus.record.objects import Objects
from ludus.record.server import Session
from ludus.record.writer import Step, Writer
from ludus.types import LudusError

__all__ = ["Record", "Step"]

PACKAGES = ("ludus", "mujoco", "numpy", "torch", "safetensors", "sqlalchemy", "gymnasium")


class Record(Writer):
    """Open with `Record.create` or `Record.open`; close it or use it as a context manager.

    Several threads may share a Record; each may have one open step of its own.
    """

    @classmethod
    def create(
        cls,
        directory: str | Path,
        config: Config,
        *,
        url: str | Path | None = None,
        run_id: str | None = None,
        command: str | None = None,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Record:
        """Begin a run in `directory`, which may exist but must not hold a run in which anything was made, and lock it.

        Args:
            url: database to use instead of `<directory>/ludus.db`, which may hold other runs: the SQLAlchemy URL of one
                in SQLite or PostgreSQL, or the path of an SQLite file. The directory remembers it.
            run_id: the run's id in its database; by default the directory's name and eight random hex digits.
            command: the command line to remember; by default this process's.
            steps: name -> result of steps that the run begins with: there is no moment at which it exists without them.

        Raises:
            LudusError: there is a run already, the id is taken, there is no room or right to write, or the file system has no
                locks.
        """
        directory = files.named(directory)
        new = not directory.exists()
        _check_name(directory)
        place = Location.new(directory, url, run_id)
        engine, far = database.connect(place.url, alone=True), database.on_server(place.url)
        try:
            if not far:
                filesystem.check(directory, filesystem.FLOCK)
                database.check_locks(place.url)
            for part in ("", "shards", "checkpoints", "images"):
                (directory / part).mkdir(parents=True, exist_ok=True)
            lock = lock_directory(directory, needed=not far)
        except OSError as error:
            raise LudusError(f"cannot make the run directory {directory}: {error.strerror}; choose another") from error
        try:
            _make_room(directory)
            assert place.run_id is not None
            if config.record.objects:
                Objects(config.record.objects, directory, place.run_id).begin()
            session = session_of(directory, engine, place.run_id)
            _begin(directory, engine, place, config, command, steps or {})
            return cls(directory, engine, place.run_id, Claim(lock, session))
        except BaseException as error:
            engine.dispose()
            if lock:
                lock.release()
            full = files.is_full(error, directory)
            if new:
                files.remove(directory)
            if full and not isinstance(error, LudusError):
                raise LudusError(f"the disk of {directory} is full; free some space and start again") from error
            raise

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        write: bool = True,
        url: str | Path | sa.URL | None = None,
        run_id: str | None = None,
    ) -> Record:
        """Continue the run in `directory`; with `write=False` only read it, which needs no lock, while another process may
        be writing. A read-only Record may still `post` messages.

        Args:
            url: the database, where it is not the one that the directory remembers; written to, it remembers this one.
            run_id: the run, likewise. To look at the rows of a run that both name, no directory is needed.

        Raises:
            LudusError: no run there, one of another version, one that is running already, or, to write, the copy of a
                directory whose rows are in a database elsewhere.
        """
        directory = files.named(directory)
        if write and url is not None and run_id is not None:
            directory = objects.home_to_write(directory, url, run_id)
        named = url is not None and run_id is not None and not write
        place = Location.of(directory, url, run_id) if named or directory.is_dir() else None
        if place is None:
            why = f"holds no run (no {database.DATABASE} in it)" if directory.exists() else "does not exist"
            raise LudusError(
                f"{directory} {why}; name a run's directory, or make one with `ludus run`, `ludus collect` or `ludus train`"
            )
        if place.missing:
            raise LudusError(
                f"database {place.url.database} of the run in {directory} is missing; restore it from a copy"
            )
        try:
            lock = lock_directory(directory, needed=not database.on_server(place.url)) if write else None
        except OSError as error:
            raise LudusError(
                f"cannot write in {directory}: {error.strerror}; mend that, or open it to look at"
            ) from error
        engine = database.connect(place.url, alone=write)
        try:
            place.check_id(engine, directory)
            found = place.find(engine, directory)
            if not write:
                return cls(directory, engine, found, None)
            session = session_of(directory, engine, found)
            _carry_forward(directory, engine)
            _claim(directory, engine, found)
            if url is not None:
                Location(place.url, found).write(directory)
            record = cls(directory, engine, found, Claim(lock, session))
        except BaseException:
            engine.dispose()
            if lock:
                lock.release()
            raise
        return record._with_store()

    def _with_store(self) -> Record:
        """
        Raises:
            LudusError: the run has an object store that cannot be written to; the record is closed.
        """
        try:
            if self._objects:
                self._objects.begin()
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def shared(cls, directory: Path, engine: sa.Engine, run_id: str | None) -> Record:
        """The run of `directory` to look at, by an engine that others use as well.

        Raises:
            LudusError: no such run, or one of another version.
        """
        return cls(directory, engine, database.find_run(engine, directory, run_id), None)

    def discard(self) -> None:
        """Delete the run, in which nothing was made, and close the record: its rows in every table, and the directory with
        everything in it. For a command that begins a run and is then refused.

        A database in the directory that holds other runs is kept, and the directory with it.

        Raises:
            LudusError: something was made in the run, or the record was opened to look at.
        """
        self._must_write()
        runs = tables.runs.c
        with (
            database.explained(self._engine, self.directory),
            database.writing(self._engine, self.run_id) as connection,
        ):
            if not database.is_empty(connection, self.run_id):
                raise LudusError(f"{self.directory} holds results; delete it by hand if they are not needed")
            database.delete_run(connection, self.run_id)
            shared = connection.execute(sa.select(runs.run_id).limit(1)).first() is not None
        self._engine.dispose()
        if self._objects:
            self._objects.withdraw()
        if shared and self._engine.url == database.address(self.directory / database.DATABASE):
            files.remove(self.directory / LOCATION)
        else:
            files.remove(self.directory)
        self.close()

    def close(self) -> None:
        """Release the run. What was committed is on the disk already."""
        if self._claim:
            self._claim.release()
        self._engine.dispose()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def session_of(directory: Path, engine: sa.Engine, run_id: str) -> Session | None:
    """
    Raises:
        LudusError: the rows are on a server, and another process has the run.
    """
    if not database.on_server(engine.url):
        return None
    with database.explained(engine, directory):
        return Session(engine, run_id)


def _carry_forward(directory: Path, engine: sa.Engine) -> None:
    """See `revisions.upgrade`."""
    with database.explained(engine, directory), engine.connect() as connection:
        behind = revisions.is_behind(connection)
    if behind:
        with database.explained(engine, directory), database.writing(engine, "ludus") as connection:
            revisions.upgrade(connection)


def _make_room(directory: Path) -> None:
    """Delete a run in `directory` in which nothing was made, wherever its rows are.

    Raises:
        LudusError: something was made in it.
    """
    old = Location.of(directory)
    if old is None or old.missing:
        return
    engine, session = database.connect(old.url, alone=True), None
    try:
        if old.run_id is not None:
            session = session_of(directory, engine, old.run_id)
        old.check_id(engine, directory)
        database.make_room(engine, directory, old.run_id)
        (directory / LOCATION).unlink(missing_ok=True)
    finally:
        if session:
            session.release()
        engine.dispose()


def _claim(directory: Path, engine: sa.Engine, run_id: str) -> None:
    """Make `directory` the one that the run's row names.

    Raises:
        LudusError: the row names another one that holds the run too, and both have their rows in this database.
    """
    row = tables.runs.c.run_id == run_id
    with database.explained(engine, directory), engine.connect() as connection:
        known = Path(connection.execute(sa.select(tables.runs.c.directory).where(row)).scalar_one())
    here = directory.resolve()
    if known == here:
        return
    _check_name(here)
    if engine.url != database.address(directory / database.DATABASE):
        original = Location.of(known)
        if original is not None and original.run_id == run_id and not known.samefile(here):
            raise LudusError(
                f"{directory} is a copy of {known}, and both would write the rows of run {run_id!r} in {engine.url!s}; "
                f"open {known}, or delete it to go on in the copy"
            )
    with database.explained(engine, directory), database.writing(engine, run_id) as connection:
        connection.execute(sa.update(tables.runs).where(row).values(directory=str(here)))


def _check_name(directory: Path) -> None:
    whole = str(directory.resolve())
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise LudusError(f"the name of {whole!a} is no UTF-8, and would fit into no database; choose another") from None


def _begin(
    directory: Path,
    engine: sa.Engine,
    place: Location,
    config: Config,
    command: str | None,
    steps: Mapping[str, Mapping[str, Any]],
) -> None:
    """Make the tables where they are missing, and the run's row and first steps.

    Raises:
        LudusError: the database holds a run of this id, or another version's tables.
    """
    row = {
        "run_id": place.run_id,
        "schema": tables.SCHEMA,
        "directory": str(directory.resolve()),
        "config": as_dict(config) | way_to_world(config.world, directory),
        "seed": config.seed,
        "command": discreet(command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        "versions": {"python": platform.python_version()} | {name: machine.version(name) for name in PACKAGES},
        "created": time.time(),
    }
    runs = tables.runs.c
    with database.explained(engine, directory), database.writing(engine, "ludus") as connection:
        revisions.prepare(connection)
        for other in connection.execute(sa.select(runs.run_id, runs.schema)):
            if other.schema != tables.SCHEMA:
                raise LudusError(f"database {engine.url!s} has record version {other.schema}; give another one")
            if other.run_id == place.run_id:
                raise LudusError(f"database {engine.url!s} already holds a run {place.run_id!r}; give another run_id")
        assert place.run_id is not None
        database.insert(connection, tables.runs, place.run_id, [row])
        begun = [{"name": n, "result": dict(r), "started": row["created"], "seconds": 0.0} for n, r in steps.items()]
        database.insert(connection, tables.steps, place.run_id, begun)
        place.write(directory)  # before the commit: an id that another run has is never written
