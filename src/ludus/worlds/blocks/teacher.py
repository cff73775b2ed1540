"""Scripted controllers for the skills of `blocks`, with noise: seed data of mixed quality.

The clean action is a function of the present observations and the caption alone. Nothing is remembered between steps,
so a slipped block, a burst of noise or a new caption needs no recovery code: the next step sees another situation.
Knows no rewards; whether it succeeded is for the skill library to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ludus.types import LudusError, Observations, WorldSpec, unknown
from ludus.worlds.blocks.noise import Noise
from ludus.worlds.blocks.perception import (
    BESIDE_GAP,
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

# What a caption asks for, with '#' for each block it names.
VERBS = {
    "open the gripper": "open",
    "reach #": "reach",
    "grasp #": "grasp",
    "lift #": "lift",
    "hover # above #": "hover",
    "stack # on #": "stack",
    "stack # on # and leave": "leave",
    "put # beside #": "beside",
    "tower # on # on #": "tower",
    "pyramid # on # and #": "pyramid",
}

GAIN = 20.0
"""Action per metre of error: full speed from 6 cm on, slow enough near the goal not to overshoot the arm's lag."""
YAW_GAIN = 5.0
"""Action per radian."""
YAW_LIMIT = 1.3
"""The workspace's yaw range, rad."""
LIFT_HEIGHT = 0.13
"""Where `lift` brings a block's centre, m."""
HOVER_GAP = 0.02
"""Air kept between a hovering block and the one below, m."""
LEAVE_HEIGHT = 0.10
"""How far above a placed block the gripper withdraws, m."""
FINGERTIP = 0.009
"""How far the pads reach below the tool centre, m."""
NARROW = -0.55
"""Gripper command (62 mm between the pads) that spares a block standing close by."""
SAFE = 0.012
"""Vertical gap kept to blocks travelled over, m."""
REACH_AROUND = 0.085
"""Blocks nearer than this (m, horizontal) to the gripper's path must be travelled over, not past."""
FREE_RADIUS = 0.10
"""A spot on the table is free if no other block's centre is nearer than this, m: room for fingers on any side."""

_SPOTS = np.stack(np.meshgrid(np.linspace(0.38, 0.60, 6), np.linspace(-0.20, 0.20, 9)), -1).reshape(-1, 2)


class Teacher:
    """Acts for E simulations of one world, each under its own caption and noise level."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self._parse = lru_cache(maxsize=None)(self._read)
        self._noise: Noise | None = None

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray | None = None) -> None:
        """Start E episodes: draws each one's noise from its own seed, so neighbours in the batch do not matter.

        Args:
            seeds: E episode seeds.
            noise: `[E]` levels; 0 is clean, about 0.6 ruins most stacking.
            random_mask: `[E]` bool; these ignore their caption and act at random, correlated over a few steps.
        """
        levels = np.broadcast_to(np.asarray(noise, np.float64), (len(seeds),))
        mask = np.zeros(len(seeds), bool) if random_mask is None else np.asarray(random_mask, bool)
        self._noise = Noise(seeds, levels, mask, self.spec.episode_steps, len(self.spec.actions))

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """The next `[E, 5]` float32 action in [-1, 1] under `captions` (E of them).

        Raises:
            LudusError: a caption that no controller is written for, or that names a block twice.
        """
        action = self.clean(observations, captions)
        return (action if self._noise is None else self._noise.disturb(action)).astype(np.float32)

    def clean(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """The `[E, 5]` action without noise: a pure function."""
        programs = [self._parse(c) for c in captions]
        verb = np.array([p[0] for p in programs])
        blocks = np.array([p[1] for p in programs])
        scene = BlockState.from_observation(self.spec, observations)
        return _move(scene, _assign(scene, verb, blocks))

    def _read(self, caption: str) -> tuple[str, tuple[int, int, int]]:
        objects, words = self.spec.objects, caption.split()
        named = [objects.index(w) for w in words if w in objects]
        pattern = " ".join("#" if w in objects else w for w in words)
        if pattern not in VERBS:
            raise unknown("caption for the teacher", caption, [*VERBS])
        if len(set(named)) < len(named):
            raise LudusError(f"caption {caption!r} names a block twice; name different blocks")
        x, y, z = (*named, *[-1] * (3 - len(named)))
        return VERBS[pattern], (x, y, z)


# --- what to do with which block ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """Bring block `want` to `goal`, after whatever is in the way has been put aside."""

    verb: np.ndarray  # [E] str
    want: np.ndarray  # [E] int; -1: no block
    pick: np.ndarray  # [E] int: the block to take next; `want` unless another one covers it or its goal
    needed: np.ndarray  # [E, 3] int: the blocks that nothing else may lie on; -1: none
    goal: np.ndarray  # [E, 3] where the block's centre belongs
    heading: np.ndarray  # [E] an edge direction to place it with
    placed: np.ndarray  # [E] bool: it is there


def _assign(scene: BlockState, verb: np.ndarray, blocks: np.ndarray) -> _Job:
    x, y, z = blocks.T
    want, base, second = x.copy(), y.copy(), np.full_like(x, -1)

    tower = verb == "tower"
    lower_first = tower & ~stacked(scene, y, z)
    want[lower_first], base[lower_first] = y[lower_first], z[lower_first]

    pyramid = verb == "pyramid"
    pair = pyramid & beside(scene, y, z) & ~of(scene.held, y)
    sideways = (verb == "beside") | (pyramid & ~pair)
    want[pyramid & ~pair], base[pyramid & ~pair] = y[pyramid & ~pair], z[pyramid & ~pair]
    second[pair] = z[pair]

    pitch = (of(scene.size, want) + of(scene.size, base)) / 2
    goal = of(scene.block, base) + pitch[:, None] * UP
    goal[pair] = ((of(scene.block, base) + of(scene.block, second)) / 2 + pitch[:, None] * UP)[pair]
    heading = of(scene.heading, base)
    if sideways.any():
        side, side_heading = _best_side(scene, want, base)
        goal[sideways], heading[sideways] = side[sideways], side_heading[sideways]

    placed = np.where(sideways, beside(scene, want, base), is_at(scene, want, goal))

    # Whatever lies on the block or on the place it goes to comes first; also a base that should stand on the table.
    pick = top_of(scene, want, want)
    for place in (base, second):
        used = (place >= 0) & (verb != "reach") & ~placed
        cover = top_of(scene, np.where(used, place, want), want)
        pick = np.where(used & (cover != place) & (cover != want) & (pick == want), cover, pick)
    base_up = sideways & ~on_table(scene, base)
    pick = np.where(base_up & (pick == want), base, pick)
    return _Job(verb, want, pick, np.stack([want, base, second], -1), goal, heading, placed)


def _best_side(scene: BlockState, block: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the four places beside `base` the nearest that is free and within reach: `[E, 3]`, heading `[E]`."""
    at, size = of(scene.block, base), of(scene.size, block)
    pitch = (size + of(scene.size, base)) / 2 + BESIDE_GAP
    direction = of(scene.heading, base)[:, None] + np.arange(4) * np.pi / 2  # [E, 4]
    unit = np.stack([np.cos(direction), np.sin(direction)], -1)
    place = at[:, None, :2] + pitch[:, None, None] * unit
    other = np.arange(scene.size.shape[1]) != block[:, None]
    other &= np.arange(scene.size.shape[1]) != base[:, None]
    gap = np.linalg.norm(place[:, :, None] - scene.block[:, None, :, :2], axis=-1)
    crowded = np.where(other[:, None], np.maximum(0.075 - gap, 0), 0).sum(-1)
    # Fingers close across the line between the blocks, so the gripper's x axis must point along it.
    turn = np.maximum(np.abs(wrap(direction, np.pi)) - YAW_LIMIT, 0)
    outside = np.abs(place[..., 1]) > 0.26
    outside |= (place[..., 0] < 0.32) | (place[..., 0] > 0.66)
    away = np.linalg.norm(place - of(scene.block, block)[:, None, :2], axis=-1)
    best = np.argmin(away + 20 * crowded + 5 * turn + 10 * outside, -1)
    chosen = of(place, best)
    return np.concatenate([chosen, size[:, None] / 2], -1), of(direction, best)


# --- how to move -------------------------------------------------------------------------------------------------


def _move(scene: BlockState, job: _Job) -> np.ndarray:
    """Velocity, yaw rate and gripper `[E, 5]` for the next step of each job."""
    n_envs, n = scene.size.shape
    holding = np.asarray(scene.held.any(-1))
    carried = np.where(holding, scene.held.argmax(-1), -1)
    astray: np.ndarray = holding & ((carried != job.want) | (job.pick != job.want))  # put it down first
    idle: np.ndarray = ~holding & (job.want < 0)
    placing: np.ndarray = (
        holding & np.isin(job.verb, ["stack", "leave", "hover", "beside", "tower", "pyramid"]) | astray
    )
    lifting = holding & ~astray & (job.verb == "lift")
    leaving = ~holding & job.placed & ~np.isin(job.verb, ["open", "reach", "grasp", "lift", "hover"])
    taking = ~holding & ~idle & ~leaving

    # The point that is steered is the tool centre, or the centre of the block it carries.
    block = np.where(holding, carried, job.pick)
    at = of(scene.block, block)
    point: np.ndarray = np.where(holding[:, None], at, scene.tcp)
    goal = point.copy()
    goal[taking] = at[taking]
    goal[placing] = job.goal[placing]
    if astray.any():
        goal[astray] = _aside(scene, block, point, job.want, np.flatnonzero(astray))
    goal[lifting, 2] = LIFT_HEIGHT
    hovering = placing & ~astray & (job.verb == "hover")
    goal[hovering, 2] += HOVER_GAP
    error = np.linalg.norm((goal - point)[:, :2], axis=-1)

    # Yaw: fingers along an edge of the block, on the side with most room; with a block in hand, along its place's.
    edge = np.where(placing & ~astray, job.heading, of(scene.heading, block))
    exact = placing & np.isin(job.verb, ["beside", "pyramid"]) & ~astray
    yaw_goal, tight = _best_yaw(scene, edge, goal, block, half_turn=exact)
    turning = taking | placing & ~astray
    turn = np.where(turning, yaw_goal - scene.yaw, 0.0)

    # Descend only when above the goal; until then keep above everything on the way.
    rest = np.where(holding, of(scene.size, block) / 2, FINGERTIP)
    open_enough = holding | (scene.width > of(scene.size, block) + 0.02)
    low = point[:, 2] < goal[:, 2] + 0.03
    straight = np.abs(turn) < np.where(exact, 0.08, 0.25)
    aligned = (error < np.where(low, 0.016, 0.010)) & (straight | ~turning) & (open_enough | low)
    travelling = (taking | placing) & ~aligned
    ignore = np.arange(n) == carried[:, None]
    height, slow = _clearance(scene, point, goal, rest, ignore)
    target = goal.copy()
    target[travelling, 2] = np.maximum(goal[:, 2] + 0.02, height)[travelling]

    # Withdraw: straight up until the fingers are clear, then above the placed block.
    left = of(scene.block, job.want)
    target[leaving] = (left + LEAVE_HEIGHT * UP)[leaving]
    inside = leaving & (scene.tcp[:, 2] < left[:, 2] + 0.04)
    beyond = leaving & (np.linalg.norm((scene.tcp - left)[:, :2], axis=-1) > 0.10)
    target[inside & ~beyond, :2] = scene.tcp[inside & ~beyond, :2]

    close_by = taking & (error < 0.012) & (np.abs(at[:, 2] - scene.tcp[:, 2]) < 0.010)
    closing = close_by & (np.abs(turn) < 0.12) & ((job.verb != "reach") | (job.pick != job.want))
    low_enough = np.abs(point[:, 2] - goal[:, 2]) < 0.003
    between = np.linalg.norm(scene.block - scene.tcp[:, None], axis=-1) < 0.028
    letting_go = ~holding & ~closing & (between & (scene.width[:, None] < scene.size + 0.012)).any(-1)
    target[letting_go] = scene.tcp[letting_go]

    settled = placing & ~hovering & low_enough & (error < np.where(astray, 0.03, 0.006))
    settled |= astray & _resting(scene, job, carried)
    target[settled] = point[settled]

    action = np.zeros((n_envs, 5))
    action[:, :3] = np.clip(GAIN * (target - point), -1, 1)
    action[:, :2] *= np.where(travelling, slow, 1.0)[:, None]
    action[:, 3] = np.clip(YAW_GAIN * turn, -1, 1)
    action[:, 4] = np.where(closing | holding & ~settled, 1.0, np.where(tight & ~idle, NARROW, -1.0))
    return action


def _resting(scene: BlockState, job: _Job, block: np.ndarray) -> np.ndarray:
    """The held `block` stands where it may stay: on the table, or on a block that the job does not need free."""
    offset = of(scene.block, block)[:, None] - scene.block
    pitch = (of(scene.size, block)[:, None] + scene.size) / 2
    under = (np.linalg.norm(offset[..., :2], axis=-1) < 0.5 * pitch) & (np.abs(offset[..., 2] - pitch) < 0.003)
    needed = (np.arange(scene.size.shape[1]) == job.needed[:, :, None]).any(1)
    return of(scene.touches_table, block) | (under & ~needed).any(-1)


def _aside(scene: BlockState, block: np.ndarray, point: np.ndarray, want: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A free spot on the table for the centre of `block`, on a short way from `point` to `want`: `[len(rows), 3]`.

    The way to the best spot never makes another one better, so the choice stands while the block travels.
    """
    here, size = point[rows, None, :2], of(scene.size, block)[rows, None]
    then = np.where(want[rows, None, None] >= 0, of(scene.block, want)[rows, None, :2], here)
    spots = [np.clip(here, (0.34, -0.25), (0.64, 0.25)), np.broadcast_to(_SPOTS, (len(rows), *_SPOTS.shape))]
    spots = np.concatenate(spots, axis=1)
    gap = np.linalg.norm(spots[:, :, None] - scene.block[rows, None, :, :2], axis=-1)
    other = np.arange(scene.size.shape[1]) != block[rows, None]
    crowded = np.where(other[:, None], np.maximum(FREE_RADIUS - gap, 0), 0).max(-1)
    way = np.linalg.norm(spots - here, axis=-1) + 0.5 * np.linalg.norm(spots - then, axis=-1)
    return np.concatenate([of(spots, np.argmin(way + 50 * crowded, -1)), size / 2], -1)


def _best_yaw(
    scene: BlockState, edge: np.ndarray, at: np.ndarray, block: np.ndarray, half_turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the gripper yaws along `edge`, the near one whose fingers and palm stay off other blocks at `at`: `[E]`."""
    turns = np.array([0, 2, 1, 3])[None] * np.pi / 2
    wanted = wrap(edge[:, None] + turns, 2 * np.pi)  # [E, 4]
    yaw = np.clip(wanted, -YAW_LIMIT, YAW_LIMIT)
    cost = 0.3 * np.abs(yaw - scene.yaw[:, None]) + 4 * np.abs(wanted - yaw)
    cost[:, 2:] += 100.0 * half_turn[:, None]
    offset = scene.block[:, None] - at[:, None, None]  # [E, 1, N, 3]
    c, s = np.cos(yaw)[..., None], np.sin(yaw)[..., None]
    across = np.abs(offset[..., 0] * c + offset[..., 1] * s)  # [E, 4, N]: the thin direction of fingers and palm
    along = np.abs(-offset[..., 0] * s + offset[..., 1] * c)  # fingers move along this one
    half = 0.6 * scene.size[:, None]
    fingers = np.maximum(along - 0.060 - half, across - 0.012 - half)
    palm = np.maximum(along - 0.105 - half, across - 0.035 - half)
    height = offset[..., 2] + scene.size[:, None] / 2
    room = np.where(height > 0.035, palm, fingers)
    other = np.arange(scene.size.shape[1]) != block[:, None]
    matters = other[:, None] & (height > -FINGERTIP)
    cost += np.where(matters, 60 * np.clip(0.006 - room, 0, 0.05), 0).sum(-1)
    best = np.argmin(cost, -1)
    return of(yaw, best), of((matters & (room < 0.004)).any(-1), best)


def _clearance(
    scene: BlockState, point: np.ndarray, goal: np.ndarray, rest: np.ndarray, ignore: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Height `[E]` for `point` to pass over the blocks on its way, and a speed factor `[E]` that lets it rise first."""
    way = (goal - point)[:, None, :2]
    to = scene.block[..., :2] - point[:, None, :2]
    length = np.maximum((way**2).sum(-1), 1e-9)
    along = np.clip((to * way).sum(-1) / length, 0, 1)
    distance = np.linalg.norm(to - along[..., None] * way, axis=-1)
    need = scene.block[..., 2] + scene.size / 2 + rest[:, None] + SAFE
    need = np.where((distance < REACH_AROUND) & ~ignore, need, 0.0)  # [E, N]
    runway = np.maximum(np.linalg.norm(to, axis=-1) - REACH_AROUND, 0)
    missing = need - point[:, 2:] - runway
    slow = np.clip(1 - missing / 0.02, 0, 1).min(-1)
    return need.max(-1), slow
