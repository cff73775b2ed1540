"""The record of a run: one directory with one database. Every process reads it or appends to it; none keeps the only
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

import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ludus.config import Config, as_dict
from ludus.record import database, files, mapping, tables
from ludus.record.lock import DirectoryLock
from ludus.record.mapping import SkillLike
from ludus.record.reader import Reader
from ludus.types import LudusError, Message, Outcome, Plan, SuccessCount, Verdict

STEP_NAME = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*")
PACKAGES = ("ludus", "mujoco", "numpy", "torch", "safetensors", "sqlalchemy", "gymnasium")


@dataclass
class Step:
    """An open step: its rows wait here until the commit."""

    name: str
    result: Mapping[str, Any] = field(default_factory=dict)  # JSON; whatever a resumed run must know of this step
    rows: list[tuple[sa.Table, list[dict[str, Any]]]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> int:
        """0, 1, 2, ... per `what`: for file names that are the same when the step is redone."""
        self.counts[what] = self.counts.get(what, -1) + 1
        return self.counts[what]


class Record(Reader):
    """Open with `Record.create` or `Record.open`; close it or use it as a context manager.

    Several threads may share a Record; each may have one open step of its own.
    """

    def __init__(self, directory: Path, engine: sa.Engine, lock: DirectoryLock | None):
        super().__init__(directory, engine)
        self._lock = lock
        self._local = threading.local()

    # --- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, directory: str | Path, config: Config, *, url: str | None = None, command: str | None = None
    ) -> Record:
        """Begin a run in `directory`, which may exist but must not hold a run in which anything was made, and lock it.

        Args:
            url: SQLAlchemy URL of an empty database to use instead of `<directory>/ludus.db`.
            command: the command line to remember; by default this process's.

        Raises:
            LudusError: there is a run already, or no room or right to write.
        """
        directory = Path(directory)
        new = not directory.exists()
        try:
            for part in ("", "shards", "checkpoints", "images"):
                (directory / part).mkdir(parents=True, exist_ok=True)
            lock = DirectoryLock(directory)
        except OSError as error:
            raise LudusError(f"cannot make the run directory {directory}: {error.strerror}; choose another") from error
        engine = database.connect(directory, url)
        try:
            with engine.begin() as connection:
                tables.metadata.create_all(connection)
                found = connection.execute(sa.select(tables.run.c.schema)).scalar()
                if found is not None and (found != tables.SCHEMA or not database.is_empty(connection)):
                    raise LudusError(
                        f"{directory} already holds a run; continue it with `ludus resume {directory}` "
                        f"or choose another directory"
                    )
                for table in tables.metadata.sorted_tables:
                    connection.execute(sa.delete(table))
                connection.execute(
                    sa.insert(tables.run).values(
                        schema=tables.SCHEMA,
                        config=as_dict(config),
                        seed=config.seed,
                        command=command if command is not None else " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                        versions=_versions(),
                        created=time.time(),
                    )
                )
            return cls(directory, engine, lock)
        except BaseException as error:
            engine.dispose()
            lock.release()
            if isinstance(error, LudusError):
                raise
            full = files.is_full(error, directory)
            if new:
                files.remove(directory)
            if full:
                raise LudusError(f"the disk of {directory} is full; free some space and start again") from error
            raise

    @classmethod
    def open(cls, directory: str | Path, *, write: bool = True, url: str | None = None) -> Record:
        """Continue the run in `directory`; with `write=False` only look at it, which needs no lock, while another
        process may be writing. A looking Record may still `post` messages.

        Raises:
            LudusError: no run there, one of another version, or one that is running already.
        """
        directory = Path(directory)
        if not directory.is_dir() or (url is None and not (directory / database.DATABASE).is_file()):
            why = f"holds no run (no {database.DATABASE} in it)" if directory.exists() else "does not exist"
            raise LudusError(
                f"{directory} {why}; name a run's directory, or make one with `ludus run`, `ludus collect` or `ludus train`"
            )
        try:
            lock = DirectoryLock(directory) if write else None
        except OSError as error:
            raise LudusError(
                f"cannot write in {directory}: {error.strerror}; mend that, or open it to look at"
            ) from error
        engine = database.connect(directory, url)
        try:
            database.check_version(directory, engine)
            if write:
                tables.metadata.create_all(engine)  # those that ludus had not when the run began
            return cls(directory, engine, lock)
        except BaseException:
            engine.dispose()
            if lock:
                lock.release()
            raise

    def close(self) -> None:
        """Give the directory free. What was committed is on the disk already."""
        self._engine.dispose()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the directory ---------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        return self._lock is not None

    def path(self, *parts: str) -> Path:
        """A path inside the run directory: `record.path("images", "scene-1.png")`."""
        return self.directory.joinpath(*parts)

    def write_file(self, relative: str, data: bytes) -> str:
        """Put a file into the run directory, whole or not at all; returns `relative`, e.g. for `Message.images`."""
        with self._full_disk_explained():
            files.write(self.directory / relative, data)
        return relative

    @contextmanager
    def replacing(self, relative: str) -> Iterator[Path]:
        """Yield a temporary path to make a file or directory at; it moves to `relative` when the body is through."""
        with self._full_disk_explained(), files.replacing(self.directory / relative) as temporary:
            yield temporary

    # --- steps -----------------------------------------------------------------------------------------------

    @property
    def open_step(self) -> Step | None:
        """The step that this thread is in."""
        return getattr(self._local, "step", None)

    @contextmanager
    def commit(self, step: str) -> Iterator[Step]:
        """Everything added by this thread inside the block is written with the step, in one transaction at its end.
        When the block raises, nothing of it is. Rows added inside cannot be read before.

        Messages that an earlier, unfinished attempt posted are withdrawn first: the step starts from a clean table.

        Raises:
            LudusError: a malformed name, a step within a step, one already done, or a full disk.
        """
        self._must_write()
        if not STEP_NAME.fullmatch(step):
            raise LudusError(f"step name {step!r} is not like 'round/1/collect' (a-z, 0-9, '-', '_', parted by '/')")
        if self.open_step is not None:
            raise LudusError(f"step {step!r} begins inside step {self.open_step.name!r}; commit that one first")
        if self.done(step):
            raise LudusError(f"step {step!r} of {self.directory} is already done; ask `record.done` first")
        started, clock = time.time(), time.perf_counter()
        self._local.step = opened = Step(step)
        try:
            with self._full_disk_explained():
                with self._engine.begin() as connection:
                    connection.execute(sa.delete(tables.messages).where(tables.messages.c.step == step))
                yield opened
                seconds = time.perf_counter() - clock
                row = {"name": step, "result": dict(opened.result), "started": started, "seconds": seconds}
                with self._engine.begin() as connection:
                    for table, rows in opened.rows:
                        database.insert(connection, table, rows)
                    database.insert(connection, tables.steps, [row])
        finally:
            self._local.step = None

    # --- adding: with the open step of this thread, or at once outside of one ---------------------------------

    def post(self, *messages: Message) -> None:
        """Put messages into the room now, for everyone to see, also inside a step. Keys make it idempotent."""
        step = self.open_step
        with self._full_disk_explained(), self._engine.begin() as connection:
            said = [mapping.of_message(m, step.name if step else None) for m in messages]
            database.insert(connection, tables.messages, said)

    def add_call(self, row: Mapping[str, Any]) -> None:
        """Write down a call to a model, see `tables.calls`, now: it is paid for, whatever becomes of the step."""
        with self._full_disk_explained(), self._engine.begin() as connection:
            database.insert(connection, tables.calls, [dict(row)])

    def add_messages(self, messages: Iterable[Message]) -> None:
        """Put messages into the room together with the open step."""
        step = self.open_step
        self._add(tables.messages, [mapping.of_message(m, step.name if step else None) for m in messages])

    def add_skills(self, skills: Iterable[SkillLike], round: int = 0) -> None:
        """Skills that joined the library in `round` (0: those the run starts with)."""
        self._add(tables.skills, [mapping.of_skill(s, round) for s in skills])

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        self._add(tables.outcomes, [mapping.of_outcome(o) for o in outcomes])

    def add_metrics(self, metrics: Iterable[tuple[str, int, float]]) -> None:
        """`(name, update, value)`. Names that start with 'time/' are wall-clock: `content` leaves them out."""
        self._add(tables.metrics, [mapping.of_metric(*m) for m in metrics])

    def add_evaluation(self, stage: str, update: int, counts: Iterable[SuccessCount]) -> None:
        """One point per skill of the curve `stage` after `update` updates."""
        self._add(tables.evaluations, [mapping.of_evaluation(stage, update, t) for t in counts])

    def add_plan(self, round: int, plan: Plan) -> None:
        self._add(tables.plans, [mapping.of_plan(round, plan)])

    def add_verdict(self, round: int, update: int, verdict: Verdict) -> None:
        self._add(tables.verdicts, [mapping.of_verdict(round, update, verdict)])

    def add_rows(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Rows of a table that has no function of its own here (the episode store's)."""
        self._add(table, rows)

    # --- inside ------------------------------------------------------------------------------------------------

    def _add(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        self._must_write()
        if not rows:
            return
        step = self.open_step
        if "step" in table.c:
            for row in rows:
                row["step"] = step.name if step else None
        if step:
            step.rows.append((table, rows))
        else:
            with self._full_disk_explained(), self._engine.begin() as connection:
                database.insert(connection, table, rows)

    def _must_write(self) -> None:
        if self._lock is None:
            raise LudusError(f"{self.directory} was opened to look at; open it with write=True to add to it")

    @contextmanager
    def _full_disk_explained(self) -> Iterator[None]:
        try:
            yield
        except LudusError:
            raise
        except Exception as error:
            if not files.is_full(error, self.directory):
                raise
            alone = re.match("ludus (collect|exam) ", self.command)
            again = f"the same `ludus {alone[1]}`" if alone else f"`ludus resume {self.directory}`"
            what_now = (
                "no step was done yet: free some space and start again"
                if self.empty
                else f"everything up to step {self.last_step()!r} is safe: free some space and continue with {again}"
            )
            raise LudusError(f"the disk of {self.directory} is full; {what_now}") from error


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = packages.version(package)
        except packages.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
