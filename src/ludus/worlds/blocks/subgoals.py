"""From a caption's verb and blocks to the teacher's next subgoal: which block to take, and where it belongs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ludus.worlds.blocks.perception import (
    BESIDE_GAP_M,
    UP,
    BlockState,
    beside,
    is_at,
    of,
    on_table,
    stacked,
    top_of,
    wrap,
)

YAW_LIMIT_RAD = 1.3
"""The workspace's yaw range."""
REACH_X_M, REACH_Y_M = (0.32, 0.66), 0.26
"""Places beyond these, x from the arm's foot and y to either side, are at the edge of the workspace."""
CROWDED_M = 0.075
"""A place is crowded if another block's centre is nearer than this."""
CROWDED_COST = 20
"""Metres of way that one metre of crowding counts as, when one of four sides is chosen."""
TURN_COST_M_RAD = 5
"""Metres of way that a radian beyond the yaw range counts as."""
OUTSIDE_COST_M = 10
"""Metres of way that a place outside of the reach counts as."""


@dataclass(frozen=True)
class Subgoal:
    """Bring block `moved` to `goal`, after whatever is in the way has been put aside; E simulations."""

    verb: np.ndarray  # [E] str
    moved: np.ndarray  # [E] int; -1: no block
    pick: np.ndarray  # [E] int: the block to take next; `moved` unless another one covers it or its goal
    needed: np.ndarray  # [E, 3] int: the blocks that nothing else may lie on; -1: none
    goal: np.ndarray  # [E, 3] where the block's centre belongs
    heading: np.ndarray  # [E] an edge direction to place it with
    placed: np.ndarray  # [E] bool: it is there


def subgoal(state: BlockState, verb: np.ndarray, blocks: np.ndarray) -> Subgoal:
    """What comes next on the way to `verb` `[E]` (a value of `ludus.worlds.blocks.teacher.VERBS`) on the named `blocks`
    `[E, 3]` (indices, -1: none)."""
    x, y, z = blocks.T
    moved, base, second = x.copy(), y.copy(), np.full_like(x, -1)

    tower = verb == "tower"
    lower_first = tower & ~stacked(state, y, z)
    moved[lower_first], base[lower_first] = y[lower_first], z[lower_first]

    pyramid = verb == "pyramid"
    pair = pyramid & beside(state, y, z) & ~of(state.held, y)
    sideways = (verb == "beside") | (pyramid & ~pair)
    moved[pyramid & ~pair], base[pyramid & ~pair] = y[pyramid & ~pair], z[pyramid & ~pair]
    second[pair] = z[pair]

    pitch = (of(state.size, moved) + of(state.size, base)) / 2
    goal = of(state.block, base) + pitch[:, None] * UP
    goal[pair] = ((of(state.block, base) + of(state.block, second)) / 2 + pitch[:, None] * UP)[pair]
    heading = of(state.heading, base)
    if sideways.any():
        side, side_heading = _best_side(state, moved, base)
        goal[sideways], heading[sideways] = side[sideways], side_heading[sideways]

    placed = np.where(sideways, beside(state, moved, base), is_at(state, moved, goal))

    # Whatever lies on the block or on the place it goes to comes first; also a base that should stand on the table.
    pick = top_of(state, moved, moved)
    for place in (base, second):
        used = (place >= 0) & (verb != "reach") & ~placed
        cover = top_of(state, np.where(used, place, moved), moved)
        pick = np.where(used & (cover != place) & (cover != moved) & (pick == moved), cover, pick)
    base_up = sideways & ~on_table(state, base)
    pick = np.where(base_up & (pick == moved), base, pick)
    return Subgoal(verb, moved, pick, np.stack([moved, base, second], -1), goal, heading, placed)


def _best_side(state: BlockState, block: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the four places beside `base` the nearest that is free and within reach: `[E, 3]`, heading `[E]`."""
    at, size = of(state.block, base), of(state.size, block)
    pitch = (size + of(state.size, base)) / 2 + BESIDE_GAP_M
    direction = of(state.heading, base)[:, None] + np.arange(4) * np.pi / 2  # [E, 4]
    unit = np.stack([np.cos(direction), np.sin(direction)], -1)
    place = at[:, None, :2] + pitch[:, None, None] * unit
    other = np.arange(state.size.shape[1]) != block[:, None]
    other &= np.arange(state.size.shape[1]) != base[:, None]
    gap = np.linalg.norm(place[:, :, None] - state.block[:, None, :, :2], axis=-1)
    crowded = np.where(other[:, None], np.maximum(CROWDED_M - gap, 0), 0).sum(-1)
    # Fingers close across the line between the blocks, so the gripper's x axis must point along it.
    turn = np.maximum(np.abs(wrap(direction, np.pi)) - YAW_LIMIT_RAD, 0)
    outside = np.abs(place[..., 1]) > REACH_Y_M
    outside |= (place[..., 0] < REACH_X_M[0]) | (place[..., 0] > REACH_X_M[1])
    away = np.linalg.norm(place - of(state.block, block)[:, None, :2], axis=-1)
    best = np.argmin(away + CROWDED_COST * crowded + TURN_COST_M_RAD * turn + OUTSIDE_COST_M * outside, -1)
    chosen = of(place, best)
    return np.concatenate([chosen, size[:, None] / 2], -1), of(direction, best)
