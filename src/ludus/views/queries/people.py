"""What people can still decide on, as a run stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ludus.experimenter.outside import Question
from ludus.lab.mailbox import open_question
from ludus.lab.oversight import interventions, unread, waiting_plans, waiting_skills
from ludus.lab.standing import ahead, is_vetoed, standing
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.views.queries.dialogue import Posting


@dataclass(frozen=True)
class StillOpen:
    """What the commands of `ludus.lab.oversight` have something to act on for."""

    paused: bool  # or so it will be before the next step
    stopping: bool  # the run ends after this round
    in_force: bool  # whether that was carried out: a run that computes, or waits for an answer, has only heard it
    plans: tuple[str, ...]  # ids of those that were not executed yet
    held: Mapping[str, str]  # id of a plan that waits for approval -> its task
    waiting: tuple[str, ...]  # captions of skills that wait for approval
    practised: tuple[str, ...]  # captions
    verdicts: tuple[tuple[str, str], ...]  # caption and step of the latest verdicts
    question: Question | None  # that waits for a person or an agent

    def decisions(self, p: Posting) -> tuple[tuple[str, str], ...]:
        """What can be said of a message: names of commands, and what they are followed by."""
        match p.kind:
            case "plan" if p.plan in self.held:
                names, about = ("approve", "reject"), p.plan or ""
            case "plan" if p.plan in self.plans:
                names, about = ("veto",), p.plan or ""
            case "candidate" if p.subject in self.waiting:
                names, about = ("approve", "reject"), p.subject
            case "candidate" if p.subject in self.practised:
                names, about = ("reject",), p.subject
            case "verdict" if (p.subject, p.step) in self.verdicts:
                names, about = ("wrong",), p.subject
            case _:
                return ()
        return tuple((name, about) for name in names)


def still_open(record: Reader, done: Sequence[Mapping[str, Any]] | None = None) -> StillOpen:
    """What people can still decide on.

    Args:
        done: the record's `interventions`, where they are known already.
    """
    p, v = tables.plans.c, tables.verdicts.c
    done = interventions(record) if done is None else done
    stand, soon = standing(done), ahead(done, [c.name for c in unread(record, done)])
    newest = record.query(sa.select(sa.func.max(p.round).label("round")).where(p.run_id == record.run_id))[0]["round"]
    plans = [] if newest is None or record.done(f"round/{newest}/collect/000") else record.plans(newest)
    step = sa.select(v.step).where(v.run_id == record.run_id).order_by(v.number.desc()).limit(1).scalar_subquery()
    verdicts = record.query(sa.select(v.caption, v.step).where(v.run_id == record.run_id, v.step == step))
    return StillOpen(
        soon.paused,
        soon.stopping,
        (soon.paused, soon.stopping) == (stand.paused, stand.stopping),
        tuple(plan.id for _, plan in plans if not is_vetoed(plan, stand.vetoed)),
        {id: plan.proposal.task for id, plan in waiting_plans(record, stand).items()},
        tuple(waiting_skills(record)),
        tuple(s["caption"] for s in record.skills() if s["status"] == "practising"),
        tuple((row["caption"], row["step"]) for row in verdicts),
        open_question(record),
    )
