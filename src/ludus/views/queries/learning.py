"""What the policy can do: success per skill and template, learning curves, what grew, and the skills themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from ludus.lab.analysis import aggregate, curves_of, latest_counts, wilson
from ludus.lab.hindsight import ScoredVerdict, StatedBin, calibration, score
from ludus.lab.oversight import wrong_verdicts
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.skills.library import SkillLibrary
from ludus.skills.names import ObjectNames
from ludus.types import Curve, SuccessCount, Verdict

STAGES = {
    "seed-data": "seed data",
    "before": "before the rounds",
    "curve": "last in training",
    "after": "after the rounds",
}
"""What success is compared between -> its label: the episodes that it began with, and evaluations of the policy. That in training
counts only where there is none after the rounds."""


@dataclass(frozen=True)
class Rate:
    """A success rate with its 95 % Wilson interval. Success is that of a skill's last observation (success_at_end)."""

    n: int  # episodes
    successes: int
    rate: float  # successes / n
    low: float
    high: float


def rate_of(count: SuccessCount) -> Rate | None:
    """The rate of a count; None of no episodes."""
    if not count.n:
        return None
    low, high = wilson(count.successes, count.n)
    return Rate(count.n, count.successes, count.successes / count.n, low, high)


def pooled(counts: Iterable[SuccessCount]) -> Rate | None:
    """The rate over several counts."""
    found = list(counts)
    n, successes = sum(c.n for c in found), sum(c.successes for c in found)
    return rate_of(SuccessCount("", "", n, successes, successes))


# --- success per stage -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SuccessRow:
    """A skill or a template: its rate at each stage of `Success.stages`, None where it was not tried."""

    caption: str
    rates: tuple[Rate | None, ...]


@dataclass(frozen=True)
class Success:
    """Success at the stages that the run has reached."""

    stages: tuple[str, ...]  # labels
    templates: tuple[SuccessRow, ...]
    skills: tuple[SuccessRow, ...]
    episodes: int  # per skill, of the evaluations before and after
    temperature: float  # of the evaluated policy


def success(record: Reader, library: SkillLibrary) -> Success:
    """Success per template and per skill in the seed data, before and after the rounds."""
    counts = {STAGES[stage]: found for stage, found in _counts(record).items() if found}
    config = record.config
    return Success(
        tuple(counts),
        _rows({label: aggregate(found, library) for label, found in counts.items()}),
        _rows(counts),
        config.experiment.final_episodes,
        config.training.evaluation_temperature,
    )


def _counts(record: Reader) -> dict[str, list[SuccessCount]]:
    """Stage of STAGES -> counts per skill."""
    before, after = ([e.count for e in record.evaluations(stage)] for stage in ("before", "after"))
    curve = latest_counts(record.evaluations("curve")) if before and not after else []
    return {"seed-data": record.success_counts("seed-data"), "before": before, "curve": curve, "after": after}


def _rows(stages: Mapping[str, Sequence[SuccessCount]]) -> tuple[SuccessRow, ...]:
    by_caption = [{count.caption: rate_of(count) for count in counts} for counts in stages.values()]
    # the last stage has every skill, in the library's order
    captions = dict.fromkeys(caption for rates in reversed(by_caption) for caption in rates)
    return tuple(SuccessRow(caption, tuple(rates.get(caption) for rates in by_caption)) for caption in captions)


# --- what grew ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A template before and after the rounds, over the skills that were evaluated both times."""

    template: str
    before: Rate
    after: Rate
    judgement: Literal["better", "worse", "unclear"]  # at 95 %


@dataclass(frozen=True)
class Added:
    """A template whose skills joined the library during the run."""

    template: str
    skills: int
    round: int  # of the first
    accepted: bool  # all of them
    after: Rate | None  # pooled
    learned: bool  # the whole interval lies above 1/2


@dataclass(frozen=True)
class Growth:
    """What the rounds changed."""

    evaluated: bool  # before and after; otherwise only what was accepted on the way is known
    changes: tuple[Change, ...]
    added: tuple[Added, ...]

    @property
    def nothing(self) -> bool:
        """Whether the run was evaluated and nothing was learned."""
        better = any(c.judgement == "better" for c in self.changes)
        return self.evaluated and not better and not any(a.learned for a in self.added)


def growth(record: Reader, names: SkillLibrary | ObjectNames) -> Growth:
    """Templates that got better or worse between the two evaluations, and those that were added.

    Args:
        names: what templates are made by, the run's library or its `object_names`.
    """
    before, after = ({e.count.caption: e.count for e in record.evaluations(stage)} for stage in ("before", "after"))
    pooled = [aggregate([c for k, c in one.items() if k in before and k in after], names) for one in (before, after)]
    earlier, later = ({c.caption: rate_of(c) for c in one} for one in pooled)
    changes = [Change(t, a, b, _judge(a, b)) for t, a in earlier.items() if a and (b := later.get(t))]
    families = dict[str, list[Mapping[str, Any]]]()
    for skill in record.skills():
        if skill["round"] > 0:
            families.setdefault(names.template(skill["caption"]), []).append(skill)
    added = tuple(_added(template, skills, after) for template, skills in families.items())
    return Growth(bool(before and after), tuple(changes), added)


def _added(template: str, skills: Sequence[Mapping[str, Any]], after: Mapping[str, SuccessCount]) -> Added:
    rate = pooled(after[s["caption"]] for s in skills if s["caption"] in after)
    accepted = all(s["status"] == "accepted" for s in skills)
    first = min(s["round"] for s in skills)
    return Added(template, len(skills), first, accepted, rate, rate is not None and rate.low > 0.5)


def object_names(record: Reader) -> ObjectNames:
    """Of the run's objects, as its scenes name them; of none before the first round."""
    m = tables.messages.c
    query = sa.select(m.payload).where(m.run_id == record.run_id, m.kind == "scene").order_by(m.number).limit(1)
    return ObjectNames([name for row in record.query(query) for name in row["payload"].get("objects", ())])


def _judge(before: Rate, after: Rate) -> Literal["better", "worse", "unclear"]:
    """By the interval of a difference of two proportions, from their Wilson intervals (Newcombe 1998, method 10)."""
    difference = after.rate - before.rate
    if difference - math.hypot(after.rate - after.low, before.high - before.rate) > 0:
        return "better"
    if difference + math.hypot(after.high - after.rate, before.rate - before.low) < 0:
        return "worse"
    return "unclear"


# --- learning curves ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurvePoint:
    update: int
    rate: Rate | None


@dataclass(frozen=True)
class CurveVerdict:
    """What the analyst said of a curve at an update."""

    round: int
    update: int
    judgement: str
    probability: float
    why: str
    wrong_by: str = ""  # who has marked it as wrong

    def __str__(self) -> str:
        wrong = f" (wrong, says {self.wrong_by})" if self.wrong_by else ""
        return f"{self.judgement} ({self.probability:.0%}): {self.why}{wrong}"


def curve_verdicts(record: Reader) -> dict[str, list[CurveVerdict]]:
    """Template -> what the analyst said of its curve, oldest first."""
    found, wrong = dict[str, list[CurveVerdict]](), wrong_verdicts(record)
    for round_, update, v in record.verdicts():
        by = wrong.get((round_, update, v.caption), "")
        found.setdefault(v.caption, []).append(CurveVerdict(round_, update, v.judgement, v.probability, v.why, by))
    return found


@dataclass(frozen=True)
class TemplateCurve:
    template: str
    points: tuple[CurvePoint, ...]
    verdicts: tuple[CurveVerdict, ...]


def template_curve(curve: Curve, verdicts: Iterable[CurveVerdict] = ()) -> TemplateCurve:
    """The curve with its intervals."""
    counts = zip(curve.updates, curve.successes, curve.n, strict=True)
    points = tuple(CurvePoint(u, rate_of(SuccessCount(curve.caption, "", n, k, k))) for u, k, n in counts)
    return TemplateCurve(curve.caption, points, tuple(verdicts))


@dataclass(frozen=True)
class LearningCurves:
    curves: tuple[TemplateCurve, ...]
    round_starts: tuple[int, ...]  # updates at which rounds began to train
    decisions: tuple[str, ...]  # of the analysis on stopping, oldest first

    @property
    def last(self) -> int:
        """Update at which they end."""
        return max((p.update for c in self.curves for p in c.points), default=1)


def learning_curves(record: Reader, library: SkillLibrary) -> LearningCurves:
    """A curve per template with the analyst's verdicts, and where rounds began."""
    curves = curves_of(record.evaluations("curve"), library)
    updates = sorted({update for curve in curves for update in curve.updates})
    verdicts, first = curve_verdicts(record), dict[int, int]()  # round -> its first evaluation
    for round_, update, _ in record.verdicts():
        first[round_] = min(update, first.get(round_, update))
    starts = (max((u for u in updates if u < at), default=at) for round_, at in first.items() if round_ > 0)
    found = (template_curve(c, verdicts.get(c.caption, ())) for c in curves)
    return LearningCurves(tuple(found), tuple(starts), tuple(m.text for m in record.messages("decision")))


# --- how good the verdicts were ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VerdictScores:
    """One judge's verdicts against what became of the curves."""

    judge: str  # 'analyst', or 'statistical' where the analyst is another
    verdicts: int  # all, 'unclear' among them
    scored: tuple[ScoredVerdict, ...]
    bins: tuple[StatedBin, ...]

    @property
    def right(self) -> int:
        return sum(s.right for s in self.scored)


def verdict_scores(record: Reader, library: SkillLibrary) -> tuple[VerdictScores, ...]:
    """The analyst's verdicts and, where the analyst is not the built-in one, the statistical judge's beside them. A verdict is
    scored once the curve has a point near `HORIZON` times its updates; judges of whom nothing can be scored are left out."""
    curves = curves_of(record.evaluations("curve"), library)
    given = {"analyst": [(update, verdict) for _, update, verdict in record.verdicts()]}
    beside = [m.payload for m in record.messages("verdict") if "statistical" in m.payload]
    given["statistical"] = [(p["update"], Verdict(**p["statistical"])) for p in beside]
    found = []
    for judge, verdicts in given.items():
        scored = score(verdicts, curves)
        if scored:
            found.append(VerdictScores(judge, len(verdicts), tuple(scored), tuple(calibration(scored))))
    return tuple(found)


# --- skills ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SkillEntry:
    """A skill, where it comes from and how it stands."""

    caption: str
    template: str
    author: str  # 'base', 'extra', 'planner', 'person' or a model's name
    parents: tuple[str, ...]  # captions of the skills it was made from
    status: str  # see `ludus.record.tables.SKILL_STATUSES`
    round: int  # in which it joined; 0 for those the run began with
    changed: int  # round of its last status
    base: bool
    steps: int
    reward: str
    success: str
    hash: str


def skills(record: Reader, library: SkillLibrary) -> tuple[SkillEntry, ...]:
    """All skills of the run in the order they joined."""
    return tuple(SkillEntry(**row, template=library.template(row["caption"])) for row in record.skills())
