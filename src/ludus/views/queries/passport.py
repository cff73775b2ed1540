"""Passports: all that a record knows of one skill or one family of skills, and a line about each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ludus.record import tables
from ludus.record.reader import Reader
from ludus.skills.files import FiledSkill
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount
from ludus.views.queries.dialogue import RoleCalls, role_calls
from ludus.views.queries.grown import (
    Decision,
    GapEntry,
    decisions,
    gaps,
    practice,
    practice_counts,
    round_steps,
)
from ludus.views.queries.learning import CurveVerdict, Rate, curve_verdicts, pooled

EVALUATIONS = ("curve", "before", "after")
"""Stages at which skills are evaluated, all from the world's first start."""


# --- a line per skill --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SkillRow:
    """A skill, or a family of them, and how well it does."""

    caption: str  # of a family: the template
    template: str
    skills: int  # 1, or the size of the family
    author: str
    status: str  # of a family whose skills differ: all of theirs
    round: int  # in which it joined; 0: from the start
    changed: int  # round of the last status
    measured: str  # 'after', or 'curve' before there is an evaluation at the end; '' where it was never evaluated
    update: int  # at which it was measured; 0 where it was not
    success: Rate | None
    practice_episodes: int  # of its family


def skill_rows(record: Reader, library: SkillLibrary) -> tuple[SkillRow, ...]:
    """A row per skill, in the order they joined."""
    latest, practised = _latest(record), practice_counts(record)
    return tuple(_row(s["caption"], [s], latest, practised, library) for s in record.skills())


def family_rows(record: Reader, library: SkillLibrary) -> tuple[SkillRow, ...]:
    """A row per template, in the order they joined; success is pooled over its skills. A skill alone keeps its caption."""
    latest, practised, members = _latest(record), practice_counts(record), dict[str, list[Mapping[str, Any]]]()
    for s in record.skills():
        members.setdefault(library.template(s["caption"]), []).append(s)
    named = {t if len(skills) > 1 else skills[0]["caption"]: skills for t, skills in members.items()}
    return tuple(_row(name, skills, latest, practised, library) for name, skills in named.items())


def _row(
    name: str,
    skills: Sequence[Mapping[str, Any]],
    latest: Mapping[str, tuple[str, int, SuccessCount]],
    practised: Mapping[str, int],
    library: SkillLibrary,
) -> SkillRow:
    measured = [latest[s["caption"]] for s in skills if s["caption"] in latest]
    last = max(measured, key=lambda m: m[1], default=("", 0, None))
    template = library.template(skills[0]["caption"])
    return SkillRow(
        name,
        template,
        len(skills),
        _joined(s["author"] for s in skills),
        _joined(s["status"] for s in skills),
        min(s["round"] for s in skills),
        max(s["changed"] for s in skills),
        last[0],
        last[1],
        pooled(count for _, _, count in measured),
        practised.get(template, 0),
    )


def _latest(record: Reader) -> dict[str, tuple[str, int, SuccessCount]]:
    """Caption -> stage, update and count of its evaluation at the end, or else the last point of its curve."""
    return {
        e.count.caption: (stage, e.update, e.count) for stage in ("curve", "after") for e in record.evaluations(stage)
    }


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


# --- a passport --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StatusChange:
    round: int
    status: str


@dataclass(frozen=True)
class Measured:
    """Success at one point of the training, pooled over the skills of the passport."""

    stage: str  # of EVALUATIONS
    update: int
    rate: Rate


@dataclass(frozen=True)
class Lineage:
    """Episodes of one phase of the run in which the skill was commanded: what it was learned from, besides hindsight."""

    phase: str  # 'seed-data', 'round/1/practice'
    episodes: int
    attempts: int
    successes: int  # at the end of the attempt
    steps: int  # control steps under the attempt


@dataclass(frozen=True)
class Cost:
    """What a family has cost. Seconds of a step that worked for several families are shared among them."""

    calls: RoleCalls | None  # for writing it; None where no model was asked
    practice_episodes: int
    practice_steps: int  # control steps of these, whole episodes
    growing_s: float  # asking, checking
    practising_s: float
    settling_s: float  # comparing policies, trying the skill


@dataclass(frozen=True)
class Passport:
    """A skill, or a family where a template was asked for. Texts are those of its first skill."""

    name: str
    captions: tuple[str, ...]
    template: str
    row: SkillRow
    parents: tuple[str, ...]
    history: tuple[StatusChange, ...]
    reward: str
    success: str
    prerequisites: str
    steps: int
    gap: GapEntry | None  # that it was written for, with every candidate and check; None of a skill that was there
    competence: tuple[Measured, ...]  # in the order of the evaluations
    decisions: tuple[Decision, ...]
    verdicts: tuple[CurveVerdict, ...]
    lineage: tuple[Lineage, ...]
    cost: Cost


def passport(record: Reader, library: SkillLibrary, name: str) -> Passport:
    """The passport of a skill, by its caption, or of a family, by its template ('stack X on Y' or 'stack _ on _').

    Raises:
        LudusError: no such skill.
    """
    captions = library.matching([name])
    known = {s["caption"]: s for s in record.skills()}
    skills = [known[c] for c in captions if c in known]
    if not skills:
        raise LudusError(f"{record.directory} has not begun, so nothing is known of {name!r}; continue it first")
    captions, template = tuple(s["caption"] for s in skills), library.template(captions[0])
    gap = next((g for g in gaps(record) if set(captions) & set(g.joined)), None)
    first = skills[0]
    shown = captions[0] if name in captions else template
    return Passport(
        name=shown,
        captions=captions,
        template=template,
        row=_row(shown, skills, _latest(record), practice_counts(record), library),
        parents=tuple(dict.fromkeys(p for s in skills for p in s["parents"])),
        history=_history(record, captions),
        reward=first["reward"],
        success=first["success"],
        prerequisites=_prerequisites(library, captions[0]),
        steps=first["steps"],
        gap=gap,
        competence=_competence(record, captions),
        decisions=decisions(record, template),
        verdicts=tuple(curve_verdicts(record).get(template, ())),
        lineage=_lineage(record, captions),
        cost=_cost(record, template, gap),
    )


@dataclass(frozen=True)
class FamilyCost:
    """A family that was written in the run, and what it has cost."""

    template: str
    status: str
    cost: Cost


def family_costs(record: Reader, library: SkillLibrary) -> tuple[FamilyCost, ...]:
    """What each family that joined has cost, in the order they joined."""
    statuses = {s["caption"]: s["status"] for s in record.skills()}
    return tuple(
        FamilyCost(template, statuses.get(gap.joined[0], ""), _cost(record, template, gap))
        for gap in gaps(record)
        if gap.joined
        for template in [library.template(gap.joined[0])]
    )


def filed(record: Reader, library: SkillLibrary, every: bool = False) -> tuple[FiledSkill, ...]:
    """The record's skills as a library file keeps them: base and accepted ones, or every one."""
    return tuple(
        FiledSkill(
            s["caption"],
            s["reward"],
            s["success"],
            s["steps"],
            s["base"],
            s["author"],
            s["parents"],
            _prerequisites(library, s["caption"]),
            s["status"],
        )
        for s in record.skills()
        if every or s["status"] in ("base", "accepted")
    )


def _history(record: Reader, captions: Sequence[str]) -> tuple[StatusChange, ...]:
    rows = record.rows(tables.skill_changes, tables.skill_changes.c.caption.in_(captions))
    return tuple(StatusChange(*change) for change in dict.fromkeys((r["round"], r["status"]) for r in rows))


def _prerequisites(library: SkillLibrary, caption: str) -> str:
    """Empty for a skill of another world than the record's."""
    return library[caption].prerequisites if caption in library else ""


def _competence(record: Reader, captions: Sequence[str]) -> tuple[Measured, ...]:
    points: dict[tuple[str, int], list[SuccessCount]] = {}
    for stage in EVALUATIONS:
        for e in record.evaluations(stage):
            if e.count.caption in captions:
                points.setdefault((stage, e.update), []).append(e.count)
    rates = {at: pooled(counts) for at, counts in points.items()}
    return tuple(Measured(stage, update, rate) for (stage, update), rate in rates.items() if rate is not None)


def _lineage(record: Reader, captions: Sequence[str]) -> tuple[Lineage, ...]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in record.rows(tables.outcomes, tables.outcomes.c.caption.in_(captions)):
        found.setdefault((row["step"] or "").rpartition("/")[0] or "outside of steps", []).append(row)
    o, e = tables.outcomes.c, tables.episodes.c
    told = sa.select(o.episode).where(o.run_id == record.run_id, o.caption.in_(captions))
    rows = record.query(sa.select(e.id, e.steps, e.segments).where(e.run_id == record.run_id, e.id.in_(told)))
    bounds = {r["id"]: [*(s[0] for s in r["segments"]), r["steps"]] for r in rows}

    def steps(row: Mapping[str, Any]) -> int:
        ends, i = bounds.get(row["episode"], []), row["segment"]
        return ends[i + 1] - ends[i] if i + 1 < len(ends) else 0

    return tuple(
        Lineage(
            phase,
            len({r["episode"] for r in rows}),
            len(rows),
            sum(r["success_at_end"] for r in rows),
            sum(map(steps, rows)),
        )
        for phase, rows in found.items()
    )


def _cost(record: Reader, template: str, gap: GapEntry | None) -> Cost:
    calls = [] if gap is None else [c for c in record.calls() if c["key"].startswith(f"{gap.key}/")]
    growing = sum(
        seconds / len(result["gaps"])
        for round_, result, seconds in round_steps(record, "grow")
        if gap is not None and round_ == gap.round
    )
    settling = sum(
        seconds / len(result["skills"])
        for _, result, seconds in round_steps(record, "settle")
        if template in [s["template"] for s in result["skills"]]
    )
    seconds, total, own, steps = _practice(record, template)
    practising = sum(s * own.get(n, 0) / total[n] for n, s in seconds.items() if total.get(n))
    return Cost(
        role_calls("write_skill", calls) if calls else None, sum(own.values()), steps, growing, practising, settling
    )


def _practice(record: Reader, template: str) -> tuple[dict[int, float], dict[int, int], dict[int, int], int]:
    """Per round: seconds of practice, its episodes, and those of a template; and the control steps of the last."""
    seconds, total, own, steps = dict[int, float](), dict[int, int](), dict[int, int](), 0
    for n, _, s in round_steps(record, r"practice/\d+"):
        seconds[n] = seconds.get(n, 0.0) + s
    for p in practice(record):
        total[p.round] = total.get(p.round, 0) + p.episodes
        if p.template == template:
            own[p.round], steps = p.episodes, steps + p.steps
    return seconds, total, own, steps
