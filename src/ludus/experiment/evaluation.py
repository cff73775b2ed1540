"""Measuring a policy on its own: skills, plans or a world's goals, from any start and at any temperature. Nothing is
stored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ludus.experiment.compose import Experiment
from ludus.experiment.loop import Loop
from ludus.lab import embodiment
from ludus.lab.actors import GoalScheduler
from ludus.lab.analysis import aggregate, wilson
from ludus.lab.rollout import RolloutSpec
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount
from ludus.views.terminal import show_progress


@dataclass(frozen=True)
class EvalResult:
    """One way of trying a policy, and what came of it."""

    start: str
    temperature: float
    success_counts: list[SuccessCount]
    steps: list[SuccessCount] = dataclasses.field(default_factory=list)
    """Of a plan: each of its skills at its own end."""


def evaluate(
    parts: Experiment,
    skills: Sequence[str],
    n: int,
    starts: Sequence[str],
    temperatures: Sequence[float],
    seed: int,
    console: Console,
    plan: Sequence[str] = (),
    library_of: int | None = None,
    goals: bool = False,
) -> list[EvalResult]:
    """Success of the record's latest policy; nothing is stored.

    Args:
        skills: captions or families; all of the library if empty. With a `plan`, those that judge its last state; its
            last skill if empty.
        n: episodes per skill, start and temperature; their seeds are named children that training never draws from.
        plan: captions to carry out one after the other in each episode.
        library_of: leave out skills about others than the world's first so many objects.
        goals: measure whether all skills of the world's own library hold at once, within an episode in which the policy is
            told whichever is next.

    Raises:
        LudusError: unknown skill or start; a plan longer than an episode; not that many objects; a world without goals.
    """
    parts.check_starts(starts)
    with show_progress(console) as progress:
        loop = Loop(parts, progress)
        captions = parts.choose(skills) or parts.library.captions
        captions = _about(captions, library_of, parts)
        if goals and (plan or skills):
            raise LudusError(
                "--goals measures the world's own task, by all of its skills; leave out --plan and --skills"
            )
        plan = [c for name in plan for c in parts.choose([name])]
        if plan:
            captions = captions if skills else plan[-1:]
            _check_plan(parts, plan)
        learner, found = loop.learner, []
        for start in starts or parts.world.spec.starts[:1]:
            for temperature in temperatures:
                policy, steps = learner.policy(temperature), []
                what = f"start {start}, temperature {temperature:g}"
                if goals:
                    with loop.doing(what, n * parts.world.spec.episode_steps) as advance:
                        counts = [_reach_goals(parts, n, start, seed, policy, advance)]
                elif plan:
                    with loop.doing(
                        what, n * embodiment.episode_steps(plan, parts.library, parts.world.spec)
                    ) as advance:
                        steps, counts = _carry_out(parts, plan, captions, n, start, seed, policy, advance)
                else:
                    total = sum(parts.library[c].steps for c in captions) * n
                    with loop.doing(f"{what}: {len(captions)} skills, {n} episodes each", total) as advance:
                        trials = embodiment.EvalSpec(tuple(captions), n, child(seed, "eval"), start)
                        counts = embodiment.evaluate(parts.world, parts.library, policy, trials, advance)
                found.append(EvalResult(start, temperature, counts, steps))
        return found


def _about(captions: Sequence[str], n: int | None, parts: Experiment) -> Sequence[str]:
    """Those about the first n objects only."""
    if n is None:
        return captions
    objects = parts.world.spec.objects
    if not 1 <= n <= len(objects):
        raise LudusError(f"library of {n} objects: the world has {len(objects)}; give 1 to {len(objects)}")
    kept = [c for c in captions if set(parts.library.mentioned(c)) <= set(objects[:n])]
    if not kept:
        raise LudusError(f"none of these skills is about {', '.join(objects[:n])} only: {', '.join(captions)}")
    return kept


def _check_plan(parts: Experiment, plan: Sequence[str]) -> None:
    steps, limit = sum(parts.library[c].steps for c in plan), parts.world.spec.episode_steps
    if steps > limit:
        raise LudusError(f"this plan takes {steps} control steps, an episode has {limit}; plan fewer skills")


def _carry_out(
    parts: Experiment,
    plan: Sequence[str],
    judges: Sequence[str],
    n: int,
    start: str,
    seed: int,
    policy: Any,
    advance: Any,
) -> tuple[list[SuccessCount], list[SuccessCount]]:
    """The plan n times: success of each of its skills at its own end, and of `judges` at the last observation; 'successes_once'
    counts those that held after any action."""
    rollouts = [RolloutSpec(tuple(plan), child(seed, "eval", "plan", *plan, i), start) for i in range(n)]
    steps = [[0, 0] for _ in plan]
    judged = {c: [0, 0] for c in judges}
    for episodes, found in embodiment.run_batches(parts.world, parts.library, rollouts, policy, "evaluation", advance):
        for o in found:
            steps[o.segment][0] += o.success_at_end
            steps[o.segment][1] += o.success_once
        for caption, counts in judged.items():
            for e in episodes:
                success = parts.library.rewards(caption, e.observations)[1][1:]
                counts[0] += bool(success[-1])
                counts[1] += bool(success.any())
    library = parts.library
    return (
        [SuccessCount(c, library[c].hash, n, *counts) for c, counts in zip(plan, steps, strict=True)],
        [SuccessCount(c, library[c].hash, n, *counts) for c, counts in judged.items()],
    )


def _reach_goals(parts: Experiment, n: int, start: str, seed: int, policy: Any, advance: Any) -> SuccessCount:
    spec, library, first = parts.world.spec, parts.library, parts.kind.goals
    if first is None:
        raise LudusError(f"world {spec.name!r} has no goals of its own; give --skills or --plan")
    captions = parts.world.library().captions
    actor = GoalScheduler(policy, library, captions, lambda seen: first(spec, seen), spec.control_hz)
    # the job's captions only give the episode its length: what is told is up to the actor
    whole = captions[:1] * math.ceil(spec.episode_steps / library[captions[0]].steps)
    rollouts = [RolloutSpec(whole, child(seed, "eval", "goals", start, i), start) for i in range(n)]
    successes = once = 0
    for episodes, _ in embodiment.run_batches(parts.world, library, rollouts, actor, "evaluation", advance):
        for e in episodes:
            hold = np.all([library.rewards(c, e.observations)[1][1:] for c in captions], axis=0)
            successes, once = successes + bool(hold[-1]), once + bool(hold.any())
    hashes = "+".join(library[c].hash for c in captions)
    return SuccessCount(" and ".join(captions), hashes, n, successes, once)


def table(title: str, counts: Iterable[SuccessCount]) -> Table:
    """Success rates with 95 % Wilson intervals, for the terminal."""
    shown = Table("skill", "at the end", "95 % interval", "once", "95 % interval", "n", title=title)
    for t in counts:
        cells = []
        for k in (t.successes, t.successes_once):
            low, high = wilson(k, t.n)
            cells += [f"{k / t.n:.3f}" if t.n else "–", f"{low:.2f}–{high:.2f}"]
        shown.add_row(t.caption, *cells, str(t.n))
    return shown


def as_json(measured: Sequence[EvalResult], library: SkillLibrary) -> dict[str, Any]:
    """All numbers: per start and temperature, families and skills."""

    def row(t: SuccessCount) -> Mapping[str, Any]:
        intervals = {"wilson": wilson(t.successes, t.n), "wilson_once": wilson(t.successes_once, t.n)}
        return asdict(t) | {"rate": t.successes / t.n} | intervals

    return {
        "measured": [
            {
                "start": m.start,
                "temperature": m.temperature,
                "families": [row(t) for t in aggregate(m.success_counts, library)],
                "skills": [row(t) for t in m.success_counts],
                "steps": [row(t) for t in m.steps],
            }
            for m in measured
        ]
    }
