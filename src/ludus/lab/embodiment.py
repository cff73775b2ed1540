"""The embodiment module: executes skill sequences in E simulations at once, scores them, hands over episodes.

A `Job` is one episode to run. Jobs run in *waves* of E. What an episode contains depends on its own job, never on its
neighbours or on when and how often it was run. So a wave that a crash cut short is simply run again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, Observations, Outcome, Plan, Segment, SuccessCount
from ludus.worlds.base import World

Progress = Callable[[int], None]
"""Called after each control step with the number of episodes that took it."""


@dataclass(frozen=True)
class RolloutSpec:
    """One episode to run: which skills from which start."""

    captions: tuple[str, ...]
    seed: int
    start: str | None = None
    """None is the world's default start."""
    actor: str | None = None
    """Who acts, where one actor plays several ('teacher', 'random'); None is the actor's own name."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """JSON, copied into the episode: plan id, round, noise level, ..."""


class Actor(Protocol):
    """Who moves the robots: a policy, a teacher, chance."""

    name: str

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        """E new episodes begin; random numbers are drawn from the jobs' seeds."""
        ...

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """`[E, size]` observations and E captions -> `[E, A]` actions in [-1, 1]."""
        ...


class Embodiment:
    """A world and the skills known there."""

    def __init__(self, world: World, library: SkillLibrary) -> None:
        self.world = world
        self.library = library

    # --- looking --------------------------------------------------------------------------------------------------

    def look(self, seeds: Sequence[int], starts: Sequence[str | None] | str | None = None) -> Observations:
        """The scenes that episodes with these seeds begin in: `[len(seeds), size]` per group. One start for all of them,
        or one each."""
        n_envs, parts = self.world.n_envs, []
        if starts is None or isinstance(starts, str):
            starts = [starts] * len(seeds)
        for first in range(0, len(seeds), n_envs):
            part = slice(first, first + n_envs)
            seen = self.world.reset(_pad(seeds[part], n_envs), [self._start(s) for s in _pad(starts[part], n_envs)])
            parts.append({group: array[: len(seeds[part])].copy() for group, array in seen.items()})
        return {group: np.concatenate([part[group] for part in parts]) for group in parts[0]}

    # --- acting ---------------------------------------------------------------------------------------------------

    def batches(self, rollouts: Sequence[RolloutSpec]) -> list[list[int]]:
        """Which jobs run together, as indices: sorted by length, so that short plans do not wait for long ones."""
        order = sorted(range(len(rollouts)), key=lambda i: self.steps(rollouts[i].captions))
        return [order[first : first + self.world.n_envs] for first in range(0, len(order), self.world.n_envs)]

    def steps(self, captions: Sequence[str]) -> int:
        """Control steps of an episode that runs these skills; at most the world's episode."""
        return min(sum(self.library[c].steps for c in captions), self.world.spec.episode_steps)

    def run_batches(
        self, rollouts: Sequence[RolloutSpec], actor: Actor, name: str, done: int = 0, progress: Progress | None = None
    ) -> Iterator[tuple[list[Episode], list[Outcome]]]:
        """Run all jobs, one wave after the other, without the first `done` waves. Episode ids are `<name>-<index>`.

        Raises:
            LudusError: a job without captions, an unknown caption or start.
        """
        for batch in self.batches(rollouts)[done:]:
            ids = [f"{name}-{i:05d}" for i in batch]
            yield self._batch(ids, [rollouts[i] for i in batch], actor, progress)

    def collect(
        self, rollouts: Sequence[RolloutSpec], actor: Actor, name: str, progress: Progress | None = None
    ) -> tuple[list[Episode], list[Outcome]]:
        """Run all jobs; episodes and outcomes in the jobs' order."""
        episodes: list[Episode] = []
        outcomes: list[Outcome] = []
        for wave_episodes, wave_outcomes in self.run_batches(rollouts, actor, name, progress=progress):
            episodes += wave_episodes
            outcomes += wave_outcomes
        episodes.sort(key=lambda e: e.id)
        outcomes.sort(key=lambda o: (o.episode, o.segment))
        return episodes, outcomes

    def evaluate(
        self,
        actor: Actor,
        captions: Sequence[str],
        n: int,
        seed: int,
        start: str | None = None,
        progress: Progress | None = None,
    ) -> list[SuccessCount]:
        """Try each skill n times from fresh starts; one tally per caption, in order. Nothing is stored.

        `seed` should be a named child seed of its own, so that evaluation never sees a start of the training data.
        """
        rollouts = [RolloutSpec((c,), child(seed, "evaluate", c, i), start) for c in captions for i in range(n)]
        counts = {c: [0, 0, 0] for c in captions}
        for _, outcomes in self.run_batches(rollouts, actor, "evaluation", progress=progress):
            for outcome in outcomes:
                count = counts[outcome.caption]
                count[0] += 1
                count[1] += outcome.success_at_end
                count[2] += outcome.success_once
        return [SuccessCount(c, self.library[c].hash, *counts[c]) for c in captions]

    def _batch(
        self, ids: list[str], rollouts: list[RolloutSpec], actor: Actor, progress: Progress | None
    ) -> tuple[list[Episode], list[Outcome]]:
        world, n_envs, n_jobs = self.world, self.world.n_envs, len(rollouts)
        schedules = [self._schedule(rollout.captions) for rollout in rollouts]
        lengths = [self.steps(rollout.captions) for rollout in rollouts]
        # simulations without a job repeat the last one's; nobody looks at them
        padded = _pad(rollouts, n_envs)
        observations = world.reset([j.seed for j in padded], [self._start(j.start) for j in padded])
        snapshots = world.snapshot()
        n_steps = max(lengths)
        seen = {g: np.empty((n_jobs, n_steps + 1, a.shape[-1]), np.float32) for g, a in observations.items()}
        done = np.empty((n_jobs, n_steps, len(world.spec.actions)), np.float32)
        for group, array in observations.items():
            seen[group][:, 0] = array[:n_jobs]
        starting: dict[int, list[tuple[int, str]]] = defaultdict(list)
        ending: dict[tuple[int, int, str], list[int]] = defaultdict(list)
        for i, schedule in enumerate(schedules):
            for first, last, caption in schedule:
                starting[first].append((i, caption))
                ending[last, first, caption].append(i)
        closing = {last for last, _, _ in ending}
        alive = np.array([sum(length > t for length in lengths) for t in range(n_steps)])

        scores: dict[tuple[int, int], tuple[bool, bool, float]] = {}
        captions = [rollout.captions[0] for rollout in padded]
        actor.begin(padded)
        for t in range(n_steps):
            for i, caption in starting.get(t, ()):
                captions[i] = caption
            actions = np.clip(actor.act(observations, captions), -1, 1).astype(np.float32, copy=False)
            observations = world.step(actions)
            done[:, t] = actions[:n_jobs]
            for group, array in observations.items():
                seen[group][:, t + 1] = array[:n_jobs]
            if t + 1 in closing:
                # Scored when the skill ends, over all its steps and all robots that ran it together: the same function
                # and the same observations as step by step, at a fraction of the calls.
                for (last, first, caption), which in ending.items():
                    if last == t + 1:
                        span = {g: a[which, first + 1 : last + 1] for g, a in seen.items()}
                        reward, success = self.library.rewards(caption, span)
                        for row, i in enumerate(which):
                            r, s = np.asarray(reward)[row], np.asarray(success)[row]
                            scores[i, first] = bool(s[-1]), bool(s.any()), float(np.mean(r, dtype=np.float64))
            if progress is not None:
                progress(int(alive[t]))

        episodes, outcomes = [], []
        for i, (rollout, schedule, length) in enumerate(zip(rollouts, schedules, lengths, strict=True)):
            segments = tuple(Segment(first, c, self.library[c].hash) for first, _, c in schedule)
            episodes.append(
                Episode(
                    id=ids[i],
                    observations={g: a[i, : length + 1] for g, a in seen.items()},
                    actions=done[i, :length],
                    segments=segments,
                    actor=rollout.actor or actor.name,
                    world=world.spec.fingerprint,
                    seed=rollout.seed,
                    start=self._start(rollout.start),
                    snapshot=snapshots[i].copy(),
                    info=dict(rollout.info),
                )
            )
            for k, segment in enumerate(segments):
                outcomes.append(Outcome(ids[i], k, segment.caption, segment.skill, *scores[i, segment.start]))
        return episodes, outcomes

    def _schedule(self, captions: Sequence[str]) -> list[tuple[int, int, str]]:
        """`(first step, one past the last, caption)` of each skill that fits into the episode."""
        if not captions:
            raise LudusError("an episode needs at least one skill; this job has none")
        spans, first, end = [], 0, self.world.spec.episode_steps
        for caption in captions:
            last = min(first + self.library[caption].steps, end)
            if last > first:
                spans.append((first, last, caption))
            first = last
        return spans

    def _start(self, start: str | None) -> str:
        return self.world.spec.starts[0] if start is None else start


def rollouts_of(
    plans: Sequence[Plan], seeds: Sequence[int], start: str | None = None, info: Mapping[str, Any] | None = None
) -> list[RolloutSpec]:
    """One job per seed, the plans dealt out in turn: seed i runs plan i modulo the number of plans.

    Raises:
        LudusError: a plan with gaps, or none at all.
    """
    if not plans:
        raise LudusError("no plan to execute: every proposal had a step that no skill fits")
    for plan in plans:
        if plan.gaps or not plan.captions:
            missing = ", ".join(repr(r.step) for r in plan.gaps) or "every step"
            raise LudusError(f"plan {plan.id!r} cannot be executed: no skill for {missing}")
    return [
        RolloutSpec(plans[i % len(plans)].captions, s, start, None, {**(info or {}), "plan": plans[i % len(plans)].id})
        for i, s in enumerate(seeds)
    ]


def _pad(items: Sequence[Any], n: int) -> list[Any]:
    return [*items, *[items[-1]] * (n - len(items))]
