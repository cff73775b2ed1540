"""A world for tests: a point on a plane that counts its steps and remembers its last action, with things to go to.

It has the interface of `ludus.worlds.base.World`, no physics, and words of its own: whatever runs here is not tied to
the blocks world.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ludus.seeding import rng
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.predicates import Vocabulary, predicate
from ludus.types import Field, Group, LudusError, Observations, ObservationSpec, WorldSpec
from ludus.worlds.base import World

SPEED = 0.1


@predicate("real")
def distance(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Distance from the point to X."""
    d = spec.get(o, "point", "position") - spec.get(o, x, "position")
    return np.sqrt(d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1])


@predicate("bool")
def at(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The point is at X."""
    return distance(spec, o, x) <= 0.15


@predicate("bool", ("at", (0,)))
def marked(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X was marked."""
    return spec.get(o, x, "mark")[..., 0] > 0.5


class CountingWorld(World):
    """See the module's docstring; a thing is marked when the point comes to it with a third action above 0.5."""

    def __init__(self, n_envs: int = 4, things: Sequence[str] = ("home", "shop"), episode_steps: int = 30) -> None:
        point = (Field("position", 2, "m", "where it is"), Field("clock", 1, "1", "steps since the reset"),
                 Field("last", 3, "1", "the last action"))  # fmt: skip
        thing = (Field("position", 2, "m", "where it is"), Field("mark", 1, "1", "1 if marked"))
        groups = (Group("point", "effector", point), *(Group(t, "object", thing) for t in things))
        spec = ObservationSpec(groups)
        self.n_envs = n_envs
        self.spec = WorldSpec("counting", tuple(things), spec, ("x", "y", "mark"), 10, episode_steps, 10,
                              ("far", "there"), (), "c0")  # fmt: skip
        self.vocabulary = Vocabulary(spec, tuple(things), (distance, at, marked))
        self.state = np.zeros((n_envs, 6 + 3 * len(things)))
        self.resets: list[tuple[int, str]] = []

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] = "far") -> Observations:
        starts = [start] * self.n_envs if isinstance(start, str) else list(start)
        if len(seeds) != self.n_envs or not set(starts) <= set(self.spec.starts):
            raise LudusError(f"{len(seeds)} seeds, starts {sorted(set(starts))}")
        self.state[:] = 0
        for row, seed, s in zip(self.state, seeds, starts, strict=True):
            places = rng(seed, "reset").uniform(-1, 1, (len(self.spec.objects), 2))
            for k, place in enumerate(places):
                row[6 + 3 * k : 8 + 3 * k] = place
            row[:2] = places[0] if s == "there" else 0
            self.resets.append((seed, s))
        return self.observe()

    def step(self, actions: np.ndarray) -> Observations:
        assert actions.shape == (self.n_envs, 3) and np.isfinite(actions).all()
        self.state[:, :2] += SPEED * actions[:, :2]
        self.state[:, 2] += 1
        self.state[:, 3:6] = actions
        for k in range(len(self.spec.objects)):
            d = np.linalg.norm(self.state[:, :2] - self.state[:, 6 + 3 * k : 8 + 3 * k], axis=1)
            self.state[(d <= 0.15) & (actions[:, 2] > 0.5), 8 + 3 * k] = 1
        return self.observe()

    def observe(self) -> Observations:
        state = self.state.astype(np.float32)
        return {"point": state[:, :6].copy()} | {
            t: state[:, 6 + 3 * k : 9 + 3 * k].copy() for k, t in enumerate(self.spec.objects)
        }

    def snapshot(self) -> np.ndarray:
        return self.state.copy()

    def restore(self, snapshot: np.ndarray) -> Observations:
        self.state[:] = snapshot
        return self.observe()

    def library(self) -> SkillLibrary:
        things = self.spec.objects
        skills = [Skill(f"go to {t}", f"shape(distance({t}), 1)", f"at({t})", 10) for t in things]
        skills += [
            Skill(f"mark {t}", f"staged(shape(distance({t}), 1), marked({t}))", f"marked({t})", 7) for t in things
        ]
        return SkillLibrary(self.vocabulary, skills)

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        raise LudusError("the counting world has no pictures")

    def close(self) -> None: ...


class Walker:
    """Goes where the caption says; marks when told to. Its noise, if any, is drawn from each job's seed."""

    name = "walker"

    def __init__(self, world: CountingWorld, noise: float = 0.0) -> None:
        self.spec, self.noise = world.spec, noise
        self.told: list[tuple[str, ...]] = []

    def begin(self, rollouts) -> None:
        self._rngs = [rng(rollout.seed, "walker") for rollout in rollouts]

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        self.told.append(tuple(captions))
        actions = np.zeros((len(captions), 3), np.float32)
        for i, caption in enumerate(captions):
            goal = observations[caption.split()[-1]][i, :2]
            actions[i, :2] = np.clip((goal - observations["point"][i, :2]) / SPEED, -1, 1)
            actions[i, 2] = caption.startswith("mark")
            actions[i] += self.noise * self._rngs[i].standard_normal(3)
        return actions
