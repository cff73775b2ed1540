"""The skills of the blocks world, as text. `staged` rewards rise along a good execution; success is what counts.

The rewards follow docs/method.md, section 3 (reach, grasp, lift, hover, stack, leave); every tolerance stands in
`ludus.skills.predicates.tolerances`.
Finishing always pays more than hovering: a later stage is worth more than an earlier one can ever be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from ludus.skills.expression import quote
from ludus.skills.library import Skill

TWO_PLACINGS = 160
"""Control steps for skills that place two blocks; the teacher takes 80 on average."""


def base_skills(objects: Sequence[str]) -> list[Skill]:
    """What the robot is first trained on: every block and ordered pair, and opening the gripper."""
    skills = [Skill("open the gripper", "width() / 0.08", "open()")]
    skills += [make(x) for make in (_reach, _grasp, _lift) for x in objects]
    skills += [make(x, y) for make in (_hover, _stack, _stack_and_leave) for x, y in permutations(objects, 2)]
    return skills


def extra_skills(objects: Sequence[str]) -> list[Skill]:
    """What it may learn later: side by side, a tower of three, a pyramid."""
    skills = [_beside(x, y) for x, y in permutations(objects, 2)]
    skills += [_tower(*xyz) for xyz in permutations(objects, 3)]
    skills += [_pyramid(*xyz) for xyz in permutations(objects, 3)]
    return skills


def _reach(x: str) -> Skill:
    q = quote(x)
    return Skill(f"reach {x}", f"reach({q})", f"near({q})")


def _grasp(x: str) -> Skill:
    q = quote(x)
    return Skill(f"grasp {x}", f"reach_grasp({q})", f"held({q})")


def _lift(x: str) -> Skill:
    q = quote(x)
    return Skill(f"lift {x}", f"staged(reach_grasp({q}), lift({q}))", f"lifted({q})")


def _hover(x: str, y: str) -> Skill:
    q, p = quote(x), f"{quote(x)}, {quote(y)}"
    reward = f"staged(reach_grasp({q}), lift({q}), hover({p}))"
    return Skill(f"hover {x} above {y}", reward, f"above({p}) and held({q})")


def _stacking(x: str, y: str) -> list[str]:
    """Stages of standing X on Y and letting go: the last is 1 once it stands."""
    q, p = quote(x), f"{quote(x)}, {quote(y)}"
    return [f"reach_grasp({q})", f"lift({q})", f"hover({p})", f"lower({p})", f"on({p}) * release({q})"]


def _stack(x: str, y: str) -> Skill:
    q, p = quote(x), f"{quote(x)}, {quote(y)}"
    reward = f"staged({', '.join(_stacking(x, y))})"
    return Skill(f"stack {x} on {y}", reward, f"on({p}) and released({q}) and still({q})")


def _stack_and_leave(x: str, y: str) -> Skill:
    q, p = quote(x), f"{quote(x)}, {quote(y)}"
    stages = [*_stacking(x, y), f"(on({p}) and released({q})) * leave({q})"]
    success = f"on({p}) and released({q}) and still({q}) and away({q})"
    return Skill(f"stack {x} on {y} and leave", f"staged({', '.join(stages)})", success)


def _placing_beside(x: str, y: str) -> list[str]:
    """Stages of setting X down side by side with Y."""
    q, p = quote(x), f"{quote(x)}, {quote(y)}"
    return [
        f"reach_grasp({q})",
        f"lift({q})",
        f"lifted({q}) * shape(beside_error({p}), 0.2)",
        f"(held({q}) and beside_error({p}) <= 0.012) * shape(height({q}) - height({p.split(', ')[1]}), 0.05)",
        f"beside({p}) * release({q})",
    ]


def _beside(x: str, y: str) -> Skill:
    q, p = quote(x), f"{quote(x)}, {quote(y)}"
    reward = f"staged({', '.join(_placing_beside(x, y))})"
    return Skill(f"put {x} beside {y}", reward, f"beside({p}) and released({q}) and still({q})", base=False)


def _tower(x: str, y: str, z: str) -> Skill:
    q, xy, yz = quote(x), f"{quote(x)}, {quote(y)}", f"{quote(y)}, {quote(z)}"
    standing = f"(on({yz}) and not held({quote(y)}))"
    stages = [*_stacking(y, z), *(f"{standing} * {s}" for s in _stacking(x, y))]
    success = f"on({yz}) and on({xy}) and released({q}) and still({q})"
    return Skill(f"tower {x} on {y} on {z}", f"staged({', '.join(stages)})", success, base=False, steps=TWO_PLACINGS)


def _pyramid(x: str, y: str, z: str) -> Skill:
    q, yz, xyz = quote(x), f"{quote(y)}, {quote(z)}", f"{quote(x)}, {quote(y)}, {quote(z)}"
    ready = f"(beside({yz}) and not held({quote(y)}))"
    top = [
        f"reach_grasp({q})",
        f"lift({q})",
        f"lifted({q}) * shape(both_offset({xyz}) + abs(both_gap({xyz}) - 0.02), 0.2)",
        f"(held({q}) and both_offset({xyz}) <= 0.015) * (1 - clip(both_gap({xyz}) / 0.03, 0, 1))",
        f"on_both({xyz}) * release({q})",
    ]
    stages = [*_placing_beside(y, z), *(f"{ready} * {s}" for s in top)]
    success = f"beside({yz}) and on_both({xyz}) and released({q}) and still({q})"
    return Skill(f"pyramid {x} on {y} and {z}", f"staged({', '.join(stages)})", success, base=False, steps=TWO_PLACINGS)
