"""Any Gymnasium environment as a world, from a description in one's own file (docs/add-a-world.md).

The environment's reward is logged as the word `task_reward()`, its success as `solved()`, its termination as `ended()`: they are
fields of the observations, and skills are written with them. An environment that is over is not stepped on nor
reset by itself; its last observation stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from ludus.config import NoOptions, WorldConfig, read_options
from ludus.skills.library import SkillLibrary
from ludus.skills.vocabulary import Vocabulary, predicate
from ludus.types import LudusError, Observations, WorldSpec
from ludus.worlds.base import World, starts_of
from ludus.worlds.from_gym.description import TASK, GymTask, completed, layout, world_spec
from ludus.worlds.from_gym.processes import Batch, one_sentence, step_time_s
from ludus.worlds.from_gym.recorded import read_recorded
from ludus.worlds.registry import WorldKind

WORTH_PROCESSES_S = 0.01
"""Where a step of all environments takes less, further processes cost more than they save."""
MAX_SEED = 2**31
"""Environments that keep to NumPy's older generators take no larger ones."""
logger = logging.getLogger("ludus")


@predicate("real")
def task_reward(spec, o):
    """The environment's own reward for the last action, from 0 to 1."""
    return spec.get(o, "task", "reward")[..., 0]


@predicate("bool")
def solved(spec, o):
    """The environment says that its task is solved."""
    return spec.get(o, "task", "solved")[..., 0] > 0


@predicate("bool")
def ended(spec, o):
    """The environment has terminated."""
    return spec.get(o, "task", "ended")[..., 0] > 0


def gym_world(
    task: GymTask,
    teacher: Callable[[WorldSpec], Any] | None = None,
    options: type = NoOptions,
    requirements: tuple[str, ...] = (),
) -> WorldKind:
    """A Gymnasium environment as a kind of world, for `world.name=my_world.py:NAME`; the last three are those of `WorldKind`."""

    def make(config: WorldConfig) -> World:
        return GymWorld(task, config.n_envs, config.threads, asdict(read_options(options, config)))

    recorded = partial(read_recorded, task)
    return WorldKind(make, teacher, options=options, requirements=requirements, recorded=recorded)


class GymWorld(World):
    """E environments of one description, in as many processes as `threads` says. 1: in this one; 0: one per core, if their
    steps take long enough for it.

    Raises:
        LudusError: the environment cannot be made, or the description does not fit it.
    """

    def __init__(self, task: GymTask, n_envs: int, threads: int = 1, options: Mapping[str, Any] | None = None) -> None:
        if n_envs < 1:
            raise LudusError(f"n_envs = {n_envs} must be at least 1")
        options = dict(options or {})
        env = task.make(options)
        try:
            task = completed(task, env)
            reading, observation = layout(task, env.observation_space)
            self.spec = world_spec(task, env, observation, options)
            if threads == 0:
                with one_sentence(task.name, "a first step"):
                    threads = int(step_time_s(env) * n_envs < WORTH_PROCESSES_S)
        finally:
            env.close()
        words = (task_reward, ended, *([] if task.success is None else [solved]), *task.predicates)
        self.vocabulary = Vocabulary(observation, self.spec.objects, words)
        self.n_envs, self.task = n_envs, task
        self._batch = Batch(task, options, reading, len(self.spec.actions), n_envs, threads)
        self._rows: np.ndarray | None = None
        self._warned = False

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] = "reset") -> Observations:
        """See `World.reset`."""
        starts_of(self.spec, self.n_envs, seeds, start)
        self._seeds, self._n_steps = [int(seed) % MAX_SEED for seed in seeds], 0
        self._rows = self._read(self._batch.reset(self._seeds))
        return self.observe()

    def step(self, actions: np.ndarray) -> Observations:
        """See `World.step`."""
        if self._rows is None:
            raise LudusError("step before reset: call reset(seeds) first")
        shape = self.n_envs, len(self.spec.actions)
        if np.shape(actions) != shape or not np.isfinite(actions).all():
            raise LudusError(f"actions must be finite numbers of shape {shape}, these are {np.shape(actions)}")
        self._rows = self._read(self._batch.step(np.clip(actions, -1, 1)))
        self._n_steps += 1
        return self.observe()

    def observe(self) -> Observations:
        """See `World.observe`."""
        if self._rows is None:
            raise LudusError("observe before reset: call reset(seeds) first")
        ends = np.cumsum([g.size for g in self.spec.observation.groups])
        parts = np.split(self._rows, ends[:-1], axis=1)
        return {g.name: part.copy() for g, part in zip(self.spec.observation.groups, parts, strict=True)}

    def ended(self) -> np.ndarray:
        """See `World.ended`: terminated, and not by success."""
        task = self.observe()["task"]
        return (task[:, 2] > 0) & (task[:, 1] == 0)

    def snapshot(self) -> np.ndarray:
        """`[E, 2]`: the seed that the environment was reset with, and the steps since. Before the first step that is all that
        its future depends on; later, the actions as well. There is no `restore`."""
        return np.array([(seed, self._n_steps) for seed in self._seeds], np.float64)

    def library(self) -> SkillLibrary:
        """See `World.library`."""
        return SkillLibrary(self.vocabulary, self.task.skills)

    def close(self) -> None:
        """See `World.close`."""
        self._batch.close()

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the environments `[E, D]`, with the reward as `task_reward()` gives it."""
        reward = rows[:, -TASK.size]
        low, high = self.task.rewards
        outside = np.isfinite(reward) & ((reward < low) | (reward > high))
        if outside.any() and not self._warned:
            self._warned = True
            logger.warning(
                "environment %r gave a reward of %g, outside of rewards=%s; such are clipped",
                *(self.task.name, reward[outside][0], self.task.rewards),
            )
        reward[:] = np.clip((reward - low) / (high - low), 0, 1)
        return rows
