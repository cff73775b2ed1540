"""How a run ended and what came of it: the facts that the first line about a run is made of."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from ludus.lab.curriculum import PRACTISE
from ludus.lab.oversight import interventions
from ludus.lab.standing import standing
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.views.queries.learning import Growth, growth, object_names
from ludus.views.queries.runs import RunStatus, run_status

Problem = Literal[
    "the model never answered",
    "no task proposed",
    "no task executable",
    "every proposal failed",
    "nothing learned",
    "not evaluated",
]
Interventions = Sequence[Mapping[str, Any]]
GRAVE: tuple[Problem, ...] = (
    "the model never answered",
    "no task proposed",
    "no task executable",
    "every proposal failed",
)
"""What leaves of a run only what practice of known skills came to."""


@dataclass(frozen=True)
class Proposed:
    """The tasks that were proposed, over all rounds. What was practised for want of a proposal is not among them."""

    tasks: int
    executable: int  # those whose steps all have a skill
    tries: int  # robots that were told to do one
    successes: int  # of these


@dataclass(frozen=True)
class Questioned:
    """The questions that were put to models and people."""

    models: tuple[str, ...]
    calls: int
    answered: int  # with a usable answer


@dataclass(frozen=True)
class Conclusion:
    """How a run stands, and what came of it so far."""

    status: RunStatus
    rounds: int  # planned, at least in part
    asked: Questioned
    proposed: Proposed
    growth: Growth
    stopped_by: str | None  # who ended it before its last round

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What a reader must know before any success, the gravest first."""
        p, found = self.proposed, list[Problem]()
        if self.asked.calls and not self.asked.answered:
            found.append("the model never answered")
        elif self.rounds and not p.tasks:
            found.append("no task proposed")
        if p.tasks and not p.executable:
            found.append("no task executable")
        if p.tries and not p.successes:
            found.append("every proposal failed")
        if self.growth.nothing:
            found.append("nothing learned")
        elif self.status.kind == "experiment" and self.status.state == "done" and not self.growth.evaluated:
            found.append("not evaluated")
        return tuple(found)

    @property
    def tone(self) -> Literal["good", "warn", "bad"]:
        """Good is only what was finished and evaluated without a problem."""
        if self.status.state == "failed" or any(p in GRAVE for p in self.problems):
            return "bad"
        return "good" if self.status.state == "done" and not self.problems else "warn"


def conclusion(record: Reader, done: Interventions | None = None) -> Conclusion:
    """How a run stands, from its rows alone: no world is made.

    Args:
        done: `ludus.lab.oversight.interventions`, where they are known already.
    """
    p = tables.plans.c
    rows = record.query(sa.select(p.round, p.id, p.why, p.retrievals).where(p.run_id == record.run_id))
    proposed = {row["id"]: row["retrievals"] for row in rows if row["why"] != PRACTISE}
    executable = sum(all(r["caption"] is not None for r in retrievals) for retrievals in proposed.values())
    return Conclusion(
        run_status(record),
        max((row["round"] for row in rows), default=0),
        _asked(record),
        Proposed(len(proposed), executable, *_tries(record, proposed)),
        growth(record, object_names(record)),
        _stopped_by(interventions(record) if done is None else done),
    )


def _stopped_by(done: Interventions) -> str | None:
    if not standing(done).stopping:
        return None
    return next(d["author"] for d in reversed(done) if d["command"] == "stop" and d["outcome"] == "done")


def _tries(record: Reader, plans: Container[str]) -> tuple[int, int]:
    """How often robots were told to carry out one of these plans, and how often they did."""
    m = tables.messages.c
    query = sa.select(m.payload).where(m.run_id == record.run_id, m.kind == "outcome")
    told = [row["payload"] for row in record.query(query) if row["payload"].get("plan") in plans]
    return sum(t.get("n", 0) for t in told), sum(t.get("successes", 0) for t in told)


def _asked(record: Reader) -> Questioned:
    c = tables.calls.c
    # as text: PostgreSQL compares no JSON
    usable = sa.func.coalesce(sa.cast(c.answer, sa.Text), "null") != "null"
    count, answered = sa.func.count().label("n"), sa.func.sum(sa.case((usable, 1), else_=0)).label("answered")
    query = sa.select(c.model, count, answered).where(c.run_id == record.run_id)
    rows = record.query(query.group_by(c.model).order_by(c.model))
    return Questioned(tuple(r["model"] for r in rows), sum(r["n"] for r in rows), sum(r["answered"] for r in rows))
