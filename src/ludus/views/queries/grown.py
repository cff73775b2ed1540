"""What growth left in a record: gaps, the candidates written for them with their checks, and what was decided of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ludus.lab.oversight import interventions
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.skills.library import SkillLibrary
from ludus.views.queries.learning import CurvePoint, CurveVerdict, Rate, learning_curves


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Attempt:
    """A candidate that was written for a gap, with the checks that were made of it."""

    caption: str
    reward: str
    success: str
    steps: int
    prerequisites: str
    why: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> int:
        """Checks."""
        return sum(c.passed for c in self.checks)

    @property
    def failed(self) -> Check | None:
        """The check that stopped it."""
        return next((c for c in self.checks if not c.passed), None)


@dataclass(frozen=True)
class Decision:
    """What became of a practised family at the end of a round, by tries of the policy that acts from there on; or within one,
    where people have decided it."""

    round: int
    status: str  # 'accepted', 'practising' or 'dropped'
    practised: int  # rounds so far
    reason: str
    rate: Rate | None  # with its 95 % interval, pooled over the family
    evidence: float  # log e-value against 'its true success is no more than the floor'
    behind: tuple[str, ...]  # captions that are clearly worse than the family must be


@dataclass(frozen=True)
class GapEntry:
    """A step that no skill could do, and what was done about it."""

    round: int
    plan: str
    task: str
    missing: str  # the step in words
    template: str  # the step, with X, Y, Z for its objects
    key: str  # of the questions about it, without the attempt's number
    author: str  # who was asked to write: 'planner', 'person' or a model's name
    attempts: tuple[Attempt, ...]  # at most three; all but the last failed a check
    joined: tuple[str, ...]  # captions; empty where no candidate passed


@dataclass(frozen=True)
class Family:
    """A family of skills that grew for a gap, from there to what it came to."""

    gap: GapEntry
    template: str | None  # of the skills; None where none joined
    status: str  # of the skills; 'refused' where none joined
    practice_episodes: int
    points: tuple[CurvePoint, ...]
    verdicts: tuple[CurveVerdict, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Gate:
    """Whether the policy of a round replaces the one before."""

    round: int
    tried: str  # step of the training that made the new policy
    best: str  # step of the training whose policy acts from here on
    promoted: bool
    reason: str  # empty where there was nothing to compare
    looks: int  # pairs of episodes that were compared


def gaps(record: Reader) -> tuple[GapEntry, ...]:
    """Every gap that skills were written for, in order."""
    tasks = {plan.id: plan.proposal.task for _, plan in record.plans()}
    return tuple(
        GapEntry(
            round_,
            gap["plan"],
            tasks.get(gap["plan"], ""),
            gap["missing"],
            gap["template"],
            gap.get("key", f"{gap['plan']}/write"),  # runs of before 2026-11-26 keep none
            gap["author"],
            tuple(map(_attempt, gap["tried"])),
            tuple(gap["joined"]),
        )
        for round_, result, _ in round_steps(record, "grow")
        for gap in result["gaps"]
    )


def families(record: Reader, library: SkillLibrary) -> tuple[Family, ...]:
    """Every gap with the skills that came of it, in order."""
    curves = {c.template: c for c in learning_curves(record, library).curves}
    statuses = {s["caption"]: s["status"] for s in record.skills()}
    practised = practice_counts(record)
    found = []
    for gap in gaps(record):
        if not gap.joined:
            found.append(Family(gap, None, "refused", 0, (), (), ()))
            continue
        template = library.template(gap.joined[0])
        curve = curves.get(template)
        points, verdicts = (curve.points, curve.verdicts) if curve else ((), ())
        status, episodes = statuses.get(gap.joined[0], "candidate"), practised.get(template, 0)
        found.append(Family(gap, template, status, episodes, points, verdicts, decisions(record, template)))
    return tuple(found)


def decisions(record: Reader, template: str) -> tuple[Decision, ...]:
    """What was decided of a family, round by round."""
    settled = [
        Decision(
            round_,
            s["status"],
            s["rounds"],
            s["reason"],
            Rate(s["n"], round(s["rate"] * s["n"]), s["rate"], *s["interval"]) if s["n"] else None,
            s["evidence"],
            tuple(s["behind"]),
        )
        for round_, result, _ in round_steps(record, "settle")
        for s in result["skills"]
        if s["template"] == template
    ]
    said = [one for one in interventions(record) if template in one.get("templates", ())]
    status = {"approve": "practising", "reject": "dropped"}
    by_people = [
        Decision(
            one["round"],
            status[one["command"]],
            sum(d.round < one["round"] for d in settled),
            one["why"],
            None,
            0.0,
            (),
        )
        for one in said
    ]
    return tuple(sorted((*by_people, *settled), key=lambda d: d.round))


def gates(record: Reader) -> tuple[Gate, ...]:
    """The comparison of policies at the end of each round."""
    return tuple(
        Gate(
            round_,
            result["tried"],
            result["best"],
            result["best"] == result["tried"],
            gate["reason"] if gate else "",
            sum(f["n"] for f in gate["families"]) if gate else 0,
        )
        for round_, result, _ in round_steps(record, "settle")
        for gate in [result["gate"]]
    )


def trained_to(record: Reader) -> dict[str, int]:
    """Step of a training -> the update at which it ended."""
    e = tables.evaluations.c
    query = sa.select(e.step, sa.func.max(e.update).label("update")).where(
        e.run_id == record.run_id, e.stage == "curve"
    )
    return {row["step"]: row["update"] for row in record.query(query.group_by(e.step))}


# --- what the passports need, too ----------------------------------------------------------------------------------


def round_steps(record: Reader, what: str) -> Iterator[tuple[int, Mapping[str, Any], float]]:
    """`(round, result, seconds)` of the steps `round/N/<what>`, in order."""
    for step in record.steps():
        if match := re.fullmatch(rf"round/(\d+)/{what}", step.name):
            yield int(match[1]), record.result(step.name), step.seconds


@dataclass(frozen=True)
class Practice:
    """The episodes of one round that practised a family."""

    round: int
    template: str
    episodes: int
    steps: int  # control steps, whole episodes


def practice(record: Reader) -> tuple[Practice, ...]:
    """Every family that was practised, per round, in order."""
    e = tables.episodes.c
    template, count = e.info["practice"].as_string(), sa.func.count()
    query = sa.select(e.step, template, count, sa.func.sum(e.steps), sa.func.min(e.number))
    query = query.where(e.run_id == record.run_id, e.step.like("round/%/practice/%"))
    found: dict[tuple[int, str], list[int]] = {}
    for row in record.query(query.group_by(e.step, template).order_by(sa.func.min(e.number))):
        step, name, n, steps, _ = row.values()
        total = found.setdefault((int(step.split("/")[1]), name or ""), [0, 0])
        total[0], total[1] = total[0] + n, total[1] + steps
    return tuple(Practice(round_, name, n, steps) for (round_, name), (n, steps) in found.items())


def practice_counts(record: Reader) -> dict[str, int]:
    """Template -> episodes that practised it."""
    found: dict[str, int] = {}
    for p in practice(record):
        found[p.template] = found.get(p.template, 0) + p.episodes
    return found


def _attempt(tried: Mapping[str, Any]) -> Attempt:
    kept = {k: tried[k] for k in ("caption", "reward", "success", "steps", "prerequisites", "why")}
    return Attempt(**kept, checks=_checks(tried["checks"]))


def _checks(rows: Sequence[Mapping[str, Any]]) -> tuple[Check, ...]:
    return tuple(Check(c["name"], c["passed"], c["detail"]) for c in rows)
