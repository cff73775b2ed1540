"""What a study came to: the metrics of each run from its record, and per arm and pair of arms what they say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import fmean

import numpy as np

from ludus.config import WorldConfig
from ludus.experiment.study_file import METRICS, Card, Study
from ludus.experiment.trials import Trial, stands, why
from ludus.lab.analysis import latest_counts
from ludus.lab.resampling import TESTS, Estimate, estimate, iqm, least_p, mean
from ludus.record import Record, tables
from ludus.record.reader import Reader
from ludus.skills.library import SkillLibrary
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError
from ludus.views.queries.dialogue import model_calls
from ludus.views.queries.diversity import Diversity, Grid, diversity
from ludus.views.queries.grown import gates
from ludus.views.queries.learning import growth, object_names
from ludus.worlds.registry import make_world

Scores = Mapping[str, float]
"""Skill, or '' for what is no skill's, -> a number. The metric is their mean; of none it is not known."""
CUBES = Grid((-5.0, -5.0), (5.0, 5.0), tuple(0.05 * k for k in range(1, 41)), cell=0.05)
"""Of 5 cm, as far as objects of any world may be; those in which none was are not counted."""


@dataclass(frozen=True)
class TrialResult:
    """One run of a study."""

    name: str  # of its directory
    arm: str
    seed: int
    state: str  # see `ludus.experiment.trials.State`; 'unreadable'
    why: str  # the last that was heard of one that has not come to its end
    report: str | None  # its path in the study's directory
    metrics: Mapping[str, float | None]  # of a run that is done: every metric, None where it says nothing
    scores: Scores  # of the card's metric
    areas: Scores  # every skill's success, mean over the run's episodes; 0 before it joined
    curve: tuple[tuple[int, float], ...]  # episodes so far, success on the skills that the run began with


@dataclass(frozen=True)
class ArmResult:
    """The card's metric in the runs of an arm that are done."""

    name: str
    settings: tuple[str, ...]
    values: tuple[float | None, ...]  # per seed of the study
    mean: Estimate | None
    iqm: Estimate | None
    pooled: int  # numbers per run that the iqm is taken of: its skills, or 1
    others: Mapping[str, float | None]  # every metric, mean over the arm's runs


@dataclass(frozen=True)
class Comparison:
    """One arm less another, by pairs of equal seed."""

    first: str
    second: str
    differences: tuple[float | None, ...]  # per seed; None where one of the two is not known
    mean: Estimate | None
    p: float | None
    least_p: float | None  # that so few pairs can give


@dataclass(frozen=True)
class StudyResult:
    """A study as far as it has come."""

    name: str
    sha256: str  # of its card
    card: Card
    seeds: tuple[int, ...]
    fork: str | None
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    runs: tuple[TrialResult, ...]

    @property
    def unfinished(self) -> tuple[TrialResult, ...]:
        return tuple(run for run in self.runs if run.state != "done")


def study_result(study: Study, sha256: str, trials: Sequence[Trial]) -> StudyResult:
    """The result of a study's runs as they stand; those that are not done are listed and count nowhere."""
    runs = tuple(_result(trial, study.card.metric) for trial in trials)
    arms = tuple(_arm(study, arm.name, arm.settings, runs) for arm in study.arms)
    values = {arm.name: arm.values for arm in arms}
    compared = tuple(_comparison(a, b, values[a], values[b], study.card.test) for a, b in study.card.compare)
    fork = study.fork and f"{study.fork.run}, after round {study.fork.round}"
    return StudyResult(study.name, sha256, study.card, study.seeds, fork, arms, compared, runs)


# --- one run -----------------------------------------------------------------------------------------------------


def _base_success(record: Reader) -> Scores:
    return _at_end(record, lambda round_: round_ == 0)


def _new_success(record: Reader) -> Scores:
    return _at_end(record, lambda round_: round_ > 0)


def _accepted(record: Reader) -> Scores:
    added = growth(record, object_names(record)).added
    return {"": float(sum(family.accepted for family in added))}


def _curve_area(record: Reader) -> Scores:
    begun = _captions(record, lambda round_: round_ == 0)
    return {caption: area for caption, area in areas(curves(record)).items() if caption in begun}


def _graphs(record: Record) -> Scores:
    return {"": float(_diversity(record).everywhere.graphs)}


def _places(record: Record) -> Scores:
    coverage = _diversity(record).coverage
    return {} if coverage is None else {"": float(coverage.cells)}


@lru_cache(maxsize=1)  # of the record whose metrics are being computed
def _diversity(record: Record) -> Diversity:
    vocabulary = _vocabulary(record.config.world)
    groups = [vocabulary.spec.by_name[name] for name in vocabulary.objects]
    grid = CUBES if groups and all("position" in group.slices for group in groups) else None
    return diversity(record, SkillLibrary(vocabulary, ()), grid, steps="round/")


@cache
def _vocabulary(config: WorldConfig) -> Vocabulary:
    with closing(make_world(config, look=True)) as world:
        return world.vocabulary


def _episodes(record: Reader) -> Scores:
    return {"": float(sum(shard["episodes"] for shard in record.rows(tables.shards)))}


def _updates(record: Reader) -> Scores:
    found = [e.update for e in record.evaluations()]
    return {"": float(max(found))} if found else {}


def _promoted(record: Reader) -> Scores:
    """Not known where no policy was compared with another."""
    compared = [gate for gate in gates(record) if gate.reason]
    return {"": float(sum(gate.promoted for gate in compared))} if compared else {}


def _tokens(record: Reader) -> Scores:
    calls = model_calls(record)
    return {"": float(calls.total.tokens_in + calls.total.tokens_out) if calls else 0.0}


def _usd(record: Reader) -> Scores:
    calls = model_calls(record)
    if calls and calls.total.unpriced:
        return {}  # an unknown price is not zero
    return {"": calls.total.usd if calls else 0.0}


def _minutes(record: Reader) -> Scores:
    return {"": sum(step.seconds for step in record.steps()) / 60}


MEASURES: Mapping[str, Callable[[Record], Scores]] = {
    "base_success": _base_success,
    "new_success": _new_success,
    "accepted": _accepted,
    "curve_area": _curve_area,
    "graphs": _graphs,
    "places": _places,
    "episodes": _episodes,
    "updates": _updates,
    "promoted": _promoted,
    "tokens": _tokens,
    "usd": _usd,
    "minutes": _minutes,
}
"""How the metrics are computed that a card may name."""


def _result(trial: Trial, metric: str) -> TrialResult:
    name = trial.name
    try:
        how = stands(trial)
        if how != "done":
            return TrialResult(name, trial.arm.name, trial.seed, how, why(trial), None, {}, {}, {}, ())
        with Record.open(trial.directory, write=False) as record:
            scores = {metric: measure(record) for metric, measure in MEASURES.items()}
            points = curves(record)
            begun = _captions(record, lambda round_: round_ == 0)
            report = f"{name}/report.html" if record.path("report.html").is_file() else None
    except LudusError as error:
        return TrialResult(name, trial.arm.name, trial.seed, "unreadable", str(error), None, {}, {}, {}, ())
    return TrialResult(
        name,
        trial.arm.name,
        trial.seed,
        "done",
        "",
        report,
        {metric: fmean(found.values()) if found else None for metric, found in scores.items()},
        scores[metric],
        areas(points),
        tuple((x, fmean(rates[c] for c in begun)) for x, rates in points.items() if begun <= rates.keys()),
    )


def _captions(record: Reader, wanted: Callable[[int], bool]) -> set[str]:
    """Of the skills that joined in such a round; those that the run began with joined in round 0."""
    return {skill["caption"] for skill in record.skills() if wanted(skill["round"])}


def _at_end(record: Reader, wanted: Callable[[int], bool]) -> Scores:
    """Success of such skills in the evaluation after the rounds; where there is none, at the last point of the curves."""
    counts = [e.count for e in record.evaluations("after") if e.count.n]
    counts = counts or [c for c in latest_counts(record.evaluations("curve")) if c.n]
    captions = _captions(record, wanted)
    return {c.caption: c.successes / c.n for c in counts if c.caption in captions}


Curves = Mapping[int, Scores]
"""Episodes that the run had so far -> success of each skill that was tried."""


def curves(record: Reader) -> Curves:
    """The learning curves over episodes, the last point at each number of them."""
    made, so_far, after = {}, 0, dict[str, int]()
    for shard in record.rows(tables.shards):
        made[shard["step"]] = made.get(shard["step"], 0) + shard["episodes"]
    for step in record.steps():
        so_far += made.get(step.name, 0)
        after[step.name] = so_far
    found: dict[int, dict[str, float]] = {}
    for row in record.rows(tables.evaluations, tables.evaluations.c.stage == "curve"):
        if row["n"]:
            found.setdefault(after[row["step"]], {})[row["caption"]] = row["successes"] / row["n"]
    return found


def areas(points: Curves) -> Scores:
    """Mean of each skill's success over the episodes between the first point and the last one; 0 before it joined. Of one point
    it is that point: a run that collects nothing keeps its policy."""
    x = np.array(list(points), float)
    found = {}
    for caption in dict.fromkeys(caption for rates in points.values() for caption in rates):
        y, known = np.zeros(len(x)), 0.0
        for i, rates in enumerate(points.values()):
            y[i] = known = rates.get(caption, known)
        found[caption] = float(np.trapezoid(y, x) / (x[-1] - x[0])) if len(x) > 1 else float(y[0])
    return found


# --- runs together -----------------------------------------------------------------------------------------------


def _arm(study: Study, name: str, settings: tuple[str, ...], runs: Sequence[TrialResult]) -> ArmResult:
    own = {run.seed: run for run in runs if run.arm == name and run.state == "done"}
    values = tuple(own[s].metrics[study.card.metric] if s in own else None for s in study.seeds)
    known = [run for run in own.values() if run.scores]
    common = [caption for caption in (known[0].scores if known else ()) if all(caption in r.scores for r in known)]
    alike = all(len(r.scores) == len(common) for r in known)  # written skills may differ from run to run
    table = [[r.scores[c] for c in common] if alike else [fmean(r.scores.values())] for r in known]
    others = {metric: _mean([run.metrics[metric] for run in own.values()]) for metric in METRICS}
    if not known:
        return ArmResult(name, settings, values, None, None, 0, others)
    scores = np.array(table)
    return ArmResult(name, settings, values, estimate(scores, mean), estimate(scores, iqm), scores.shape[1], others)


def _comparison(
    first: str, second: str, ours: Sequence[float | None], theirs: Sequence[float | None], test: str
) -> Comparison:
    differences = tuple(None if a is None or b is None else a - b for a, b in zip(ours, theirs, strict=True))
    known = np.array([d for d in differences if d is not None])
    if not len(known):
        return Comparison(first, second, differences, None, None, None)
    return Comparison(first, second, differences, estimate(known, mean), TESTS[test](known), least_p(len(known)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
