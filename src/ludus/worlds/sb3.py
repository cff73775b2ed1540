"""A World with one skill as the task, as a vector environment of Stable-Baselines3. An optional package: `pip install
stable-baselines3`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.types import LudusError
from ludus.worlds.base import World
from ludus.worlds.gym import LudusVectorEnv

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise LudusError("this face of a world needs Stable-Baselines3: pip install stable-baselines3") from error


class LudusVecEnv(VecEnv):
    """All simulations of a world under one caption. At the end of an episode the observation is the first of the next one, as
    Stable-Baselines3 has it; the last one is `info["terminal_observation"]`.

    Args:
        start: start distribution; where the caption begins (`World.start_of`) if None.
    """

    def __init__(self, world: World, caption: str, start: str | None = None):
        self.envs = LudusVectorEnv(world, caption, start)
        self.render_mode = None
        super().__init__(world.n_envs, self.envs.single_observation_space, self.envs.single_action_space)
        self.metadata = self.envs.metadata

    def reset(self) -> np.ndarray:
        """New episodes, from the seeds that `seed` was given if any."""
        observations, info = self.envs.reset(seed=self._seeds)
        self._reset_seeds()
        self.reset_infos = self._each(info)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """`[E, size]` observations, `[E]` rewards, `[E]` whether the episode is over, and an info for each."""
        observations, rewards, terminated, truncated, info = self.envs.step(self._actions)
        done, infos = terminated | truncated, self._each(info)
        if done.all():  # all end together
            for own, last, cut in zip(infos, observations, truncated, strict=True):
                own |= {"terminal_observation": last, "TimeLimit.truncated": bool(cut)}
            observations = self.reset()
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """All simulations share their attributes: they are those of this object."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """
        Raises:
            LudusError: always, as simulations have no methods of their own.
        """
        raise LudusError(
            f"simulations of a world have no method {method_name!r} of their own; call it on LudusVecEnv.envs"
        )

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def _each(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"is_success": bool(success)} for success in info["is_success"]]
