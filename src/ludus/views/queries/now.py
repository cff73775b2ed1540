"""What a run is doing at this moment, as far as its record knows. What it does not know is None, never a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ludus.lab.oversight import interventions, waiting_plans
from ludus.lab.rounds import planned_rounds
from ludus.lab.standing import Standing, is_vetoed, standing
from ludus.record import StageState, tables
from ludus.record.mapping import StepTime
from ludus.record.reader import Reader
from ludus.types import Plan
from ludus.views.queries.runs import RunStatus, run_status

RECENT_ROUNDS = 3
"""How long a round takes is the mean of so many."""
MOVING = r"round/\d+/(collect|practice|settle)(/|$)"
"""Steps of a round in which robots move from beginning to end."""


@dataclass(frozen=True)
class Work:
    """A stage under way, or where the run stopped."""

    name: str  # 'round 1: training'
    done: int
    total: int
    unit: str  # 'update' or 'control step'; '' where the stage does not say
    per_s: float | None  # since it began; of a stage that waits for another, with its waiting
    left_s: float | None  # at this rate


@dataclass(frozen=True)
class Throughput:
    """What was done per second, lately."""

    updates: float | None  # of the last training that was committed
    episodes: float | None  # of the last phase of collecting
    control_steps: float | None  # of the same
    phase: str | None  # that phase: 'round/3/practice'


@dataclass(frozen=True)
class Utilisation:
    """What the last round that was finished spent its time on."""

    round: int
    seconds: float
    moving: float  # share of the time in which robots moved, measuring during training included
    waiting: float  # minutes of answers per minute of the round; above 1 where several were under way at once
    tokens: int  # in and out


@dataclass(frozen=True)
class QueuedPlan:
    """A plan of the latest round."""

    id: str
    task: str
    captions: tuple[str, ...]
    state: str  # 'executed', 'waiting', 'held' (for approval), or why it is not executed: 'vetoed', 'gap' (a skill is missing)
    outcome: str  # what the embodiment said of it


@dataclass(frozen=True)
class Spent:
    """What calls used of one limit of the budget."""

    what: str  # 'calls', 'tokens', 'usd', 'minutes'
    used: float
    limit: float | None  # of the settings that the run began with; None: no limit


@dataclass(frozen=True)
class Now:
    """A run as it is now. Times are seconds, or seconds since 1970."""

    status: RunStatus
    robots: int  # simulations side by side
    works: tuple[Work, ...]
    rounds_left: int  # at most: a run may be set to end earlier
    round_s: float | None  # a round, lately
    throughput: Throughput
    utilisation: Utilisation | None
    round: int  # of `plans`; 0 before the first
    plans: tuple[QueuedPlan, ...]
    asked_ahead: tuple[int, ...]  # rounds whose questions are being put already
    calls: int  # answered so far, or given up
    last_call: float | None
    unpriced: int  # calls of unknown price
    budget: tuple[Spent, ...]

    @property
    def left_s(self) -> float | None:
        """Of the rounds that are left, if they take as long as the latest ones."""
        return None if self.round_s is None else self.rounds_left * self.round_s


def now(record: Reader, stand: Standing | None = None) -> Now:
    """The run as it is now.

    Args:
        stand: how the commands so far leave it, where that is known already.
    """
    status, steps, config = run_status(record), record.steps(), record.config
    rounds = _rounds(steps)
    finished = [n for n, of in rounds.items() if any(s.name.endswith("/settle") for s in of)]
    recent = [sum(s.seconds for s in rounds[n]) for n in finished[-RECENT_ROUNDS:]]
    done = {s.name for s in steps}
    ahead = (n for name in done if (n := _round_of(name, "ahead")) and f"round/{n}/plan" not in done)
    round_, plans = _plans(record, done, stand or standing(interventions(record)))
    calls, last_call, unpriced, budget = _budget(record)
    return Now(
        status,
        config.world.n_envs,
        tuple(_work(stage, status) for stage in status.stages),
        0 if status.state == "done" else max(0, planned_rounds(record) - len(finished)),
        sum(recent) / len(recent) if recent else None,
        _throughput(record),
        _utilisation(record, finished[-1], rounds[finished[-1]]) if finished else None,
        round_,
        plans,
        tuple(sorted(ahead)),
        calls,
        last_call,
        unpriced,
        budget,
    )


def _rounds(steps: Sequence[StepTime]) -> dict[int, list[StepTime]]:
    found: dict[int, list[StepTime]] = {}
    for step in steps:
        if match := re.match(r"round/(\d+)/", step.name):
            found.setdefault(int(match[1]), []).append(step)
    return found


def _round_of(step: str, what: str) -> int:
    match = re.fullmatch(rf"round/(\d+)/{what}", step)
    return int(match[1]) if match else 0


def _work(stage: StageState, status: RunStatus) -> Work:
    unit = "update" if stage.name.endswith(": training") else ""
    if re.search(r"(collect|practice|measuring|trying|comparing)\b", stage.name):
        unit = "control step"
    seconds = stage.updated - stage.started
    per_s = stage.done / seconds if stage.done and seconds > 0 else None
    left = (stage.total - stage.done) / per_s if per_s and status.state == "running" else None
    return Work(stage.name, stage.done, stage.total, unit, per_s, left)


def _throughput(record: Reader) -> Throughput:
    m, s, t = tables.metrics.c, tables.shards.c, tables.steps.c
    last = sa.select(m.value).where(m.run_id == record.run_id, m.name == "time/updates_per_s")
    updates = record.query(last.order_by(m.number.desc()).limit(1))
    newest = record.query(sa.select(s.step).where(s.run_id == record.run_id).order_by(s.number.desc()).limit(1))
    phase = (newest[0]["step"] or "").rpartition("/")[0] if newest else ""
    seconds = episodes = transitions = None
    if phase:
        query = sa.select(sa.func.sum(s.episodes), sa.func.sum(s.transitions), sa.func.sum(t.seconds))
        query = query.join(tables.steps, sa.and_(t.run_id == s.run_id, t.name == s.step))
        query = query.where(s.run_id == record.run_id, s.step.startswith(f"{phase}/", autoescape=True))
        episodes, transitions, seconds = record.query(query)[0].values()
    return Throughput(
        updates[0]["value"] if updates else None,
        episodes / seconds if episodes and seconds else None,
        transitions / seconds if transitions and seconds else None,
        phase or None,
    )


def _utilisation(record: Reader, round_: int, steps: Sequence[StepTime]) -> Utilisation:
    total = sum(s.seconds for s in steps) or 1.0
    moving = sum(s.seconds for s in steps if re.match(MOVING, s.name))
    m = tables.metrics.c
    trained = sa.select(sa.func.sum(m.value).label("s")).where(
        m.run_id == record.run_id,
        m.name == "time/training_s",
        m.step.startswith(f"round/{round_}/train/", autoescape=True),
    )
    measuring = sum(s.seconds for s in steps if "/train/" in s.name) - (record.query(trained)[0]["s"] or 0.0)
    c = tables.calls.c
    first, last = min(s.started for s in steps), max(s.started + s.seconds for s in steps)
    used = sa.select(sa.func.sum(c.seconds), sa.func.sum(c.tokens_in + c.tokens_out)).where(
        c.run_id == record.run_id, c.replayed.is_(False), c.at >= first, c.at <= last
    )
    waited, tokens = record.query(used)[0].values()
    return Utilisation(
        round_, total, min(1.0, (moving + max(0.0, measuring)) / total), (waited or 0.0) / total, tokens or 0
    )


def _plans(record: Reader, done: set[str], stand: Standing) -> tuple[int, tuple[QueuedPlan, ...]]:
    p, m = tables.plans.c, tables.messages.c
    query = sa.select(sa.func.max(p.round).label("n")).where(p.run_id == record.run_id)
    round_ = record.query(query)[0]["n"] or 0
    said = sa.select(m.text, m.payload).where(
        m.run_id == record.run_id, m.step == f"round/{round_}/outcomes", m.kind == "outcome"
    )
    outcomes = {row["payload"].get("plan"): row["text"] for row in record.query(said)}
    collected, held = f"round/{round_}/outcomes" in done, waiting_plans(record, stand)

    def state(plan: Plan) -> str:
        if plan.gaps or plan.id in held:
            return "gap" if plan.gaps else "held"
        if plan.id not in outcomes and is_vetoed(plan, stand.vetoed):
            return "vetoed"
        return "executed" if plan.id in outcomes or collected else "waiting"

    return round_, tuple(
        QueuedPlan(
            plan.id,
            plan.proposal.task,
            plan.captions,
            state(plan),
            outcomes.get(plan.id, "").removeprefix(f"{plan.proposal.task}: "),
        )
        for _, plan in (record.plans(round_) if round_ else ())
    )


def _budget(record: Reader) -> tuple[int, float | None, int, tuple[Spent, ...]]:
    c, limits = tables.calls.c, record.config.budget
    query = sa.select(
        sa.func.count().label("calls"),
        sa.func.sum(c.tokens_in + c.tokens_out).label("tokens"),
        sa.func.sum(c.usd).label("usd"),
        (sa.func.sum(c.seconds) / 60).label("minutes"),
        sa.func.max(c.at).label("at"),
        (sa.func.count() - sa.func.count(c.usd)).label("unpriced"),
    ).where(c.run_id == record.run_id, c.replayed.is_(False))
    row = record.query(query)[0]
    spent = (
        Spent(what, row[what] or 0, getattr(limits, what) or None) for what in ("calls", "tokens", "usd", "minutes")
    )
    return row["calls"], row["at"], row["unpriced"], tuple(spent)
