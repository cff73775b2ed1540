"""What can be asked of a record: everything that was committed, in the order of the commits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ludus.config import Config, from_dict
from ludus.record import database, mapping, tables
from ludus.record.mapping import Evaluation, Posted, StepTime
from ludus.types import LudusError, Message, Outcome, Plan, SuccessCount, Verdict


class Reader:
    """The reading half of a `Record`, which is what to open."""

    def __init__(self, directory: Path, engine: sa.Engine):
        self.directory = directory
        self._engine = engine
        with engine.connect() as connection:
            self._run = connection.execute(sa.select(tables.run)).mappings().one()

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
    def empty(self) -> bool:
        """Whether nothing was made yet, no episode, no training, no call: it may give way to another request."""
        with self._engine.connect() as connection:
            return database.is_empty(connection)

    # --- steps -----------------------------------------------------------------------------------------------

    def done(self, step: str) -> bool:
        """Whether `step` was committed."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(tables.steps.c.name).filter_by(name=step)).first() is not None

    def result(self, step: str) -> dict[str, Any]:
        """The JSON left by a committed step.

        Raises:
            LudusError: not committed.
        """
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(tables.steps.c.result).filter_by(name=step)).first()
        if row is None:
            raise LudusError(f"step {step!r} of {self.directory} is not done; last done: {self.last_step()!r}")
        return row[0]

    def steps(self) -> list[StepTime]:
        """The committed steps, in order."""
        return [mapping.step_time(r) for r in self._rows(tables.steps)]

    def last_step(self) -> str | None:
        with self._engine.connect() as connection:
            query = sa.select(tables.steps.c.name).order_by(tables.steps.c.number.desc()).limit(1)
            return connection.execute(query).scalar()

    # --- what they left ----------------------------------------------------------------------------------------

    def messages(self, kind: str | None = None) -> list[Message]:
        return [p.message for p in self.posted() if kind in (None, p.message.kind)]

    def posted(self, after: int = 0) -> list[Posted]:
        """Messages with a `number` above `after`, with their times."""
        return [mapping.posted(r) for r in self._rows(tables.messages, tables.messages.c.number > after)]

    def calls(self) -> list[dict[str, Any]]:
        """All calls to models in order, as rows of `tables.calls`."""
        with self._engine.connect() as connection:
            there = sa.inspect(connection).has_table(tables.calls.name)
        return self.rows(tables.calls) if there else []

    def skills(self) -> list[dict[str, Any]]:
        """`hash, caption, reward, success, steps, base, round` of every skill, in the order they joined."""
        return [mapping.skill(r) for r in self._rows(tables.skills)]

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
        ).where(_of(tables.outcomes, step))
        if actor is not None:
            query = query.join(tables.episodes, e.id == o.episode).where(e.actor == actor)
        query = query.group_by(o.caption, o.skill).order_by(sa.func.min(o.number))
        with self._engine.connect() as connection:
            return [SuccessCount(**r) for r in connection.execute(query).mappings()]

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
            kept = [{k: v for k, v in r.items() if k not in hidden} for r in found]
            if table is tables.metrics:
                kept = [r for r in kept if not r["name"].startswith("time/")]
            content[table.name] = kept
        return content

    def _rows(self, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> Sequence[sa.RowMapping]:
        query = sa.select(table)
        if where is not None:
            query = query.where(where)
        if "number" in table.c:
            query = query.order_by(table.c.number)
        with self._engine.connect() as connection:
            return connection.execute(query).mappings().all()


def _of(table: sa.Table, step: str) -> sa.ColumnElement[bool]:
    """Rows of steps whose name starts with `step`; '' also takes the rows outside steps."""
    return table.c.step.startswith(step, autoescape=True) if step else sa.true()
