"""Any Gymnasium environment as a world, from a description in one's own file (docs/add-a-world.md).

The environment's reward is logged as the word `task_reward()`, its success as `solved()`, its termination as `ended()`: they are
fields of the observations, and skills are written with them. An environment that is over is not stepped on nor
reset by itself; its last observation stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from ludus.config import NoOptions, WorldConfig, read_options
from ludus.seeding import rng
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.vocabulary import Predicate, Vocabulary, predicate
from ludus.types import LudusError, Observations, ObservationSpec, WorldSpec
from ludus.worlds.base import World, starts_of
from ludus.worlds.from_gym.description import ANY, TASK, GymTask, completed, joined, layout, word_of, world_spec
from ludus.worlds.from_gym.processes import Batch, step_time_s
from ludus.worlds.from_gym.reading import Reading, one_sentence
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


@dataclass(frozen=True)
class OfTask:
    """Function of the predicate that says whether a simulation is of the i-th of several tasks."""

    i: int

    def __call__(self, spec: ObservationSpec, o: Observations) -> np.ndarray:
        return spec.get(o, "task", "which")[..., self.i] > 0


def gym_world(
    task: GymTask | Sequence[GymTask],
    teacher: Callable[[WorldSpec], Any] | None = None,
    options: type = NoOptions,
    requirements: tuple[str, ...] = (),
    name: str = "",
) -> WorldKind:
    """A Gymnasium environment as a kind of world, for `world.name=my_world.py:NAME`, or several of one layout as one world.

    Args:
        teacher, options, requirements: those of `WorldKind`.
        name: of a world of several tasks; empty: the first one's.
    """

    def make(config: WorldConfig) -> World:
        return GymWorld(task, config.n_envs, config.threads, asdict(read_options(options, config)), name)

    recorded = partial(read_recorded, task) if isinstance(task, GymTask) else None
    return WorldKind(make, teacher, options=options, requirements=requirements, recorded=recorded)


class GymWorld(World):
    """E environments of one description, or of several, in as many processes as `threads` says. 1: in this one; 0: one per
    core, if their steps take long enough for it.

    Of several tasks each has its own skills, which begin and can be done in that task only: their rewards are 0 in the others.

    Raises:
        LudusError: an environment cannot be made, or its description does not fit it or those beside it.
    """

    def __init__(
        self,
        task: GymTask | Sequence[GymTask],
        n_envs: int,
        threads: int = 1,
        options: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> None:
        if n_envs < 1:
            raise LudusError(f"n_envs = {n_envs} must be at least 1")
        options, self.tasks = dict(options or {}), list[GymTask]()
        made, readings, specs = list[gymnasium.Env](), list[Reading](), list[WorldSpec]()
        try:
            for described in [task] if isinstance(task, GymTask) else task:
                made.append(described.make(options))
                self.tasks.append(completed(described, made[-1]))
                reading, observation = layout(self.tasks[-1], made[-1].observation_space)
                readings.append(reading)
                specs.append(world_spec(self.tasks[-1], made[-1], observation, options))
            self.spec = specs[0] if len(specs) == 1 else joined(specs, name or specs[0].name)
            if threads == 0:
                with one_sentence(self.spec.name, "a first step"):
                    threads = int(step_time_s(made[0]) * n_envs < WORTH_PROCESSES_S)
            self.vocabulary = Vocabulary(self.spec.observation, self.spec.objects, self._words())
        except BaseException:
            for env in made:
                env.close()
            raise
        self.n_envs, self._ranges = n_envs, np.array([t.rewards for t in self.tasks], np.float32)
        tasks = list(zip(self.tasks, readings, strict=True))
        self._batch = Batch(self.spec.name, tasks, options, made, len(self.spec.actions), n_envs, threads)
        self._rows: np.ndarray | None = None
        self._warned = False

    def _words(self) -> tuple[Predicate, ...]:
        words = [task_reward, ended, *([solved] if any(t.success is not None for t in self.tasks) else [])]
        words += dict.fromkeys(p for t in self.tasks for p in t.predicates)
        if len(self.tasks) > 1:
            words += [
                Predicate(word_of(t.name), (), "bool", OfTask(i), f"The task is {t.name!r}.")
                for i, t in enumerate(self.tasks)
            ]
        return tuple(words)

    def start_of(self, caption: str) -> str:
        """See `World.start_of`: the task whose skill it is."""
        if len(self.tasks) == 1:
            return self.spec.starts[0]
        return next((t.name for t in self.tasks if caption in (s.caption for s in t.skills)), ANY)

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] | None = None) -> Observations:
        """See `World.reset`."""
        starts = starts_of(self.spec, self.n_envs, seeds, self.spec.starts[0] if start is None else start)
        self._at = [self._task(name, int(seed)) for name, seed in zip(starts, seeds, strict=True)]
        self._seeds, self._n_steps = [int(seed) % MAX_SEED for seed in seeds], 0
        self._rows, self._resting = self._read(self._batch.reset(self._seeds, self._at)), np.zeros(self.n_envs, bool)
        return self.observe()

    def _task(self, start: str, seed: int) -> int:
        """Which of the tasks."""
        if start == ANY:
            return int(rng(seed, "task").integers(len(self.tasks)))
        return self.spec.starts.index(start) - (len(self.tasks) > 1)

    def rest(self, resting: np.ndarray) -> None:
        """See `World.rest`."""
        self._resting = np.array(resting, bool)

    def step(self, actions: np.ndarray) -> Observations:
        """See `World.step`."""
        if self._rows is None:
            raise LudusError("step before reset: call reset(seeds) first")
        shape = self.n_envs, len(self.spec.actions)
        if np.shape(actions) != shape or not np.isfinite(actions).all():
            raise LudusError(f"actions must be finite numbers of shape {shape}, these are {np.shape(actions)}")
        self._rows = self._read(self._batch.step(np.clip(actions, -1, 1), self._resting))
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
        """`[E, 2]`: the seed that the environment was reset with, and the steps since; of several tasks `[E, 3]`, with the
        number of the task. Before the first step that is all that its future depends on; later, the actions as well. There is
        no `restore`."""
        several = [self._at] if len(self.tasks) > 1 else []
        return np.array([self._seeds, [self._n_steps] * self.n_envs, *several], np.float64).T.copy()

    def library(self) -> SkillLibrary:
        """See `World.library`."""
        if len(self.tasks) == 1:
            return SkillLibrary(self.vocabulary, self.tasks[0].skills)
        return SkillLibrary(self.vocabulary, [_only_in(t.name, skill) for t in self.tasks for skill in t.skills])

    def close(self) -> None:
        """See `World.close`."""
        self._batch.close()

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the environments `[E, D]`, with the reward as `task_reward()` gives it, and which task it is."""
        reward, (low, high) = rows[:, -TASK.size], self._ranges[self._at].T
        outside = np.isfinite(reward) & ((reward < low) | (reward > high))
        if outside.any() and not self._warned:
            self._warned, i = True, int(outside.argmax())
            task = self.tasks[self._at[i]]
            logger.warning(
                "environment %r gave a reward of %g, outside of rewards=%s; such are clipped",
                *(task.name, reward[i], task.rewards),
            )
        reward[:] = np.clip((reward - low) / (high - low), 0, 1)
        return rows if len(self.tasks) == 1 else np.hstack([rows, np.eye(len(self.tasks), dtype=np.float32)[self._at]])


def _only_in(name: str, skill: Skill) -> Skill:
    """The skill of one of several tasks: its reward is 0 in the others, and it never succeeds there."""
    here = f"{word_of(name)}()"
    return replace(skill, reward=f"{here} * ({skill.reward})", success=f"{here} and ({skill.success})")
