"""Measuring a policy on its own: skills, plans or a world's goals, from any start and at any temperature. Nothing is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from ludus.agents.policy import Policy, load_policy
from ludus.config import Config
from ludus.config.limits import Count, Integer, Temperature, check_numbers
from ludus.experiment import checkpoints
from ludus.experiment.library import check_starts, choose, recorded_library
from ludus.lab.actors import GoalScheduler
from ludus.lab.analysis import aggregate, wilson
from ludus.lab.approach import Approaches, find_approaches
from ludus.lab.embodiment import EvalSpec, run_batches
from ludus.lab.embodiment import evaluate as count_successes
from ludus.lab.program import Program, as_text, captions_of, check
from ludus.lab.rollout import Advance, RolloutSpec, switching_of
from ludus.lab.switching import first_held, rollout_steps
from ludus.record import Record
from ludus.record.progress import Progress, Show
from ludus.seeding import child, successive
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, SuccessCount
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, world_kind


@dataclass(frozen=True)
class EvalRequest:
    """What is measured.

    Args:
        skills: captions or templates; all of the library if empty. With a `plan`, those that judge its last state; its last
            skill if empty.
        episodes: per skill, start and temperature; their seeds are named children that training never draws from.
        starts: start distributions, or ('all',); if empty, where the world has each skill begin (`World.start_of`).
        temperatures: of the policy; `training.evaluation_temperature` if empty.
        plan: captions to carry out one after the other in each episode.
        program: loops and branches to carry out instead of a `plan`, see `ludus.lab.program`.
        switching: of a plan or program: 'fixed' durations or 'conditional', see `experiment.switching`.
        library_of: leave out skills about others than the world's first so many objects.
        goals: measure whether all skills of the world's own library hold at once, within an episode in which the policy is
            told whichever is next.

    Raises:
        LudusError: a number outside of its limits.
    """

    skills: tuple[str, ...] = ()
    episodes: Count = 100
    starts: tuple[str, ...] = ()
    temperatures: tuple[Temperature, ...] = ()
    seed: Integer = 1
    plan: tuple[str, ...] = ()
    program: Program | None = None
    switching: Literal["fixed", "conditional"] = "fixed"
    library_of: Count | None = None
    goals: bool = False

    def __post_init__(self) -> None:
        check_numbers(self)


@dataclass(frozen=True)
class Pace:
    """How fast plans were carried out."""

    episode_s: float
    """Mean length of an episode."""
    switches: float
    """Mean number of changes of command per episode."""
    success_s: float | None
    """Median time from which the first judging skill's success held for half a second, where it did."""

    @classmethod
    def of(cls, episodes: Sequence[Episode], judge: str, library: SkillLibrary, hz: float) -> Pace:
        firsts = [first_held(library.rewards(judge, e.observations)[1][1:], round(hz / 2)) for e in episodes]
        times = [(t + 1) / hz for t in firsts if t is not None]
        return cls(
            float(np.mean([e.n_steps for e in episodes])) / hz,
            float(np.mean([len(e.segments) - 1 for e in episodes])),
            float(np.median(times)) if times else None,
        )


@dataclass(frozen=True)
class EvalResult:
    """One way of trying a policy, and what came of it."""

    start: str  # several, where each skill begins at its own
    temperature: float
    skills: list[SuccessCount]
    templates: list[SuccessCount]
    """`skills` added up per template."""
    steps: list[SuccessCount]
    """Of a plan: each of its skills at its own end; of a program: each of its captions, as often as it was told."""
    pace: Pace | None = None
    """Of a plan or program."""


def evaluate(record: Record, config: Config, spec: EvalRequest, show: Show | None = None) -> list[EvalResult]:
    """Success of the record's best policy in the world of `config`.

    Raises:
        LudusError: unknown skill or start; a plan longer than an episode; not that many objects; a world without goals; no
            trained policy.
    """
    torch.set_num_threads(config.training.threads)
    kind = world_kind(config.world, look=True)
    world = kind.make(config.world)
    try:
        library = recorded_library(record, world, lenient=config.world != record.config.world)
        approaches = find_approaches(library, world.spec)
        trial = Trial.of(library, world, kind, spec, Progress(None, show), approaches)
        path = checkpoints.best(record)
        starts = world.spec.starts if spec.starts == ("all",) else spec.starts or (None,)
        temperatures = spec.temperatures or (config.training.evaluation_temperature,)
        return [trial.run(start, t, load_policy(path, world.spec, t)) for start in starts for t in temperatures]
    finally:
        world.close()


@dataclass(frozen=True)
class Trial:
    """What is tried, read and checked."""

    world: World
    kind: WorldKind
    library: SkillLibrary
    captions: Sequence[str]
    plan: Sequence[str]
    spec: EvalRequest
    progress: Progress
    approaches: Approaches

    @classmethod
    def of(
        cls,
        library: SkillLibrary,
        world: World,
        kind: WorldKind,
        spec: EvalRequest,
        progress: Progress,
        approaches: Approaches | None = None,
    ) -> Trial:
        check_starts(world.spec, () if spec.starts == ("all",) else spec.starts)
        library, captions = choose(library, kind, world, spec.skills)
        captions = _about(captions or library.captions, spec.library_of, library)
        if spec.goals and (spec.plan or spec.skills):
            raise LudusError(
                "--goals measures the world's own task, by all of its skills; leave out --plan and --skills"
            )
        if spec.goals and kind.goals is None:
            raise LudusError(f"world {world.spec.name!r} has no goals of its own; give --skills or --plan")
        if spec.switching != "fixed" and not (spec.plan or spec.program):
            raise LudusError(f"--switching {spec.switching} is about plans; give one with --plan")
        plan: list[str] = []
        for name in captions_of(spec.program or ()) or spec.plan:
            library, found = choose(library, kind, world, [name])
            plan += found
        if plan:
            captions = captions if spec.skills else plan[-1:]
        if spec.program is not None:
            check(spec.program, library)
        elif plan:
            _check_plan(plan, library, world)
        return cls(world, kind, library, captions, plan, spec, progress, approaches or {})

    def run(self, start: str | None, temperature: float, policy: Policy) -> EvalResult:
        """All episodes from one start, or from that of each skill, at one temperature."""
        told = self.plan[:1] or self.captions
        named = start or ", ".join(dict.fromkeys(map(self.world.start_of, told)))
        what, n, steps, pace = f"start {named}, temperature {temperature:g}", self.spec.episodes, [], None
        if self.spec.goals:
            with self.progress.stage(what, n * self.world.spec.episode_steps) as advance:
                counts = [self._reach_goals(start or self.world.spec.starts[0], policy, advance)]
        elif self.plan:
            rollouts = self._rollouts(start)
            total = sum(rollout_steps(r, self.library, self.world.spec) for r in rollouts)
            with self.progress.stage(what, total) as advance:
                steps, counts, pace = self._carry_out(rollouts, policy, advance)
        else:
            trials = EvalSpec(tuple(self.captions), n, child(self.spec.seed, "eval"), start, self.approaches)
            title = f"{what}: {len(self.captions)} skills, {n} episodes each"
            with self.progress.stage(title, trials.steps(self.library)) as advance:
                counts = count_successes(self.world, self.library, policy, trials, advance)
        return EvalResult(named, temperature, counts, aggregate(counts, self.library), steps, pace)

    def _rollouts(self, start: str | None) -> list[RolloutSpec]:
        plan, program, rule = tuple(self.plan), self.spec.program, switching_of(self.spec.switching)
        names = plan if program is None else (as_text(program),)
        seeds = successive(self.spec.seed, "eval", "plan", *names, n=self.spec.episodes)
        return [RolloutSpec(plan, seed, start, program=program, switching=rule) for seed in seeds]

    def _carry_out(
        self, rollouts: Sequence[RolloutSpec], policy: Policy, advance: Advance
    ) -> tuple[list[SuccessCount], list[SuccessCount], Pace]:
        """Success of each of the plan's skills at its own end, and of the judging captions at the last observation;
        `successes_once` counts those that held after any action."""
        library, plan = self.library, self.plan
        places = range(len(plan)) if self.spec.program is None else [plan.index(c) for c in plan]
        steps = {place: [0, 0, 0] for place in places}
        judged = {c: [0, 0, 0] for c in self.captions}
        lived: list[Episode] = []
        for episodes, outcomes in run_batches(self.world, library, rollouts, policy, "evaluation", advance):
            for o in outcomes:
                place = o.segment if self.spec.program is None else plan.index(o.caption)
                _count(steps[place], o.success_at_end, o.success_once)
            for caption, found in judged.items():
                for e in episodes:
                    success = library.rewards(caption, e.observations)[1][1:]
                    _count(found, bool(success[-1]), bool(success.any()))
            lived += episodes
        return (
            [SuccessCount(plan[k], library[plan[k]].hash, *found) for k, found in steps.items() if found[0]],
            [SuccessCount(c, library[c].hash, *found) for c, found in judged.items()],
            Pace.of(lived, self.captions[0], library, self.world.spec.control_hz),
        )

    def _reach_goals(self, start: str, policy: Policy, advance: Advance) -> SuccessCount:
        spec, library, order, n = self.world.spec, self.library, self.kind.goals, self.spec.episodes
        assert order is not None
        captions = self.world.library().base.captions
        actor = GoalScheduler(policy, library, captions, lambda seen: order(spec, seen), spec.control_hz)
        # The rollout's captions only give the episode its length: the actor decides what is told.
        whole = captions[:1] * math.ceil(spec.episode_steps / library[captions[0]].steps)
        seeds = successive(self.spec.seed, "eval", "goals", start, n=n)
        rollouts = [RolloutSpec(whole, seed, start) for seed in seeds]
        successes = once = 0
        for episodes, _ in run_batches(self.world, library, rollouts, actor, "evaluation", advance):
            for e in episodes:
                hold = np.all([library.rewards(c, e.observations)[1][1:] for c in captions], axis=0)
                successes, once = successes + bool(hold[-1]), once + bool(hold.any())
        hashes = "+".join(library[c].hash for c in captions)
        return SuccessCount(" and ".join(captions), hashes, n, successes, once)


def _count(found: list[int], at_end: bool, once: bool) -> None:
    found[0] += 1
    found[1] += at_end
    found[2] += once


def as_json(results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    """All numbers: per start and temperature, templates, skills and a plan's steps."""

    def row(c: SuccessCount) -> dict[str, Any]:
        intervals = {"wilson": wilson(c.successes, c.n), "wilson_once": wilson(c.successes_once, c.n)}
        return asdict(c) | {"rate": c.successes / c.n} | intervals

    return [
        {"start": r.start, "temperature": r.temperature}
        | {name: [row(c) for c in getattr(r, name)] for name in ("templates", "skills", "steps")}
        | ({} if r.pace is None else {"pace": asdict(r.pace)})
        for r in results
    ]


def _about(captions: Sequence[str], n: int | None, library: SkillLibrary) -> Sequence[str]:
    """Those about the first n objects only."""
    if n is None:
        return captions
    objects = library.vocabulary.objects
    if not 1 <= n <= len(objects):
        raise LudusError(f"library of {n} objects: the world has {len(objects)}; give 1 to {len(objects)}")
    kept = [c for c in captions if set(library.mentioned(c)) <= set(objects[:n])]
    if not kept:
        raise LudusError(f"none of these skills is about {', '.join(objects[:n])} only: {', '.join(captions)}")
    return kept


def _check_plan(plan: Sequence[str], library: SkillLibrary, world: World) -> None:
    steps, limit = sum(library[c].steps for c in plan), world.spec.episode_steps
    if steps > limit:
        raise LudusError(f"this plan takes {steps} control steps, an episode has {limit}; plan fewer skills")
