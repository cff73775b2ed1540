"""The skills of the cube worlds: to put each cube at its goal, and what leads there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ludus.skills.expression import quote
from ludus.skills.library import Skill
from ludus.types import Observations, WorldSpec
from ludus.worlds.blocks.skills import base_skills as block_skills

AT_GOAL_M = 0.04
"""OGBench's test of success: distance of the two centres."""


def base_skills(cubes: Sequence[str]) -> list[Skill]:
    """Put each cube at its goal, wherever that is; it counts as soon as the cube is there, held or not, as in OGBench."""
    return [_put(cube, f"{cube} goal") for cube in cubes]


def extra_skills(objects: Sequence[str]) -> list[Skill]:
    """Open, reach, grasp, lift, hover and stack, as in the blocks world."""
    return block_skills([o for o in objects if not o.endswith(" goal")])


def _put(x: str, goal: str) -> Skill:
    q, g = quote(x), quote(goal)
    carried = f"lifted({q}) * shape(offset({q}, {g}), 0.3)"
    lowered = f"(held({q}) and offset({q}, {g}) <= 0.03) * shape(distance({q}, {g}), 0.3)"
    placed = f"(distance({q}, {g}) <= {AT_GOAL_M}) * shape(distance({q}, {g}), 0.15) * release({q})"
    reward = f"staged(reach_grasp({q}), lift({q}), {carried}, {lowered}, {placed})"
    return Skill(f"put {x} at {goal}", reward, f"distance({q}, {g}) <= {AT_GOAL_M}", steps=200)


def first_things_first(spec: WorldSpec, observations: Observations) -> np.ndarray:
    """`[E, n]` for n cubes: which to put at its goal first. What lies on top comes before what it lies on, a goal that is
    free before one that another cube is at, a low goal before a higher one, a near cube before a far one.
    """

    def get(name: str) -> np.ndarray:
        return spec.observation.get(observations, name, "position")

    cubes = [name for name in spec.objects if not name.endswith(" goal")]
    at = np.stack([get(c) for c in cubes], 1)  # [E, n, 3]
    goal = np.stack([get(f"{c} goal") for c in cubes], 1)
    other = ~np.eye(len(cubes), dtype=bool)
    apart = at[:, None] - at[:, :, None]  # from cube i to cube j
    on_it = (np.linalg.norm(apart[..., :2], axis=-1) < 0.03) & (apart[..., 2] > 0.02)
    taken = (np.linalg.norm(at[:, None] - goal[:, :, None], axis=-1) < AT_GOAL_M) & other
    far = np.linalg.norm(at - get("gripper")[:, None], axis=-1)
    return 100.0 * on_it.any(2) + 50 * taken.any(2) + 100 * goal[..., 2].round(2) + far
