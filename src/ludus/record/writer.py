"""Adding to one run's record: steps, and the rows and files that they leave."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ludus.record import database, files, mapping, storage, tables
from ludus.record.lock import Claim
from ludus.record.mapping import SkillLike, StageState
from ludus.record.reader import Reader
from ludus.record.server import Session
from ludus.record.storage import StorageError
from ludus.types import LudusError, Message, Outcome, Plan, SuccessCount, Verdict, unknown

T = TypeVar("T")
STEP_NAME = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*")


@dataclass
class Step:
    """An open step: its rows wait here until the commit."""

    name: str
    result: Mapping[str, Any] = field(default_factory=dict)  # JSON; whatever a resumed run must know of this step
    rows: list[tuple[sa.Table, list[dict[str, Any]]]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def count(self, what: str) -> int:
        """0, 1, 2, ... per `what`: for file names that are the same when the step is redone."""
        self.counts[what] = self.counts.get(what, -1) + 1
        return self.counts[what]


class Writer(Reader):
    """What a `Record`, which is what to open, can add."""

    def __init__(self, directory: Path, engine: sa.Engine, run_id: str, claim: Claim | None):
        self._claim, self._local = claim, threading.local()
        super().__init__(directory, engine, run_id)
        if self._objects and self.writable:
            self._objects.patience_s = storage.PATIENCE_S
        if self._session is not None:
            self._session.go_on = self.command_again
            self._ask(self._session.begin)

    # --- the directory ---------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        return self._claim is not None

    def path(self, *parts: str) -> Path:
        """A path inside the run directory: `record.path("images", "scene-1.png")`."""
        return self.directory.joinpath(*parts)

    def write_file(self, relative: str, data: bytes) -> str:
        """Put a file into the run directory, whole or not at all; returns `relative`, e.g. for `Message.images`."""
        with self.replacing(relative) as temporary:
            temporary.write_bytes(data)
        return relative

    @contextmanager
    def replacing(self, relative: str) -> Iterator[Path]:
        """Yield a temporary path to make a file or directory at; it moves to `relative` when the body is through. If the run has
        an object store, a file is there before.

        Raises:
            LudusError: a full disk; the store cannot be written to.
        """
        with self._full_disk_explained(), files.replacing(self.directory / relative) as temporary:
            yield temporary
            if temporary.is_file():
                self._upload(relative, temporary)

    def keep_file(self, relative: str) -> None:
        """Put a file that was written in the run's directory on the object store, if the run has one.

        Raises:
            LudusError: the store cannot be written to.
        """
        self._upload(relative, self.directory / relative)

    def remove_file(self, relative: str) -> None:
        """Delete a file of the run, if it is there: in its directory, and on its object store."""
        if self._objects and self.writable and (row := self._object(relative)) is not None:
            o = tables.objects.c
            gone = sa.delete(tables.objects).where(o.run_id == self.run_id, o.name == relative)
            self._write(lambda connection: connection.execute(gone))  # first: no row is to name what is not there
            self._objects.remove(row)
        (self.directory / relative).unlink(missing_ok=True)

    def _upload(self, relative: str, path: Path) -> None:
        if not (self._objects and self.writable):
            return
        try:
            row = self._objects.put(relative, path)
        except StorageError as error:
            raise LudusError(f"{error}; {self._what_now('when it is there again,')}") from error
        self._write(lambda connection: database.put(connection, tables.objects, self.run_id, row))

    # --- steps -----------------------------------------------------------------------------------------------

    @property
    def open_step(self) -> Step | None:
        """The step that this thread is in."""
        return getattr(self._local, "step", None)

    @contextmanager
    def commit(self, step: str) -> Iterator[Step]:
        """Everything added by this thread inside the block is written with the step, in one transaction at its end.
        When the block raises, nothing of it is. Rows added inside cannot be read before.

        Messages that an earlier, unfinished attempt posted are deleted first.

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
                m = tables.messages.c
                cut_short = sa.delete(tables.messages).where(m.run_id == self.run_id, m.step == step)
                self._write(lambda connection: connection.execute(cut_short))
                yield opened
                seconds = time.perf_counter() - clock
                row = {"name": step, "result": dict(opened.result), "started": started, "seconds": seconds}
                self._write(lambda connection: self._save(connection, opened, row), step)
        finally:
            self._local.step = None

    def _save(self, connection: sa.Connection, step: Step, row: dict[str, Any]) -> None:
        for table, rows in step.rows:
            database.insert(connection, table, self.run_id, rows)
        for old, new in step.renamed.items():
            self._rename(connection, old, new)
        database.insert(connection, tables.steps, self.run_id, [row])

    def set_aside(self, step: str, name: str) -> None:
        """Give a committed step another name, with the open step: it may then be done again, and what it left is kept. Its
        evaluations, whose stage is the last part of the step's name, follow."""
        assert self.open_step is not None
        self.open_step.renamed[step] = name

    def _rename(self, connection: sa.Connection, old: str, new: str) -> None:
        stages = [name.rpartition("/")[2] for name in (old, new)]
        for table in tables.metadata.sorted_tables:
            if "step" in table.c:
                connection.execute(
                    sa.update(table).where(table.c.run_id == self.run_id, table.c.step == old).values(step=new)
                )
        s, e = tables.steps.c, tables.evaluations.c
        connection.execute(sa.update(tables.steps).where(s.run_id == self.run_id, s.name == old).values(name=new))
        moved = sa.update(tables.evaluations).where(e.run_id == self.run_id, e.step == new, e.stage == stages[0])
        connection.execute(moved.values(stage=stages[1]))

    # --- adding: with the open step of this thread, or at once outside of one ---------------------------------

    def post(self, *messages: Message) -> None:
        """Add messages to the run's chat at once, also inside a step. A key that is there already adds nothing."""
        step = self.open_step
        self._insert(tables.messages, [mapping.of_message(m, step.name if step else None) for m in messages])

    def add_call(self, row: Mapping[str, Any]) -> None:
        """Add a call to a model, see `tables.calls`, at once: it is paid for, whatever becomes of the step."""
        self._insert(tables.calls, [row])

    def write_stage(self, state: StageState) -> None:
        """Write how far a stage has come, at once, over what was written of it before. See `ludus.record.progress`. A server that
        has gone is not waited for."""
        self._must_write()
        row = asdict(state)
        self._write(lambda connection: database.put(connection, tables.stages, self.run_id, row), needed=False)

    def add_skills(
        self,
        skills: Iterable[SkillLike],
        round: int = 0,
        author: str | None = None,
        parents: Iterable[str] = (),
        status: str | None = None,
    ) -> None:
        """Skills that joined the library in `round` (0: those the run starts with).

        Args:
            author: 'base', 'extra', 'planner', 'person' or a model's name; by default 'base' or 'extra', as `skill.base` says.
            parents: captions of the skills they were made from.
            status: one of `tables.SKILL_STATUSES`; by default 'base' or 'accepted', as `skill.base` says.
        """
        skills, parents = list(skills), tuple(parents)
        self._add(tables.skills, [mapping.of_skill(s, round, author, parents) for s in skills])
        statuses = [(s.caption, status or ("base" if s.base else "accepted")) for s in skills]
        self._change([mapping.of_status(caption, said, round) for caption, said in statuses])

    def set_skill_status(self, caption: str, status: str, round: int) -> None:
        """Change the status of a skill, with the open step. Within a round a status is taken once: setting it again, also
        after another one, changes nothing.

        Raises:
            LudusError: no such skill or status.
        """
        known = [s["caption"] for s in self.skills()]
        if step := self.open_step:
            known += [row["caption"] for table, rows in step.rows if table is tables.skills for row in rows]
        if caption not in known:
            raise unknown("skill", caption, known)
        self._change([mapping.of_status(caption, status, round)])

    def _change(self, changes: list[dict[str, Any]]) -> None:
        for change in changes:
            if change["status"] not in tables.SKILL_STATUSES:
                raise unknown("status of a skill", change["status"], tables.SKILL_STATUSES)
        self._add(tables.skill_changes, changes)

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
            self._insert(table, rows)

    def _insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        self._write(lambda connection: database.insert(connection, table, self.run_id, rows))

    @property
    def _session(self) -> Session | None:
        return self._claim.session if self._claim else None

    def _ask(self, work: Callable[[sa.Connection], T]) -> T:
        if self._session is None:
            return super()._ask(work)
        return self._session.patiently(lambda _: super(Writer, self)._ask(work))

    def _write(self, work: Callable[[sa.Connection], object], step: str | None = None, needed: bool = True) -> None:
        """Do `work` in a transaction. Where the server has gone in the middle, it is done again, and changes nothing that
        the first attempt has committed.

        Args:
            step: the one that it commits; if its name is there, an earlier attempt has committed it.
            needed: a server that has gone is waited for.
        """
        with self._full_disk_explained():
            if self._session is None:
                self._write_once(work, None)
            elif needed:
                self._session.patiently(lambda again: self._write_once(work, step if again else None))
            else:
                self._session.once(lambda _: self._write_once(work, None))

    def _write_once(self, work: Callable[[sa.Connection], object], known: str | None) -> None:
        s = tables.steps.c
        with database.writing(self._engine, self.run_id) as connection:
            if (
                known is None
                or not connection.execute(sa.select(s.number).where(s.run_id == self.run_id, s.name == known)).all()
            ):
                work(connection)
            if self.writable:  # everything that the run's own process writes is a sign of life
                beat = {"pid": os.getpid(), "host": socket.gethostname(), "at": time.time()}
                database.put(connection, tables.heartbeats, self.run_id, beat)
                if self._session is not None:
                    self._session.beats(beat)
        if self._session is not None:
            self._session.beaten()

    def _must_write(self) -> None:
        if self._claim is None:
            raise LudusError(f"{self.directory} was opened to look at; open it with write=True to add to it")

    @contextmanager
    def _full_disk_explained(self) -> Iterator[None]:
        try:
            yield
        except LudusError:
            raise
        except Exception as error:
            if not files.is_full(error, self.directory):
                with self._explained():
                    raise
            what_now = self._what_now("free some space and")
            raise LudusError(f"the disk of {self.directory} is full; {what_now}") from error

    def _what_now(self, first: str) -> str:
        if self.empty:
            return f"no step was done yet: {first} start again"
        return f"everything up to step {self.last_step()!r} is safe: {first} continue with {self.command_again}"
