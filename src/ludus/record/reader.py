"""Queries of one run's record: everything that was committed, in the order of the commits."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa

from ludus.config import Config, as_dict, from_dict
from ludus.config.overrides import former
from ludus.record import database, files, lock, mapping, objects, server, tables
from ludus.record.location import BESIDE, Location, world_at
from ludus.record.mapping import Evaluation, Heartbeat, Posted, StageState, StepTime
from ludus.types import LudusError, Message, Outcome, Plan, SuccessCount, Verdict

T = TypeVar("T")
RunState = Literal["running", "stopped", "failed", "done"]
LAST_STEPS = ("measure/after", "end")  # of `ludus run` and of `ludus train`
FAILED = ("diverged", "failed")
"""Kinds of the message with which a run ends that cannot go on."""
FRESH_S = 120.0
"""A process on another machine counts as running so long after its last heartbeat."""


class Reader:
    """The queries of a `Record`, which is what to open."""

    def __init__(self, directory: Path, engine: sa.Engine, run_id: str):
        self.directory, self.run_id = directory, run_id
        self._engine = engine
        self._run = self._ask(lambda connection: connection.execute(self._select(tables.runs)).mappings().one())
        url, self._objects = objects.url_of(self._run["config"]), None
        if url:
            self.directory = objects.home(directory, run_id)
            self._objects = objects.Objects(url, self.directory, run_id, self._object)

    # --- its files -------------------------------------------------------------------------------------------

    def file(self, relative: str) -> Path:
        """Where a file of the run is, to be read: `record.file("images/scene-1.png")`. From the object store if the run has one
        and the file is not in the directory, or not as it was written.

        Raises:
            LudusError: the store cannot be used, does not have it or has other bytes. Without a store nothing is looked at.
        """
        return self._objects.bring(relative) if self._objects else self.directory / relative

    def holds(self, relative: str) -> bool:
        """Whether the run has this file."""
        return (self.directory / relative).is_file() or bool(self._objects and self._object(relative))

    def names(self, folder: str) -> set[str]:
        """Files of the run in this folder: 'checkpoints/round-1-train-000.pt'."""
        here = {f"{folder}/{path.name}" for path in (self.directory / folder).glob("*") if path.is_file()}
        if self._objects is None:
            return here
        o = tables.objects.c
        query = sa.select(o.name).where(o.run_id == self.run_id, o.name.startswith(f"{folder}/", autoescape=True))
        return here | {row["name"] for row in self.query(query)}

    def _object(self, name: str) -> dict[str, Any] | None:
        found = self.query(self._select(tables.objects).filter_by(name=name))
        return dict(found[0]) if found else None

    # --- what the run is -------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        config = from_dict(former(self._kept_config))
        return replace(config, world=world_at(config.world, self._run["config"].get(BESIDE), self.directory))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are not the default: 'world.n_blocks' -> 2."""
        default = _default_settings()
        return {k: v for k, v in _leaves(former(self._kept_config)).items() if k not in default or default[k] != v}

    @property
    def _kept_config(self) -> dict[str, Any]:
        """The tree as it was written, perhaps by another version."""
        return {name: section for name, section in self._run["config"].items() if name != BESIDE}

    @property
    def secrets(self) -> dict[str, str]:
        """Environment variables by which another process may read the rows too: the directory does not know the password."""
        password = self._engine.url.password
        return {"PGPASSWORD": str(password)} if password else {}

    @property
    def schema(self) -> int:
        """Version of its rows, see `tables.SCHEMA`."""
        return self._run["schema"]

    @property
    def seed(self) -> int:
        return self._run["seed"]

    @property
    def command(self) -> str:
        """The command line that began the run."""
        return self._run["command"]

    @property
    def repeated(self) -> str | None:
        """'collect', 'import' or 'exam' where the same command, given again, continues it; None where `ludus resume` does."""
        found = re.match("ludus (collect|import|exam) ", self.command)
        return found[1] if found else None

    @property
    def going_on(self) -> str:
        """How it is gone on with, as a part of a sentence."""
        return f"the same `ludus {self.repeated}`" if self.repeated else "`ludus resume`"

    @property
    def command_again(self) -> str:
        """The same, with its directory."""
        return self.going_on if self.repeated else f"`ludus resume {files.typed(self.directory)}`"

    @property
    def versions(self) -> dict[str, str]:
        """Package -> version when the run began."""
        return self._run["versions"]

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return self._run["created"]

    @property
    def empty(self) -> bool:
        """Whether nothing was made yet: no episode, no training, no call. Another run may then replace it."""
        return self._ask(lambda connection: database.is_empty(connection, self.run_id))

    def heartbeat(self) -> Heartbeat | None:
        """The last sign of life of the process that writes the run: refreshed with everything that it writes."""
        found = self._rows(tables.heartbeats)
        return mapping.heartbeat(found[0]) if found else None

    def stages(self) -> list[StageState]:
        """Every stage that a process reported, in the order in which they first began."""
        return [mapping.stage(r) for r in self._rows(tables.stages)]

    def state(self) -> RunState:
        """How the run stands; the first of these that holds:

        - 'done': its last step, 'measure/after' or 'end', was committed. A directory of `ludus collect` has no last step.
        - 'running': a process holds the run's lock on the server of its rows, or the directory's where they are in a file. Where
          that says nothing, because the directory is out of reach or its process on another machine: the heartbeat is younger
          than `FRESH_S`.
        - 'failed': the last message says that the run diverged or failed.
        - 'stopped': else.
        """
        if self.is_over():
            return "done"
        if self._is_running():
            return "running"
        if self.is_over():  # since it was asked
            return "done"
        m = tables.messages.c
        last = self.query(sa.select(m.kind).where(m.run_id == self.run_id).order_by(m.number.desc()).limit(1))
        return "failed" if last and last[0]["kind"] in FAILED else "stopped"

    def is_over(self) -> bool:
        """Whether it has come to its end."""
        s = tables.steps.c
        return bool(self.query(sa.select(s.number).where(s.run_id == self.run_id, s.name.in_(LAST_STEPS))))

    def _is_running(self) -> bool:
        if database.on_server(self._engine.url):
            return self._ask(lambda connection: server.holder(connection, self.run_id)) is not None
        beat = self.heartbeat()
        try:
            place = Location.of(self.directory)
        except LudusError:  # out of reach, or damaged: the heartbeat tells
            place = None
        here = beat is None or beat.host == socket.gethostname()
        if here and place is not None and place.run_id in (None, self.run_id):
            held = lock.is_held(self.directory)
            if held is not None:
                return held
        return beat is not None and time.time() - beat.at < FRESH_S

    # --- steps -----------------------------------------------------------------------------------------------

    def done(self, step: str) -> bool:
        """Whether `step` was committed."""
        return bool(self.query(self._select(tables.steps).filter_by(name=step)))

    def result(self, step: str) -> dict[str, Any]:
        """The JSON left by a committed step.

        Raises:
            LudusError: not committed.
        """
        found = self.query(self._select(tables.steps).filter_by(name=step))
        if not found:
            raise LudusError(f"step {step!r} of {self.directory} is not done; last done: {self.last_step()!r}")
        return found[0]["result"]

    def steps(self) -> list[StepTime]:
        """The committed steps, in order."""
        return [mapping.step_time(r) for r in self._rows(tables.steps)]

    def last_step(self) -> str | None:
        last = self.query(self._select(tables.steps).order_by(tables.steps.c.number.desc()).limit(1))
        return last[0]["name"] if last else None

    # --- what they left ----------------------------------------------------------------------------------------

    def messages(self, kind: str | None = None) -> list[Message]:
        where = sa.true() if kind is None else tables.messages.c.kind == kind
        return [mapping.posted(r).message for r in self._rows(tables.messages, where)]

    def posted(self, after: int = 0) -> list[Posted]:
        """Messages with a `number` above `after`, with their times."""
        return [mapping.posted(r) for r in self._rows(tables.messages, tables.messages.c.number > after)]

    def calls(self) -> list[dict[str, Any]]:
        """All calls to models in order, as rows of `tables.calls`."""
        return self.rows(tables.calls)

    def skills(self) -> list[dict[str, Any]]:
        """`hash, caption, reward, success, steps, base, round` (in which it joined), `author, parents` (captions), `status`
        (see `tables.SKILL_STATUSES`) and `changed` (round of its last status) of every skill, in the order they joined."""
        latest = {change["caption"]: change for change in self._rows(tables.skill_changes)}
        return [mapping.skill(r, latest[r["caption"]]) for r in self._rows(tables.skills)]

    def outcomes(self, step: str = "") -> list[Outcome]:
        """Outcomes of steps whose name starts with `step`."""
        return [mapping.outcome(r) for r in self._rows(tables.outcomes, _of(tables.outcomes, step))]

    def success_counts(self, step: str = "", actor: str | None = None) -> list[SuccessCount]:
        """Outcomes counted per skill, in the order of their first outcome; of steps whose name starts with `step` and,
        if given, of episodes by `actor`."""
        o, e = tables.outcomes.c, tables.episodes.c
        query = sa.select(
            o.caption,
            o.skill,
            sa.func.count().label("n"),
            sa.func.sum(sa.cast(o.success_at_end, sa.Integer)).label("successes"),
            sa.func.sum(sa.cast(o.success_once, sa.Integer)).label("successes_once"),
        ).where(o.run_id == self.run_id, _of(tables.outcomes, step))
        if actor is not None:
            same = sa.and_(e.run_id == o.run_id, e.id == o.episode)
            query = query.join(tables.episodes, same).where(e.actor == actor)
        query = query.group_by(o.caption, o.skill).order_by(sa.func.min(o.number))
        return [SuccessCount(**row) for row in self.query(query)]

    def metrics(self, name: str = "") -> list[tuple[str, int, float]]:
        """`(name, update, value)` of metrics whose name starts with `name`."""
        where = tables.metrics.c.name.startswith(name, autoescape=True)
        return [mapping.metric(r) for r in self._rows(tables.metrics, where)]

    def evaluations(self, stage: str = "") -> list[Evaluation]:
        """Points of curves whose stage starts with `stage`."""
        where = tables.evaluations.c.stage.startswith(stage, autoescape=True)
        return [mapping.evaluation(r) for r in self._rows(tables.evaluations, where)]

    def plans(self, round: int | None = None) -> list[tuple[int, Plan]]:
        """`(round, plan)`, of one round or of all."""
        where = sa.true() if round is None else tables.plans.c.round == round
        return [(r["round"], mapping.plan(r)) for r in self._rows(tables.plans, where)]

    def verdicts(self, round: int | None = None) -> list[tuple[int, int, Verdict]]:
        """`(round, update, verdict)`, of one round or of all."""
        where = sa.true() if round is None else tables.verdicts.c.round == round
        return [(r["round"], r["update"], mapping.verdict(r)) for r in self._rows(tables.verdicts, where)]

    def rows(self, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> list[dict[str, Any]]:
        """This run's rows of a table that has no function of its own here, as dicts."""
        return [dict(r) for r in self._rows(table, where)]

    def query(self, statement: sa.Select) -> Sequence[sa.RowMapping]:
        """The rows of a statement that has no function of its own here. Whoever writes it also asks for this `run_id`."""
        return self._ask(lambda connection: connection.execute(statement).mappings().all())

    def content(self) -> dict[str, Any]:
        """Table -> rows without wall-clock columns: equal for two runs with the same seed and configuration, however
        often each was killed and resumed."""
        content: dict[str, Any] = {}
        for table in tables.metadata.sorted_tables:
            if table in tables.LIVE:
                continue
            hidden = tables.WALL_CLOCK.get(table.name, set()) | {"number", "run_id"}
            found = self._rows(table)
            if table is tables.calls:  # asked at the same time, they come in any order; which of them failed is chance
                found = sorted((r for r in found if not r["attempt"]), key=lambda r: (r["key"], r["sample"]))
            kept = [{k: v for k, v in r.items() if k not in hidden} for r in found]
            if table is tables.metrics:
                kept = [r for r in kept if not r["name"].startswith("time/")]
            content[table.name] = kept
        return content

    def _rows(self, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> Sequence[sa.RowMapping]:
        query = self._select(table)
        if where is not None:
            query = query.where(where)
        if "number" in table.c:
            query = query.order_by(table.c.number)
        return self.query(query)

    def _ask(self, work: Callable[[sa.Connection], T]) -> T:
        """What `work` reads by a connection: every query of a run goes through here."""
        with self._explained(), self._engine.connect() as connection:
            return work(connection)

    def _explained(self) -> AbstractContextManager[None]:
        """What SQLite refuses becomes a sentence inside; a server's errors are for those who wait for it."""
        return (
            nullcontext() if database.on_server(self._engine.url) else database.explained(self._engine, self.directory)
        )

    def _select(self, table: sa.Table) -> sa.Select:
        """All of this run's rows of a table: every query starts from here."""
        return sa.select(table).where(table.c.run_id == self.run_id)


def _of(table: sa.Table, step: str) -> sa.ColumnElement[bool]:
    """Rows of steps whose name starts with `step`; '' also takes the rows outside steps."""
    return table.c.step.startswith(step, autoescape=True) if step else sa.true()


@cache
def _default_settings() -> dict[str, Any]:
    return _leaves(as_dict(Config()))


def _leaves(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _leaves(value, f"{path}{name}.")
        else:
            leaves[path + name] = tuple(value) if isinstance(value, list) else value
    return leaves
