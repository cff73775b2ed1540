"""The skills of the cube worlds: to put each cube at its goal, and what leads there."""

from __future__ import annotations

from collections.abc import Sequence

from ludus.skills.expression import quote
from ludus.skills.library import Skill
from ludus.worlds.blocks.skills import base_skills as block_skills

AT_GOAL_M = 0.04
"""Their test of success: distance of the two centres."""


def base_skills(cubes: Sequence[str]) -> list[Skill]:
    """Put each cube at its goal, wherever that is; it counts as soon as the cube is there, held or not, as theirs does."""
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
