"""Measuring a policy on its own: skills, plans or a world's goals, from any start and at any temperature. Nothing is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ludus.agents.policy import Policy, load_policy
from ludus.config import Config
from ludus.experiment import checkpoints
from ludus.experiment.library import check_starts, choose, recorded_library
from ludus.lab.actors import GoalScheduler
from ludus.lab.analysis import aggregate, wilson
from ludus.lab.embodiment import EvalSpec, episode_steps, run_batches
from ludus.lab.embodiment import evaluate as count_successes
from ludus.lab.rollout import Advance, RolloutSpec
from ludus.record import Record
from ludus.record.progress import Progress, Show
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, world_kind


@dataclass(frozen=True)
class EvalRequest:
    """What is measured.

    Args:
        skills: captions or templates; all of the library if empty. With a `plan`, those that judge its last state; its last
            skill if empty.
        episodes: per skill, start and temperature; their seeds are named children that training never draws from.
        starts: start distributions, or ('all',); the world's default if empty.
        temperatures: of the policy; `training.evaluation_temperature` if empty.
        plan: captions to carry out one after the other in each episode.
        library_of: leave out skills about others than the world's first so many objects.
        goals: measure whether all skills of the world's own library hold at once, within an episode in which the policy is
            told whichever is next.
    """

    skills: tuple[str, ...] = ()
    episodes: int = 100
    starts: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = ()
    seed: int = 1
    plan: tuple[str, ...] = ()
    library_of: int | None = None
    goals: bool = False


@dataclass(frozen=True)
class EvalResult:
    """One way of trying a policy, and what came of it."""

    start: str
    temperature: float
    skills: list[SuccessCount]
    templates: list[SuccessCount]
    """`skills` added up per template."""
    steps: list[SuccessCount]
    """Of a plan: each of its skills at its own end."""


def evaluate(record: Record, config: Config, spec: EvalRequest, show: Show | None = None) -> list[EvalResult]:
    """Success of the record's best policy in the world of `config`.

    Raises:
        LudusError: unknown skill or start; a plan longer than an episode; not that many objects; a world without goals; no
            trained policy.
    """
    torch.set_num_threads(config.training.threads)
    kind = world_kind(config.world.name)
    world = kind.make(config.world)
    try:
        library = recorded_library(record, world, lenient=config.world != record.config.world)
        trial = Trial.of(library, world, kind, spec, Progress(None, show))
        path = checkpoints.best(record)
        starts = world.spec.starts if spec.starts == ("all",) else spec.starts or world.spec.starts[:1]
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

    @classmethod
    def of(cls, library: SkillLibrary, world: World, kind: WorldKind, spec: EvalRequest, progress: Progress) -> Trial:
        check_starts(world.spec, () if spec.starts == ("all",) else spec.starts)
        library, captions = choose(library, kind, spec.skills)
        captions = _about(captions or library.captions, spec.library_of, library)
        if spec.goals and (spec.plan or spec.skills):
            raise LudusError(
                "--goals measures the world's own task, by all of its skills; leave out --plan and --skills"
            )
        if spec.goals and kind.goals is None:
            raise LudusError(f"world {world.spec.name!r} has no goals of its own; give --skills or --plan")
        plan: list[str] = []
        for name in spec.plan:
            library, found = choose(library, kind, [name])
            plan += found
        if plan:
            captions = captions if spec.skills else plan[-1:]
            _check_plan(plan, library, world)
        return cls(world, kind, library, captions, plan, spec, progress)

    def run(self, start: str, temperature: float, policy: Policy) -> EvalResult:
        """All episodes from one start at one temperature."""
        what, n, steps = f"start {start}, temperature {temperature:g}", self.spec.episodes, []
        if self.spec.goals:
            with self.progress.stage(what, n * self.world.spec.episode_steps) as advance:
                counts = [self._reach_goals(start, policy, advance)]
        elif self.plan:
            with self.progress.stage(what, n * episode_steps(self.plan, self.library, self.world.spec)) as advance:
                steps, counts = self._carry_out(start, policy, advance)
        else:
            trials = EvalSpec(tuple(self.captions), n, child(self.spec.seed, "eval"), start)
            title = f"{what}: {len(self.captions)} skills, {n} episodes each"
            with self.progress.stage(title, trials.steps(self.library)) as advance:
                counts = count_successes(self.world, self.library, policy, trials, advance)
        return EvalResult(start, temperature, counts, aggregate(counts, self.library), steps)

    def _carry_out(self, start: str, policy: Policy, advance: Advance) -> tuple[list[SuccessCount], list[SuccessCount]]:
        """The plan n times: success of each of its skills at its own end, and of the judging captions at the last
        observation; `successes_once` counts those that held after any action."""
        n, library, seed = self.spec.episodes, self.library, self.spec.seed
        rollouts = [RolloutSpec(tuple(self.plan), child(seed, "eval", "plan", *self.plan, i), start) for i in range(n)]
        steps = [[0, 0] for _ in self.plan]
        judged = {c: [0, 0] for c in self.captions}
        for episodes, outcomes in run_batches(self.world, library, rollouts, policy, "evaluation", advance):
            for o in outcomes:
                steps[o.segment][0] += o.success_at_end
                steps[o.segment][1] += o.success_once
            for caption, found in judged.items():
                for e in episodes:
                    success = library.rewards(caption, e.observations)[1][1:]
                    found[0] += bool(success[-1])
                    found[1] += bool(success.any())
        return (
            [SuccessCount(c, library[c].hash, n, *found) for c, found in zip(self.plan, steps, strict=True)],
            [SuccessCount(c, library[c].hash, n, *found) for c, found in judged.items()],
        )

    def _reach_goals(self, start: str, policy: Policy, advance: Advance) -> SuccessCount:
        spec, library, order, n = self.world.spec, self.library, self.kind.goals, self.spec.episodes
        assert order is not None
        captions = self.world.library().captions
        actor = GoalScheduler(policy, library, captions, lambda seen: order(spec, seen), spec.control_hz)
        # The rollout's captions only give the episode its length: the actor decides what is told.
        whole = captions[:1] * math.ceil(spec.episode_steps / library[captions[0]].steps)
        rollouts = [RolloutSpec(whole, child(self.spec.seed, "eval", "goals", start, i), start) for i in range(n)]
        successes = once = 0
        for episodes, _ in run_batches(self.world, library, rollouts, actor, "evaluation", advance):
            for e in episodes:
                hold = np.all([library.rewards(c, e.observations)[1][1:] for c in captions], axis=0)
                successes, once = successes + bool(hold[-1]), once + bool(hold.any())
        hashes = "+".join(library[c].hash for c in captions)
        return SuccessCount(" and ".join(captions), hashes, n, successes, once)


def as_json(results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    """All numbers: per start and temperature, templates, skills and a plan's steps."""

    def row(c: SuccessCount) -> dict[str, Any]:
        intervals = {"wilson": wilson(c.successes, c.n), "wilson_once": wilson(c.successes_once, c.n)}
        return asdict(c) | {"rate": c.successes / c.n} | intervals

    return [
        {"start": r.start, "temperature": r.temperature}
        | {name: [row(c) for c in getattr(r, name)] for name in ("templates", "skills", "steps")}
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
