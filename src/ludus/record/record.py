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

import math
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata as packages
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from ludus.config import Config, as_dict, from_dict
from ludus.record import database, files, tables
from ludus.record.lock import DirectoryLock
from ludus.types import LudusError, Message, Outcome, Plan, Proposal, Retrieval, Tally, Verdict

STEP_NAME = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*")
PACKAGES = ("ludus", "mujoco", "numpy", "torch", "safetensors", "sqlalchemy", "gymnasium")


class SkillLike(Protocol):
    """What the record keeps of a skill (`ludus.skills.library.Skill`, which this room may not import)."""

    @property
    def hash(self) -> str: ...
    @property
    def caption(self) -> str: ...
    @property
    def reward(self) -> str: ...
    @property
    def success(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def base(self) -> bool: ...


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


@dataclass(frozen=True)
class Posted:
    """A message as it stands in the room."""

    number: int  # grows with time; pass the last one seen to `Record.posted`
    at: float  # seconds since 1970
    step: str | None
    message: Message


@dataclass(frozen=True)
class Evaluation:
    """A point of one skill's learning curve."""

    stage: str  # 'before', 'after', 'round/1', ...
    update: int
    tally: Tally


@dataclass(frozen=True)
class StepTime:
    """When a step ran and how long it took."""

    name: str
    started: float  # seconds since 1970
    seconds: float


class Record:
    """Open with `Record.create` or `Record.open`; close it or use it as a context manager.

    Several threads may share a Record; each may have one open step of its own.
    """

    def __init__(self, directory: Path, engine: sa.Engine, lock: DirectoryLock | None):
        self.directory = directory
        self._engine = engine
        self._lock = lock
        self._local = threading.local()
        with self._reading() as connection:
            self._run = connection.execute(sa.select(tables.run)).mappings().one()

    # --- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, directory: str | Path, config: Config, *, url: str | None = None, command: str | None = None
    ) -> Record:
        """Begin a run in `directory`, which may exist but must not hold a run, and lock it.

        Args:
            url: SQLAlchemy URL of an empty database to use instead of `<directory>/ludus.db`.
            command: the command line to remember; by default this process's.

        Raises:
            LudusError: there is a run already, or no room or right to write.
        """
        directory = Path(directory)
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
                if connection.execute(sa.select(tables.run.c.schema)).first() is not None:
                    raise LudusError(
                        f"{directory} already holds a run; continue it with `ludus resume {directory}` "
                        f"or choose another directory"
                    )
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
            if not isinstance(error, LudusError) and files.is_full(error, directory):
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
            raise LudusError(f"{directory} holds no run (no ludus.db in it); start one with `ludus run`")
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

    # --- what the run is -------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        return from_dict(self._run["config"])

    @property
    def seed(self) -> int:
        return self._run["seed"]

    @property
    def command(self) -> str:
        """The command line that began the run."""
        return self._run["command"]

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version when the run began."""
        return self._run["versions"]

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return self._run["created"]

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

    def done(self, step: str) -> bool:
        """Whether `step` was committed."""
        with self._reading() as connection:
            return connection.execute(sa.select(tables.steps.c.name).filter_by(name=step)).first() is not None

    def result(self, step: str) -> dict[str, Any]:
        """The JSON left by a committed step.

        Raises:
            LudusError: not committed.
        """
        with self._reading() as connection:
            row = connection.execute(sa.select(tables.steps.c.result).filter_by(name=step)).first()
        if row is None:
            raise LudusError(f"step {step!r} of {self.directory} is not done; last done: {self.last_step()!r}")
        return row[0]

    def steps(self) -> list[StepTime]:
        """The committed steps, in order."""
        return [StepTime(r["name"], r["started"], r["seconds"]) for r in self._rows(tables.steps)]

    def last_step(self) -> str | None:
        with self._reading() as connection:
            query = sa.select(tables.steps.c.name).order_by(tables.steps.c.number.desc()).limit(1)
            return connection.execute(query).scalar()

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
            database.insert(
                connection, tables.messages, [_message_row(m, step.name if step else None) for m in messages]
            )

    def add_call(self, row: Mapping[str, Any]) -> None:
        """Write down a call to a model, see `tables.calls`, now: it is paid for, whatever becomes of the step."""
        with self._full_disk_explained(), self._engine.begin() as connection:
            database.insert(connection, tables.calls, [dict(row)])

    def calls(self) -> list[dict[str, Any]]:
        """All calls to models in order, as rows of `tables.calls`."""
        with self._reading() as connection:
            there = sa.inspect(connection).has_table(tables.calls.name)
        return self.rows(tables.calls) if there else []

    def add_messages(self, messages: Iterable[Message]) -> None:
        """Put messages into the room together with the open step."""
        step = self.open_step
        self._add(tables.messages, [_message_row(m, step.name if step else None) for m in messages])

    def add_skills(self, skills: Iterable[SkillLike], round: int = 0) -> None:
        """Skills that joined the library in `round` (0: those the run starts with)."""
        fields = ("hash", "caption", "reward", "success", "steps", "base")
        self._add(tables.skills, [{"round": round} | {f: getattr(s, f) for f in fields} for s in skills])

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        self._add(tables.outcomes, [asdict(o) for o in outcomes])

    def add_metrics(self, rows: Iterable[tuple[str, int, float]]) -> None:
        """`(name, update, value)`. Names that start with 'time/' are wall-clock: `content` leaves them out."""
        # NaN stands as NULL: SQLite does that by itself, PostgreSQL would keep a NaN, which equals nothing.
        values = [(n, int(u), None if math.isnan(v) else float(v)) for n, u, v in rows]
        self._add(tables.metrics, [{"name": n, "update": u, "value": v} for n, u, v in values])

    def add_evaluation(self, stage: str, update: int, tallies: Iterable[Tally]) -> None:
        """One point per skill of the curve `stage` after `update` updates."""
        self._add(tables.evaluations, [{"stage": stage, "update": update} | asdict(t) for t in tallies])

    def add_plan(self, round: int, plan: Plan) -> None:
        row = {"round": round, "id": plan.id, "steps": list(plan.steps)}
        self._add(tables.plans, [row | asdict(plan.proposal) | {"retrievals": [asdict(r) for r in plan.retrievals]}])

    def add_verdict(self, round: int, update: int, verdict: Verdict) -> None:
        self._add(tables.verdicts, [{"round": round, "update": update} | asdict(verdict)])

    def add_rows(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Rows of a table that has no function of its own here (the episode store's)."""
        self._add(table, rows)

    # --- reading: what was committed, in the order of the commits ----------------------------------------------

    def messages(self, kind: str | None = None) -> list[Message]:
        return [p.message for p in self.posted() if kind in (None, p.message.kind)]

    def posted(self, after: int = 0) -> list[Posted]:
        """Messages with a `number` above `after`, with their times."""
        return [
            Posted(
                r["number"],
                r["at"],
                r["step"],
                Message(
                    r["key"], r["sender"], r["addressee"], r["kind"], r["text"], tuple(r["images"]), dict(r["payload"])
                ),
            )
            for r in self._rows(tables.messages, tables.messages.c.number > after)
        ]

    def skills(self) -> list[dict[str, Any]]:
        """`hash, caption, reward, success, steps, base, round` of every skill, in the order they joined."""
        keys = ("hash", "caption", "reward", "success", "steps", "base", "round")
        return [{k: r[k] for k in keys} for r in self._rows(tables.skills)]

    def outcomes(self, step: str = "") -> list[Outcome]:
        """Outcomes of steps whose name starts with `step`."""
        keys = Outcome.__dataclass_fields__
        return [Outcome(**{k: r[k] for k in keys}) for r in self._rows(tables.outcomes, _of(tables.outcomes, step))]

    def tallies(self, step: str = "", actor: str | None = None) -> list[Tally]:
        """Outcomes counted per skill, in the order of their first outcome; of steps whose name starts with `step` and,
        if given, of episodes by `actor`."""
        o, e = tables.outcomes.c, tables.episodes.c
        query = sa.select(
            o.caption,
            o.skill,
            sa.func.count().label("n"),
            sa.func.sum(sa.cast(o.success, sa.Integer)).label("successes"),
            sa.func.sum(sa.cast(o.ever, sa.Integer)).label("ever"),
        ).where(_of(tables.outcomes, step))
        if actor is not None:
            query = query.join(tables.episodes, e.id == o.episode).where(e.actor == actor)
        query = query.group_by(o.caption, o.skill).order_by(sa.func.min(o.number))
        with self._reading() as connection:
            return [Tally(**r) for r in connection.execute(query).mappings()]

    def metrics(self, name: str = "") -> list[tuple[str, int, float]]:
        """`(name, update, value)` of metrics whose name starts with `name`."""
        column = tables.metrics.c.name
        return [
            (r["name"], r["update"], math.nan if r["value"] is None else r["value"])
            for r in self._rows(tables.metrics, column.startswith(name, autoescape=True))
        ]

    def evaluations(self, stage: str = "") -> list[Evaluation]:
        """Points of curves whose stage starts with `stage`."""
        column = tables.evaluations.c.stage
        return [
            Evaluation(r["stage"], r["update"], Tally(r["caption"], r["skill"], r["n"], r["successes"], r["ever"]))
            for r in self._rows(tables.evaluations, column.startswith(stage, autoescape=True))
        ]

    def plans(self, round: int | None = None) -> list[tuple[int, Plan]]:
        """`(round, plan)`, of one round or of all."""
        where = sa.true() if round is None else tables.plans.c.round == round
        return [
            (
                r["round"],
                Plan(
                    r["id"],
                    Proposal(r["task"], r["why"], r["success_probability"], r["goal"]),
                    tuple(r["steps"]),
                    tuple(Retrieval(**x) for x in r["retrievals"]),
                ),
            )
            for r in self._rows(tables.plans, where)
        ]

    def verdicts(self, round: int | None = None) -> list[tuple[int, int, Verdict]]:
        """`(round, update, verdict)`, of one round or of all."""
        where = sa.true() if round is None else tables.verdicts.c.round == round
        return [
            (r["round"], r["update"], Verdict(r["caption"], r["judgement"], r["probability"], r["why"]))
            for r in self._rows(tables.verdicts, where)
        ]

    def rows(self, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> list[dict[str, Any]]:
        """Rows of a table that has no function of its own here, as dicts."""
        return [dict(r) for r in self._rows(table, where)]

    def content(self) -> dict[str, Any]:
        """Table -> rows without wall-clock columns: equal for two runs with the same seed and configuration, however
        often each was killed and resumed."""
        content: dict[str, Any] = {}
        for table in tables.metadata.sorted_tables:
            hidden = tables.WALL_CLOCK.get(table.name, set()) | {"number"}
            found = self._rows(table)
            if table is tables.calls:  # asked at the same time, they come in any order; which of them failed is chance
                found = sorted((r for r in found if not r["attempt"]), key=lambda r: (r["key"], r["sample"]))
            rows = [{k: v for k, v in r.items() if k not in hidden} for r in found]
            if table is tables.metrics:
                rows = [r for r in rows if not r["name"].startswith("time/")]
            content[table.name] = rows
        return content

    # --- inside ------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            yield connection

    def _rows(self, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> Sequence[sa.RowMapping]:
        query = sa.select(table)
        if where is not None:
            query = query.where(where)
        if "number" in table.c:
            query = query.order_by(table.c.number)
        with self._reading() as connection:
            return connection.execute(query).mappings().all()

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
            last = self.last_step()
            safe = f"everything up to step {last!r} is safe" if last else "no step was done yet"
            raise LudusError(
                f"the disk of {self.directory} is full; {safe}: free some space and continue with "
                f"`ludus resume {self.directory}`"
            ) from error


def _of(table: sa.Table, step: str) -> sa.ColumnElement[bool]:
    """Rows of steps whose name starts with `step`; '' also takes the rows outside steps."""
    return table.c.step.startswith(step, autoescape=True) if step else sa.true()


def _message_row(message: Message, step: str | None) -> dict[str, Any]:
    row = {k: getattr(message, k) for k in ("key", "sender", "addressee", "kind", "text")}
    extra = {"images": list(message.images), "payload": dict(message.payload), "at": time.time(), "step": step}
    return row | extra


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = packages.version(package)
        except packages.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
