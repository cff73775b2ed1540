"""What the policy can do: success per skill and template, learning curves, what grew, and the skills themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ludus.lab.analysis import aggregate, curves_of, wilson
from ludus.lab.hindsight import ScoredVerdict, StatedBin, calibration, score
from ludus.lab.oversight import wrong_verdicts
from ludus.record.reader import Reader
from ludus.skills.library import SkillLibrary
from ludus.types import SuccessCount, Verdict

STAGES = {"seed-data": "seed data", "before": "before the rounds", "after": "after the rounds"}
"""What success is compared between -> its label: the episodes that it began with, and two evaluations of the policy."""


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
    found = {stage: [e.count for e in record.evaluations(stage)] for stage in ("before", "after")}
    return {"seed-data": record.success_counts("seed-data"), **found}


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
class NewSkill:
    """A skill that joined the library during the run."""

    caption: str
    round: int
    after: Rate | None
    learned: bool  # the whole interval lies above 1/2


@dataclass(frozen=True)
class Growth:
    """What the rounds changed."""

    evaluated: bool  # before and after; otherwise nothing is known
    changes: tuple[Change, ...]
    new_skills: tuple[NewSkill, ...]

    @property
    def nothing(self) -> bool:
        """Whether the run was evaluated and nothing was learned."""
        better = any(c.judgement == "better" for c in self.changes)
        return self.evaluated and not better and not any(s.learned for s in self.new_skills)


def growth(record: Reader, library: SkillLibrary) -> Growth:
    """Templates that got better or worse between the two evaluations, and skills that were added."""
    counts = _counts(record)
    before, after = ({c.caption: c for c in counts[stage]} for stage in ("before", "after"))
    pooled = [aggregate([c for k, c in one.items() if k in before and k in after], library) for one in (before, after)]
    earlier, later = ({c.caption: rate_of(c) for c in one} for one in pooled)
    changes = [Change(t, a, b, _judge(a, b)) for t, a in earlier.items() if a and (b := later.get(t))]
    added = [s for s in record.skills() if s["round"] > 0]
    rates = {caption: rate_of(count) for caption, count in after.items()}
    new = [(s, rates.get(s["caption"])) for s in added]
    learned = tuple(NewSkill(s["caption"], s["round"], r, r is not None and r.low > 0.5) for s, r in new)
    return Growth(bool(before and after), tuple(changes), learned)


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


@dataclass(frozen=True)
class LearningCurves:
    curves: tuple[TemplateCurve, ...]
    round_starts: tuple[int, ...]  # updates at which rounds began to train
    decisions: tuple[str, ...]  # of the analysis on stopping, oldest first


def learning_curves(record: Reader, library: SkillLibrary) -> LearningCurves:
    """A curve per template with the analyst's verdicts, and where rounds began."""
    curves = curves_of(record.evaluations("curve"), library)
    updates = sorted({update for curve in curves for update in curve.updates})
    verdicts, first = curve_verdicts(record), dict[int, int]()  # round -> its first evaluation
    for round_, update, _ in record.verdicts():
        first[round_] = min(update, first.get(round_, update))
    starts = (max((u for u in updates if u < at), default=at) for round_, at in first.items() if round_ > 0)
    found = (
        TemplateCurve(
            c.caption,
            tuple(
                CurvePoint(u, rate_of(SuccessCount(c.caption, "", n, k, k)))
                for u, k, n in zip(c.updates, c.successes, c.n, strict=True)
            ),
            tuple(verdicts.get(c.caption, ())),
        )
        for c in curves
    )
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
