"""Who acts: the scripted teacher, random actions, a policy from a checkpoint; as data (`ActorSpec`) and as objects.

A policy of `ludus.agents` is an actor itself. An actor draws its random numbers from the seeds of the rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ludus.config import SeedDataConfig, WorldConfig
from ludus.lab.rollout import Actor, RolloutSpec
from ludus.lab.switching import Watch
from ludus.seeding import child, rng
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, Observations, WorldSpec, unknown
from ludus.worlds.registry import world_kind

ActorKind = Literal["teacher", "random", "policy"]


@dataclass(frozen=True)
class ActorSpec:
    """Who acts, as data: it pickles, and makes the same actor in any process."""

    kind: ActorKind
    checkpoint: str | None = None
    """Of a policy: path of the file."""
    temperature: float = 0.0
    """Of a policy: 0 takes the likeliest action, more samples."""
    exploration: float = 0.0
    """Of a policy: share of control steps with random actions, see `EpsilonZGreedy`."""

    def make(self, spec: WorldSpec, world: WorldConfig | None = None) -> Actor:
        """The actor, in this kind of world. A teacher takes its noise from each rollout, see `SeedActor`.

        Args:
            world: whose teacher acts; by default that of the world called `spec.name`.

        Raises:
            LudusError: an unknown kind, a policy without a checkpoint or with one that cannot be read, a world without a
                teacher.
        """
        if self.kind == "teacher":
            return SeedActor(world_kind(world or WorldConfig(spec.name)).make_teacher(spec))
        if self.kind == "random":
            return RandomActor(spec)
        if self.kind != "policy":
            raise unknown("actor", self.kind, get_args(ActorKind))
        if self.checkpoint is None:
            raise LudusError("a policy acts from a checkpoint; give its path in ActorSpec.checkpoint")
        from ludus.agents.policy import load_policy  # torch is loaded for policies only

        policy = load_policy(Path(self.checkpoint), spec, self.temperature)
        return EpsilonZGreedy(policy, self.exploration) if self.exploration else policy


class RandomActor:
    """Uniform actions in [-1, 1], each held for `hold` control steps: independent ones would cancel each other out."""

    name = "random"

    def __init__(self, spec: WorldSpec, hold: int = 5) -> None:
        self.n_actions = len(spec.actions)
        self.hold = hold

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        self._rngs = [rng(rollout.seed, "random-actor") for rollout in rollouts]
        self._t = 0

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        if self._t % self.hold == 0:
            self._actions = np.stack([r.uniform(-1, 1, self.n_actions) for r in self._rngs]).astype(np.float32)
        self._t += 1
        return self._actions


class EpsilonZGreedy:
    """Another actor, interrupted by random actions that last `hold` control steps each and make up `share` of all steps.

    Within an interruption each dimension of the action is random with probability 1/2, so that a grasp is not always lost.
    Source: εz-greedy, Dabney et al. 2021, arXiv 2006.01782, there for one discrete action.
    """

    def __init__(self, actor: Actor, share: float, hold: int = 5) -> None:
        self.name = actor.name
        self._actor, self._hold = actor, hold
        self._chance = share / (share + hold * (1 - share))

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        self._actor.begin(rollouts)
        self._rngs = [rng(rollout.seed, "exploring") for rollout in rollouts]
        self._left = [0] * len(rollouts)
        self._random: list[np.ndarray] = [np.zeros(0)] * len(rollouts)
        """Per episode `[A]`; NaN where the actor decides."""

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        actions = self._actor.act(observations, captions).copy()
        for i, draw in enumerate(self._rngs):
            if not self._left[i] and draw.random() < self._chance:
                size = actions.shape[1]
                self._left[i] = self._hold
                self._random[i] = np.where(draw.random(size) < 0.5, draw.uniform(-1, 1, size), np.nan)
            if self._left[i]:
                self._left[i] -= 1
                actions[i] = np.where(np.isnan(self._random[i]), actions[i], self._random[i])
        return actions


class SeedActor:
    """A teacher with the noise level of each rollout's `info['noise']` (0 if absent); it acts at random in rollouts whose
    actor is 'random'."""

    name = "teacher"

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        self.teacher.begin(
            [child(rollout.seed, "teacher") for rollout in rollouts],
            np.array([float(rollout.info.get("noise", 0.0)) for rollout in rollouts], np.float32),
            np.array([rollout.actor == "random" for rollout in rollouts]),
        )

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        return self.teacher.act(observations, captions)


Order = Callable[[Observations], np.ndarray]
"""Observations -> `[E, n]` priorities of n skills in E scenes; the lowest comes first."""


class GoalScheduler:
    """Commands another actor by the state of the scene; the captions of the rollouts are ignored.

    Of the skills whose success does not hold, the one that `order` puts first is commanded, until it has held for half a
    second or its time is over. A skill whose time is over is commanded again only where no other is left. Source: a
    teleo-reactive program (Nilsson 1994) with hysteresis.
    """

    def __init__(self, actor: Actor, library: SkillLibrary, skills: Sequence[str], order: Order, hz: float) -> None:
        self.name = actor.name
        self._actor, self._library, self._skills, self._order = actor, library, list(skills), order
        self._hold_steps = max(1, round(hz / 2))
        self._times = [library[c].steps for c in skills]

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        self._now = np.full(len(rollouts), -1)
        self._watch = Watch(np.full(len(rollouts), self._hold_steps))
        self._actor.begin(rollouts)

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        holds = np.stack([self._library.rewards(c, observations)[1] for c in self._skills], 1)
        order, watch = self._order(observations), self._watch
        watch.see(holds[np.arange(len(holds)), self._now])
        over, all_timed_out = watch.succeeded | watch.timed_out, watch.timed_out
        for i in np.flatnonzero(over):
            timed_out = np.arange(len(self._skills)) == (self._now[i] if all_timed_out[i] else -1)
            now = int(np.lexsort((order[i], timed_out, holds[i]))[0])  # the last key weighs most
            self._now[i] = now
            watch.start(int(i), self._times[now])
        return self._actor.act(observations, [self._skills[k] for k in self._now])


def seed_rollouts(
    library: SkillLibrary,
    config: SeedDataConfig,
    seed: int,
    start: str | None = None,
    captions: Sequence[str] | None = None,
) -> list[RolloutSpec]:
    """Seed data of mixed quality: `config.episodes` rollouts of `config.segments` random skills each.

    A skill is followed, with probability 1/2, by one that is about the same object (the first in its caption): independent
    draws would hardly ever grasp what was just reached. `info['noise']` is the teacher's noise level; the rollout's actor
    is 'teacher' or 'random'. Source: docs/method.md, section 5.

    Args:
        captions: the skills to draw from; None takes all of the library.

    Raises:
        LudusError: a range of noise or shares that make no sense.
    """
    if not 0 <= config.min_noise <= config.max_noise:
        raise LudusError(f"noise from {config.min_noise} to {config.max_noise}: give 0 <= min_noise <= max_noise")
    if min(config.clean_share, config.random_share) < 0 or config.clean_share + config.random_share > 1:
        raise LudusError(
            f"seed_data.clean_share {config.clean_share} and seed_data.random_share {config.random_share} are shares; "
            "each at least 0, together at most 1"
        )
    captions = library.captions if captions is None else captions
    about = {c: next(iter(library.mentioned(c)), None) for c in captions}
    rollouts = []
    for i in range(config.episodes):
        draw = rng(seed, "seed-data", i)
        sequence = [captions[int(draw.integers(len(captions)))]]
        while len(sequence) < config.segments:
            stay = draw.random() < 0.5
            same = [c for c, x in about.items() if stay and x is not None and x == about[sequence[-1]]]
            pool = same or list(about)
            sequence.append(pool[draw.integers(len(pool))])
        kind, noise = draw.random(), draw.uniform(config.min_noise, config.max_noise)
        actor = "random" if kind < config.random_share else "teacher"
        if actor == "random" or kind < config.random_share + config.clean_share:
            noise = 0.0
        seed_of_start = child(seed, "seed-data", i, "start")
        rollouts.append(RolloutSpec(tuple(sequence), seed_of_start, start, actor, {"noise": float(noise)}))
    return rollouts
