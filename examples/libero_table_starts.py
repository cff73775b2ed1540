"""Starts of libero_table.py in which things exchange their places, so that no place is learned by heart."""

from __future__ import annotations

from typing import Any

import numpy as np

EXCHANGES = 5  # pairs of things that try to exchange places, at most
MOVED_M = 0.05  # along x and along y, how far each thing moves then, at most
DEEP_M = 0.002  # deeper, a thing reaches into another
NEAR_M, ON_M = (
    0.2,
    0.05,
)  # sideways, from the middle of a fixture, and of another thing, to the middle of what stands on it
RAISED_M = 0.01  # above the table
SETTLING_STEPS = 250  # of the physics, half a second
ROBOT = 9  # joints


class Standing:
    """How the things of one simulation stand: `poses`, `[7]` of each body, position and quaternion.

    Args:
        low: of each movable body, its lowest point, from its origin. m.
        fixed: bodies of fixtures, whose poses are the model's.
    """

    def __init__(self, model: Any, data: Any, low: dict[int, float], fixed: list[int]) -> None:
        self.model, self.data, self.low, self.fixed = model, data, low, fixed
        self._settle()
        self._rows = {body: model.jnt_qposadr[model.body_jntadr[body]] + np.arange(7) for body in low}
        self.poses = {body: data.qpos[self._rows[body]] for body in low}
        self.poses |= {body: np.concatenate([model.body_pos[body], model.body_quat[body]]) for body in fixed}
        self._table = min(map(self._height, low))

    def _settle(self) -> None:
        """LIBERO's sampler lets things fall."""
        import mujoco

        robot = self.data.qpos[:ROBOT].copy()
        for _ in range(SETTLING_STEPS):
            mujoco.mj_step(self.model, self.data)
            self.data.qpos[:ROBOT], self.data.qvel[:ROBOT] = robot, 0
        self.data.qvel[:] = 0

    def _height(self, body: int) -> float:
        return self.poses[body][2] + self.low[body]

    def raised(self, body: int) -> bool:
        """It stands on something else than the table."""
        return body in self.low and self._height(body) > self._table + RAISED_M

    def laden(self, body: int) -> bool:
        near = NEAR_M if body in self.fixed else ON_M
        return any(
            self.raised(x) and x != body and np.hypot(*(self.poses[x] - self.poses[body])[:2]) < near for x in self.low
        )

    def at(self, body: int, place: int) -> np.ndarray:
        """`[7]`: a body's pose, were it where another is. A fixture takes the turn of another's place, or none."""
        pose = np.array([*self.poses[place][:2], *self.poses[body][2:]])
        if body in self.fixed:
            pose[3:] = self.poses[place][3:] if place in self.fixed else (1, 0, 0, 0)
        else:
            pose[2] = (self._table if place in self.fixed else self._height(place)) - self.low[body]
        return pose

    def move(self, new: dict[int, np.ndarray]) -> None:
        """Nothing is moved where one carries something, or would reach into another."""
        old = {body: self.poses[body] for body in new}
        if not any(map(self.laden, new)):
            self._put(new)
            if self.data.contact.dist.min(initial=0) < -DEEP_M:
                self._put(old)

    def _put(self, new: dict[int, np.ndarray]) -> None:
        import mujoco

        self.poses.update(new)
        for body, pose in new.items():
            if body in self.fixed:
                self.model.body_pos[body], self.model.body_quat[body] = pose[:3], pose[3:]
            else:
                self.data.qpos[self._rows[body]] = pose
        mujoco.mj_fwdPosition(self.model, self.data)


def exchange(standing: Standing, rng: np.random.Generator) -> None:
    """Pairs exchange their places; then each thing that stands on the table moves a little."""
    for _ in range(rng.integers(EXCHANGES + 1)):
        one, two = (int(body) for body in rng.choice([*standing.poses], 2, replace=False))
        standing.move({one: standing.at(one, two), two: standing.at(two, one)})
    for body in standing.poses:
        aside = [*rng.uniform(-MOVED_M, MOVED_M, 2), *[0] * 5]
        if not standing.raised(body):
            standing.move({body: standing.poses[body] + aside})
