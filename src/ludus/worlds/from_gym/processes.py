"""Environments of Gymnasium stepped in parallel processes, some in each; observations come back as rows of numbers.

Gymnasium's own vectors of environments hold one environment per process. Here an 'environment' of such a vector is a `_Several`:
a few environments stepped one after the other, so that 128 of them need no 128 processes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from ludus import machine
from ludus.types import LudusError
from ludus.worlds.from_gym.description import GymTask
from ludus.worlds.from_gym.reading import Reading, action_of, one_sentence

TIMEOUT_S = 600.0
"""A step or reset of all environments that takes longer has hung."""
ERROR = "ludus_error"
"""Key of an info."""
N_TASK = 3
"""Last columns of a row: reward (-inf where there was none), solved, ended."""


Task = tuple[GymTask, Reading]
"""A description that is complete, and how its observations are read."""


def is_solved(task: GymTask, reward: float, terminated: bool, info: Mapping[str, Any]) -> bool:
    """What `solved()` says of a step.

    Raises:
        LudusError: the info lacks what the description names.
    """
    success = task.success
    if not isinstance(success, str):
        return success is not None and bool(success(reward, terminated, info))
    if success not in info:
        raise LudusError(f"info of {task.name!r} has no {success!r}, only {list(info)}; give GymTask(success=...)")
    return bool(info[success])


def step_time_s(env: gymnasium.Env) -> float:
    """Seconds that a step of it takes, the least of a few."""
    taken = []
    for seed in range(3):
        env.reset(seed=seed)
        began = perf_counter()
        env.step(env.action_space.sample())
        taken.append(perf_counter() - began)
    return min(taken)


class _Several(gymnasium.Env):
    """A few environments as one. Its observation is one row for each; what follows an environment's end is its last row.

    Each of its places gets another environment where a reset asks for another task; those that were made are kept.

    Args:
        made: environments that are there already, one of each task or none.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        options: Mapping[str, Any],
        n_actions: int,
        n_envs: int,
        made: Sequence[gymnasium.Env] = (),
    ) -> None:
        self.tasks, self.options = tasks, options
        width = len(tasks[0][1].columns) + N_TASK
        self.observation_space = spaces.Box(-np.inf, np.inf, (n_envs, width), np.float32)
        self.action_space = spaces.Box(-1, 1, (n_envs, n_actions), np.float32)
        # others are made by the resets: in the process that steps them
        self.kept: list[list[gymnasium.Env]] = [[env] for env in made] or [[] for _ in tasks]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """`seed` is a sequence of at most `n_envs` pairs of a seed and a task's number; no more environments are made."""
        self.rows = np.zeros(self.observation_space.shape, np.float32)  # type: ignore[arg-type]  # a Box has one
        return self.rows, self._told(lambda: self._reset(seed))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.rows, 0.0, False, False, self._told(lambda: self._step_all(action))

    def _told(self, act: Callable[[], None]) -> dict[str, Any]:
        """Gymnasium's info: what went wrong, if it did. An exception would end the process, with much ado."""
        try:
            act()
        except LudusError as error:
            return {ERROR: str(error)}
        return {}

    def _reset(self, seeds: Sequence[tuple[int, int]]) -> None:
        self.at, self.envs, self.ended = [k for _, k in seeds], list[gymnasium.Env](), [False] * len(seeds)
        for i, (seed, k) in enumerate(seeds):
            (task, reading), kept, used = self.tasks[k], self.kept[k], self.at[:i].count(k)
            if used == len(kept):
                kept.append(task.make(self.options))
            self.envs.append(kept[used])
            with one_sentence(task.name, "reset"):
                observation, _ = kept[used].reset(seed=seed)
                self.rows[i, :-N_TASK] = reading(kept[used].observation_space, observation)
            self.rows[i, -N_TASK] = -np.inf

    def _step_all(self, actions: np.ndarray) -> None:
        for i, env in enumerate(self.envs):
            if np.isnan(actions[i, 0]):
                continue  # it rests
            if not self.ended[i]:
                with one_sentence(self.tasks[self.at[i]][0].name, "step"):
                    self._step(i, env, actions[i])
            elif not self.rows[i, 1 - N_TASK]:
                self.rows[i, -N_TASK] = -np.inf  # what ended without success earns nothing more

    def _step(self, i: int, env: gymnasium.Env, action: np.ndarray) -> None:
        task, reading = self.tasks[self.at[i]]
        observation, reward, terminated, truncated, info = env.step(action_of(env.action_space, action))
        solved = is_solved(task, float(reward), bool(terminated), info)
        self.rows[i, :-N_TASK] = reading(env.observation_space, observation)
        self.rows[i, -N_TASK:] = reward, solved, terminated
        self.ended[i] = bool(terminated or truncated)

    def close(self) -> None:
        for env in (env for kept in self.kept for env in kept):
            env.close()


class Batch:
    """E environments in as many processes as `threads` says; 0: one per core, 1: this one. What they do does not depend on it,
    unless they share state within a process.

    Args:
        made: an environment of each task. They are stepped if that is done in this process, else closed.
    """

    def __init__(
        self,
        name: str,
        tasks: Sequence[Task],
        options: Mapping[str, Any],
        made: Sequence[gymnasium.Env],
        n_actions: int,
        n_envs: int,
        threads: int,
    ) -> None:
        self._name, self._n_envs = name, n_envs
        self._each = -(-n_envs // min(n_envs, machine.threads(threads)))
        n_processes = -(-n_envs // self._each)
        make = partial(_Several, tasks, options, n_actions, self._each)
        if n_processes == 1:
            self._envs = SyncVectorEnv([partial(make, made)], autoreset_mode=AutoresetMode.DISABLED)
            return
        for env in made:
            env.close()
        try:  # spawned: the fork of a process with torch's threads may hang
            with machine.variables(machine.ONE_THREAD):
                self._envs = AsyncVectorEnv(
                    [make] * n_processes, context="spawn", autoreset_mode=AutoresetMode.DISABLED
                )
        except (EOFError, OSError) as error:
            raise LudusError(
                f"a process for environment {name!r} ended as it began; try world.threads=1, and in a script of your own "
                "make worlds under `if __name__ == '__main__'` only"
            ) from error

    def reset(self, seeds: Sequence[int], tasks: Sequence[int]) -> np.ndarray:
        """`[E, D]` rows, each environment of the task of this number, from its seed.

        Raises:
            LudusError: an environment failed, hung, or its process died.
        """
        pairs = list(zip(seeds, tasks, strict=True))
        groups: Any = [pairs[i : i + self._each] for i in range(0, self._n_envs, self._each)]
        envs = self._envs
        with self._saying("reset"):
            if isinstance(envs, AsyncVectorEnv):
                envs.reset_async(groups)
                return self._rows(*envs.reset_wait(TIMEOUT_S))
            return self._rows(*envs.reset(seed=groups))

    def step(self, actions: np.ndarray, resting: np.ndarray) -> np.ndarray:
        """`[E, A]` actions in [-1, 1] -> `[E, D]` rows; where `[E]` it rests, as they were.

        Raises:
            LudusError: as `reset`.
        """
        envs = self._envs
        padded = np.zeros((envs.num_envs * self._each, actions.shape[1]), np.float32)
        padded[: self._n_envs] = np.where(resting[:, None], np.nan, actions)
        padded = padded.reshape(envs.num_envs, self._each, -1)
        with self._saying("step"):
            if isinstance(envs, AsyncVectorEnv):
                envs.step_async(padded)
                observations, *_, info = envs.step_wait(TIMEOUT_S)
            else:
                observations, *_, info = envs.step(padded)
            return self._rows(observations, info)

    def close(self) -> None:
        """End the processes; some may have ended already, by the signal that ends this one."""
        try:
            self._envs.close()
        except (EOFError, OSError):
            self._end()

    def _end(self) -> None:
        self._envs._state = AsyncState.DEFAULT  # type: ignore[union-attr]  # else closing waits for an answer
        self._envs.close(terminate=True)

    def _rows(self, observations: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        for said in filter(None, info.get(ERROR, ())):
            raise LudusError(said)
        return observations.reshape(-1, observations.shape[-1])[: self._n_envs]

    @contextmanager
    def _saying(self, doing: str) -> Iterator[None]:
        """A process that died or hung as an error; the others are ended."""
        try:
            yield
        except (EOFError, OSError, multiprocessing.TimeoutError) as error:
            hung = isinstance(error, multiprocessing.TimeoutError)
            what = f"took more than {TIMEOUT_S:g} s" if hung else "ended its process"
            self._end()
            raise LudusError(
                f"environment {self._name!r} {what} in {doing}; mend it, or try world.threads=1"
            ) from error
