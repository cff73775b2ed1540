"""Gymnasium faces of a World: one simulation, or a vector of them, with one skill as the task.

The reward is the skill's. The episode is truncated after the skill's steps, and terminates where the world has ended.
`info["success"]`, also called `is_success`, says whether it succeeds at this observation. Observations are flat float32
vectors, the groups that are not hidden one after the other as declared in `WorldSpec.observation`, clipped to `N_SCALES` scales
around the centre of each field. `ludus.worlds.sb3` has a face for Stable-Baselines3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ludus.seeding import child
from ludus.types import LudusError, Observations, WorldSpec
from ludus.worlds.base import World

N_SCALES = 10.0
"""Half the range of an observation space, in a field's declared scales: usual values are within one or two."""


def _spaces(spec: WorldSpec) -> tuple[Box, Box]:
    shown = [g for g in spec.observation.groups if not g.hidden]
    alone = next((g for g in shown if not g.is_flat), None)
    if alone is not None:
        raise LudusError(
            f"group {alone.name!r} is {alone.dtype} of shape {alone.shape}; the Gymnasium face shows flat float32 groups only: "
            "wrap a world without it"
        )
    fields = [f for g in shown for f in g.fields]
    centre, scale = (
        np.concatenate([np.broadcast_to(np.asarray(value, np.float32), f.size) for f, value in values])
        for values in ([(f, f.centre) for f in fields], [(f, f.scale) for f in fields])
    )
    return Box(centre - N_SCALES * scale, centre + N_SCALES * scale), Box(-1, 1, (len(spec.actions),), np.float32)


class LudusVectorEnv(VectorEnv):
    """All simulations of a world under one caption. They start and end together, so the autoreset is in the next step. One
    that has ended before earns nothing until the others have, or time is up, and terminates then.

    Args:
        start: start distribution; where the caption begins (`World.start_of`) if None.
    """

    def __init__(self, world: World, caption: str, start: str | None = None):
        self.world, self.caption = world, caption
        self.library = world.library()
        self._steps = self.library[caption].steps
        self._start = start or world.start_of(caption)
        self.num_envs = world.n_envs
        space, self.single_action_space = _spaces(world.spec)
        self._low, self._high = space.low, space.high
        self.single_observation_space = space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        fps = world.spec.control_hz
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": [], "render_fps": fps}
        self._seeds, self._episodes, self._is_over = [0] * self.num_envs, [0] * self.num_envs, True

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None):
        """An int seeds simulation i with a named child of it; a sequence seeds each, and those of None go on.

        Raises:
            LudusError: not one seed per simulation, or one that is no whole number from 0.
        """
        each = isinstance(seed, Sequence | np.ndarray)
        given = [_whole(s) for s in (seed if each else [seed] * self.num_envs)]
        if len(given) != self.num_envs:
            raise LudusError(f"{len(given)} seeds for {self.num_envs} simulations; give one for each, None to go on")
        seeds = []
        for i, own in enumerate(given):
            if own is not None:
                self._seeds[i], self._episodes[i] = own, 0
            seeds.append(own if each and own is not None else child(self._seeds[i], self._episodes[i], i))
            self._episodes[i] += 1
        self._t, self._is_over, self._ended = 0, False, np.zeros(self.num_envs, bool)
        observations = self.world.reset(seeds, self._start)
        return self._flat(observations), self._info(self.library.rewards(self.caption, observations)[1])

    def step(self, actions: np.ndarray):
        zeros = np.zeros(self.num_envs, bool)
        if self._is_over:
            observations, info = self.reset()
            return observations, np.zeros(self.num_envs), zeros, zeros.copy(), info
        observations = self.world.step(np.asarray(actions, np.float32))
        self._t += 1
        reward, success = self.library.rewards(self.caption, observations)
        reward = np.where(self._ended, 0.0, reward).astype(np.float64)
        self._ended = self._ended | self.world.ended()
        self._is_over = self._t >= self._steps or bool(self._ended.all())
        terminated, truncated = self._ended & self._is_over, ~self._ended & self._is_over
        return self._flat(observations), reward, terminated, truncated, self._info(success)

    def close_extras(self, **kwargs: Any) -> None:
        self.world.close()

    def _flat(self, observations: Observations) -> np.ndarray:
        """`[E, size]` per group -> `[E, sum of sizes]` float32, within the space."""
        rows = np.concatenate(
            [observations[g.name] for g in self.world.spec.observation.groups if not g.hidden], axis=-1
        )
        return np.clip(rows, self._low, self._high)

    def _info(self, success: np.ndarray) -> dict[str, Any]:
        all_have_it = np.ones(self.num_envs, bool)
        return {"success": success, "_success": all_have_it, "is_success": success, "_is_success": all_have_it}


class LudusEnv(gymnasium.Env):
    """One simulation under one caption.

    Args:
        make: makes a world of one simulation, e.g. `lambda: BlocksWorld(n_envs=1, threads=1)`.
        render_mode: None or 'rgb_array'.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(
        self, make: Callable[[], World], caption: str, start: str | None = None, render_mode: str | None = None
    ):
        world = make()
        if world.n_envs != 1:
            raise LudusError(f"LudusEnv needs a world of 1 simulation, not {world.n_envs}; use LudusVectorEnv")
        self._vector = LudusVectorEnv(world, caption, start)
        self.observation_space, self.action_space = _spaces(world.spec)
        self.metadata = {**type(self).metadata, "render_fps": world.spec.control_hz}
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=_whole(seed))
        start = int(self.np_random.integers(2**62))
        observation, info = self._vector.reset(seed=start)
        return observation[0], _single(info)

    def step(self, action: np.ndarray):
        observation, reward, terminated, truncated, info = self._vector.step(np.asarray(action)[None])
        done = bool(terminated[0]), bool(truncated[0])
        return observation[0], float(reward[0]), *done, _single(info)

    def render(self) -> np.ndarray | None:
        if self.render_mode != "rgb_array":
            return None
        return self._vector.world.frames(self._vector.world.observe())[0]

    def close(self) -> None:
        self._vector.close()


def _single(info: dict[str, Any]) -> dict[str, Any]:
    return {name: bool(info[name][0]) for name in ("success", "is_success")}


def _whole(seed: Any) -> int | None:
    """A seed of NumPy's or of Python's as the latter."""
    if seed is None:
        return None
    try:
        whole = index(seed)
    except TypeError:
        whole = -1
    if whole < 0:
        raise LudusError(f"seed {seed!r} makes no sense; give a whole number from 0, or None to go on")
    return whole


def make_blocks(caption: str = "stack red on green", render_mode: str | None = None, **world: Any) -> LudusEnv:
    """Entry point of `gymnasium.make("ludus/Blocks-v0", caption=..., n_blocks=...)`."""
    from ludus.worlds.blocks.world import BlocksWorld

    return LudusEnv(lambda: BlocksWorld(n_envs=1, threads=1, **world), caption, render_mode=render_mode)


if "ludus/Blocks-v0" not in gymnasium.registry:
    gymnasium.register("ludus/Blocks-v0", entry_point="ludus.worlds.gym:make_blocks")
