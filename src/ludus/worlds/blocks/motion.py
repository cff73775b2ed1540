"""How the teacher moves: from the state and a subgoal to the next action, a pure function, vectorised over E simulations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ludus.worlds.blocks.perception import BETWEEN_PADS_M, UP, BlockState, of, wrap
from ludus.worlds.blocks.subgoals import YAW_LIMIT_RAD, Subgoal

GAIN = 20.0
"""Action per metre of error: full speed from 6 cm on, slow enough near the goal not to overshoot the arm's lag."""
YAW_GAIN = 5.0
"""Action per radian."""
LIFT_HEIGHT_M = 0.13
"""Where `lift` brings a block's centre."""
HOVER_GAP_M = 0.02
"""Air kept between a hovering block and the one below."""
LEAVE_HEIGHT_M = 0.10
"""How far above a placed block the gripper withdraws."""
FINGERTIP_M = 0.009
"""How far the pads reach below the tool centre."""
NARROW = -0.55
"""Gripper command (62 mm between the pads) that spares a block standing close by."""
SAFE_M = 0.012
"""Vertical gap kept to blocks travelled over."""
REACH_AROUND_M = 0.085
"""Blocks nearer than this (horizontally) to the gripper's path must be travelled over, not past."""
SLOW_FROM_M = 0.02
"""Missing this much height or more over a block ahead, the arm rises before it goes on."""

# When to descend.
TRAVEL_GAP_M = 0.02
"""Until then the steered point stays at least this high above its goal."""
DESCENT_M = 0.03
"""Nearer than this above its goal, the point is on its way down: it turns back less easily."""
ALIGNED_M, STILL_ALIGNED_M = 0.010, 0.016
"""Horizontal error that allows to begin the descent, and to go on with it."""
STRAIGHT_RAD, EXACT_RAD = 0.25, 0.08
"""Yaw error that allows it; the second where a block goes beside another."""
OPEN_M = 0.02
"""The pads must be this much wider than the block before they descend on it."""

# When to close, to let go, to withdraw.
CLOSE_XY_M, CLOSE_Z_M, CLOSE_RAD = 0.012, 0.010, 0.12
"""The gripper closes within these errors."""
OPENED_M = 0.012
"""Pads that are not this much wider than a block between them have not let go of it: the arm waits."""
PLACED_XY_M, PLACED_Z_M = 0.006, 0.003
"""The gripper lets go of a block within these errors of its place ..."""
ASIDE_XY_M = 0.03
"""... or, of one that it only puts aside, within this horizontal one."""
FINGERS_CLEAR_M = 0.04
"""So far above the centre of a placed block the fingers no longer stand around it."""
LEFT_M = 0.10
"""So far from a placed block, horizontally, the gripper need not rise straight up."""
RESTING_OFFSET = 0.5
"""A held block whose centre is horizontally within this share of a block from another's stands on it."""

# Where to put what is in the way.
FREE_RADIUS_M = 0.10
"""A spot on the table is free if no other block's centre is nearer than this: room for fingers on any side."""
SPOTS_M = np.stack(np.meshgrid(np.linspace(0.38, 0.60, 6), np.linspace(-0.20, 0.20, 9)), -1).reshape(-1, 2)
"""`[54, 2]` spots that are tried, besides the one right below."""
ASIDE_RANGE_M = (0.34, -0.25), (0.64, 0.25)
"""Least and greatest x and y of a spot."""
RETURN_SHARE = 0.5
"""What a metre from the spot to the block that is wanted counts, against one to the spot."""
CROWDED_COST = 50
"""Metres of way that one metre of crowding counts as."""

# Which way to turn the gripper.
TURN_COST, MISSED_COST, SIDEWAYS_COST = 0.3, 4, 100.0
"""Of a radian to turn, of a radian that the yaw range does not allow, of a quarter turn where only a half turn will do."""
BLOCK_RADIUS = 0.6
"""Of a block at any yaw, in edges."""
FINGERS_M, PALM_M = (0.060, 0.012), (0.105, 0.035)
"""How far open fingers and palm reach from the tool centre: along the closing direction, across it."""
PALM_HEIGHT_M = 0.035
"""Blocks whose upper face is this far above the tool centre meet the palm, lower ones the fingers."""
ROOM_M, TIGHT_M = 0.006, 0.004
"""Room to other blocks below which a yaw costs, and below which the gripper opens only to `NARROW`."""
HIT_COST, HIT_DEPTH_M = 60, 0.05
"""Cost per metre of missing room, up to this depth."""

PLACING_VERBS = ("stack", "leave", "hover", "beside", "tower", "pyramid")
STAYING_VERBS = ("open", "reach", "grasp", "lift", "hover")
"""Verbs after which the gripper does not withdraw."""
EXACT_VERBS = ("beside", "pyramid")
"""Verbs that need the yaw of the place."""


@dataclass(frozen=True)
class _Phase:
    """Which phase each arm is in: masks `[E]`."""

    holding: np.ndarray
    carried: np.ndarray  # [E] int: the block in hand; -1: none
    astray: np.ndarray  # holds a block that must be put down first
    idle: np.ndarray  # has nothing in hand and no block to move
    placing: np.ndarray
    hovering: np.ndarray  # a part of placing
    lifting: np.ndarray
    leaving: np.ndarray
    taking: np.ndarray


@dataclass(frozen=True)
class _Aim:
    """The point that is controlled, its goal and the errors."""

    block: np.ndarray  # [E] int: the block in hand, or the one to take
    point: np.ndarray  # [E, 3] the tool centre, or the centre of the block that it carries
    goal: np.ndarray  # [E, 3] position that the point should reach
    error: np.ndarray  # [E] m: horizontal distance of the two
    turn: np.ndarray  # [E] rad to turn
    straight: np.ndarray  # [E] bool: the yaw error is small enough to descend
    tight: np.ndarray  # [E] bool: other blocks are so near that the gripper opens only a little


def move(state: BlockState, subgoal: Subgoal) -> np.ndarray:
    """`[E, 5]` in [-1, 1]: velocity, yaw rate and gripper command of the next control step."""
    phase = _phase(state, subgoal)
    aim = _aim(state, subgoal, phase)
    target, speed = _path(state, aim, phase)
    _withdraw(target, state, subgoal, phase)

    tcp_error = np.abs(of(state.block, aim.block)[:, 2] - state.tcp[:, 2])
    close_by = phase.taking & (aim.error < CLOSE_XY_M) & (tcp_error < CLOSE_Z_M)
    closing = close_by & (np.abs(aim.turn) < CLOSE_RAD) & ((subgoal.verb != "reach") | (subgoal.pick != subgoal.moved))
    between = np.linalg.norm(state.block - state.tcp[:, None], axis=-1) < BETWEEN_PADS_M
    letting_go = ~phase.holding & ~closing & (between & (state.width[:, None] < state.size + OPENED_M)).any(-1)
    target[letting_go] = state.tcp[letting_go]

    low_enough = np.abs(aim.point[:, 2] - aim.goal[:, 2]) < PLACED_Z_M
    settled = phase.placing & ~phase.hovering & low_enough
    settled &= aim.error < np.where(phase.astray, ASIDE_XY_M, PLACED_XY_M)
    settled |= phase.astray & _resting(state, subgoal, phase.carried)
    target[settled] = aim.point[settled]

    action = np.zeros((len(target), 5))
    action[:, :3] = np.clip(GAIN * (target - aim.point), -1, 1)
    action[:, :2] *= speed[:, None]
    action[:, 3] = np.clip(YAW_GAIN * aim.turn, -1, 1)
    opened = np.where(aim.tight & ~phase.idle, NARROW, -1.0)
    action[:, 4] = np.where(closing | phase.holding & ~settled, 1.0, opened)
    return action


def _phase(state: BlockState, subgoal: Subgoal) -> _Phase:
    holding = np.asarray(state.held.any(-1))
    carried = np.where(holding, state.held.argmax(-1), -1)
    astray = holding & ((carried != subgoal.moved) | (subgoal.pick != subgoal.moved))
    idle = ~holding & (subgoal.moved < 0)
    placing = holding & np.isin(subgoal.verb, PLACING_VERBS) | astray
    leaving = ~holding & subgoal.placed & ~np.isin(subgoal.verb, STAYING_VERBS)
    return _Phase(
        holding=holding,
        carried=carried,
        astray=astray,
        idle=idle,
        placing=placing,
        hovering=placing & ~astray & (subgoal.verb == "hover"),
        lifting=holding & ~astray & (subgoal.verb == "lift"),
        leaving=leaving,
        taking=~holding & ~idle & ~leaving,
    )


def _aim(state: BlockState, subgoal: Subgoal, phase: _Phase) -> _Aim:
    block = np.where(phase.holding, phase.carried, subgoal.pick)
    at = of(state.block, block)
    point = np.where(phase.holding[:, None], at, state.tcp)
    place = point.copy()
    place[phase.taking] = at[phase.taking]
    place[phase.placing] = subgoal.goal[phase.placing]
    if phase.astray.any():
        place[phase.astray] = _aside(state, block, point, subgoal.moved, np.flatnonzero(phase.astray))
    place[phase.lifting, 2] = LIFT_HEIGHT_M
    place[phase.hovering, 2] += HOVER_GAP_M

    # Fingers along an edge of the block, on the side with most room; with a block in hand, along its place's edge.
    delivering = phase.placing & ~phase.astray
    edge = np.where(delivering, subgoal.heading, of(state.heading, block))
    exact = delivering & np.isin(subgoal.verb, EXACT_VERBS)
    yaw, tight = _best_yaw(state, edge, place, block, half_turn=exact)
    turning = phase.taking | delivering
    turn = np.where(turning, yaw - state.yaw, 0.0)
    return _Aim(
        block=block,
        point=point,
        goal=place,
        error=np.linalg.norm((place - point)[:, :2], axis=-1),
        turn=turn,
        straight=(np.abs(turn) < np.where(exact, EXACT_RAD, STRAIGHT_RAD)) | ~turning,
        tight=tight,
    )


def _path(state: BlockState, aim: _Aim, phase: _Phase) -> tuple[np.ndarray, np.ndarray]:
    """The point's next target `[E, 3]` and a factor `[E]` of its horizontal speed. The point descends only when it is above its
    goal; until then it stays above all blocks on the way."""
    size = of(state.size, aim.block)
    rest = np.where(phase.holding, size / 2, FINGERTIP_M)
    open_enough = phase.holding | (state.width > size + OPEN_M)
    low = aim.point[:, 2] < aim.goal[:, 2] + DESCENT_M
    aligned = (aim.error < np.where(low, STILL_ALIGNED_M, ALIGNED_M)) & aim.straight & (open_enough | low)
    travelling = (phase.taking | phase.placing) & ~aligned
    ignore = np.arange(state.size.shape[1]) == phase.carried[:, None]
    height, slow = _clearance(state, aim.point, aim.goal, rest, ignore)
    target = aim.goal.copy()
    target[travelling, 2] = np.maximum(aim.goal[:, 2] + TRAVEL_GAP_M, height)[travelling]
    return target, np.where(travelling, slow, 1.0)


def _withdraw(target: np.ndarray, state: BlockState, subgoal: Subgoal, phase: _Phase) -> None:
    """Change `target` of arms that leave a placed block: straight up until the fingers are clear, then above the block."""
    left = of(state.block, subgoal.moved)
    target[phase.leaving] = (left + LEAVE_HEIGHT_M * UP)[phase.leaving]
    inside = phase.leaving & (state.tcp[:, 2] < left[:, 2] + FINGERS_CLEAR_M)
    beyond = phase.leaving & (np.linalg.norm((state.tcp - left)[:, :2], axis=-1) > LEFT_M)
    target[inside & ~beyond, :2] = state.tcp[inside & ~beyond, :2]


def _resting(state: BlockState, subgoal: Subgoal, block: np.ndarray) -> np.ndarray:
    """The held `block` stands where it may stay: on the table, or on a block that the subgoal does not need free."""
    offset = of(state.block, block)[:, None] - state.block
    pitch = (of(state.size, block)[:, None] + state.size) / 2
    under = (np.linalg.norm(offset[..., :2], axis=-1) < RESTING_OFFSET * pitch) & (
        np.abs(offset[..., 2] - pitch) < PLACED_Z_M
    )
    needed = (np.arange(state.size.shape[1]) == subgoal.needed[:, :, None]).any(1)
    return of(state.touches_table, block) | (under & ~needed).any(-1)


def _aside(state: BlockState, block: np.ndarray, point: np.ndarray, moved: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A free spot on the table for the centre of `block`, on a short way from `point` to `moved`: `[len(rows), 3]`.

    The way to the best spot never makes another one better, so the choice stands while the block travels.
    """
    here, size = point[rows, None, :2], of(state.size, block)[rows, None]
    then = np.where(moved[rows, None, None] >= 0, of(state.block, moved)[rows, None, :2], here)
    spots = [np.clip(here, *ASIDE_RANGE_M), np.broadcast_to(SPOTS_M, (len(rows), *SPOTS_M.shape))]
    spots = np.concatenate(spots, axis=1)
    gap = np.linalg.norm(spots[:, :, None] - state.block[rows, None, :, :2], axis=-1)
    other = np.arange(state.size.shape[1]) != block[rows, None]
    crowded = np.where(other[:, None], np.maximum(FREE_RADIUS_M - gap, 0), 0).max(-1)
    way = np.linalg.norm(spots - here, axis=-1) + RETURN_SHARE * np.linalg.norm(spots - then, axis=-1)
    return np.concatenate([of(spots, np.argmin(way + CROWDED_COST * crowded, -1)), size / 2], -1)


def _best_yaw(
    state: BlockState, edge: np.ndarray, at: np.ndarray, block: np.ndarray, half_turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the gripper yaws along `edge`, the near one whose fingers and palm stay off other blocks at `at`: `[E]`."""
    turns = np.array([0, 2, 1, 3])[None] * np.pi / 2
    wanted = wrap(edge[:, None] + turns, 2 * np.pi)  # [E, 4]
    yaw = np.clip(wanted, -YAW_LIMIT_RAD, YAW_LIMIT_RAD)
    cost = TURN_COST * np.abs(yaw - state.yaw[:, None]) + MISSED_COST * np.abs(wanted - yaw)
    cost[:, 2:] += SIDEWAYS_COST * half_turn[:, None]
    offset = state.block[:, None] - at[:, None, None]  # [E, 1, N, 3]
    c, s = np.cos(yaw)[..., None], np.sin(yaw)[..., None]
    across = np.abs(offset[..., 0] * c + offset[..., 1] * s)  # [E, 4, N]: the thin direction of fingers and palm
    along = np.abs(-offset[..., 0] * s + offset[..., 1] * c)  # fingers move along this one
    half = BLOCK_RADIUS * state.size[:, None]
    fingers = np.maximum(along - FINGERS_M[0] - half, across - FINGERS_M[1] - half)
    palm = np.maximum(along - PALM_M[0] - half, across - PALM_M[1] - half)
    height = offset[..., 2] + state.size[:, None] / 2
    room = np.where(height > PALM_HEIGHT_M, palm, fingers)
    other = np.arange(state.size.shape[1]) != block[:, None]
    matters = other[:, None] & (height > -FINGERTIP_M)
    cost += np.where(matters, HIT_COST * np.clip(ROOM_M - room, 0, HIT_DEPTH_M), 0).sum(-1)
    best = np.argmin(cost, -1)
    return of(yaw, best), of((matters & (room < TIGHT_M)).any(-1), best)


def _clearance(
    state: BlockState, point: np.ndarray, goal: np.ndarray, rest: np.ndarray, ignore: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Height `[E]` for `point` to pass over the blocks on its way, and a speed factor `[E]` that lets it rise first."""
    way = (goal - point)[:, None, :2]
    to = state.block[..., :2] - point[:, None, :2]
    length = np.maximum((way**2).sum(-1), 1e-9)
    along = np.clip((to * way).sum(-1) / length, 0, 1)
    distance = np.linalg.norm(to - along[..., None] * way, axis=-1)
    need = state.block[..., 2] + state.size / 2 + rest[:, None] + SAFE_M
    need = np.where((distance < REACH_AROUND_M) & ~ignore, need, 0.0)  # [E, N]
    runway = np.maximum(np.linalg.norm(to, axis=-1) - REACH_AROUND_M, 0)
    missing = need - point[:, 2:] - runway
    slow = np.clip(1 - missing / SLOW_FROM_M, 0, 1).min(-1)
    return need.max(-1), slow
