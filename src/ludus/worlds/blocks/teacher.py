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

from ludus.seeding import rng
from ludus.types import LudusError, Observations, WorldSpec, unknown

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
BESIDE_GAP = 0.008
"""Gap left between blocks put side by side, m."""
BURST_STEPS = (5, 15)
"""Shortest and longest burst of random actions, control steps."""

_UP = np.array([0.0, 0.0, 1.0])
_SPOTS = np.stack(np.meshgrid(np.linspace(0.38, 0.60, 6), np.linspace(-0.20, 0.20, 9)), -1).reshape(-1, 2)


class Teacher:
    """Acts for E simulations of one world, each under its own caption and noise level."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self._parse = lru_cache(maxsize=None)(self._read)
        self._noise: _Noise | None = None

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray | None = None) -> None:
        """Start E episodes: draws each one's noise from its own seed, so neighbours in the batch do not matter.

        Args:
            seeds: E episode seeds.
            noise: `[E]` levels; 0 is clean, about 0.6 ruins most stacking.
            random_mask: `[E]` bool; these ignore their caption and act at random, correlated over a few steps.
        """
        levels = np.broadcast_to(np.asarray(noise, np.float64), (len(seeds),))
        mask = np.zeros(len(seeds), bool) if random_mask is None else np.asarray(random_mask, bool)
        self._noise = _Noise([_draw(s, self.spec.episode_steps, len(self.spec.actions)) for s in seeds], levels, mask)

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
        scene = _Scene.see(self.spec, observations)
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


# --- what is there -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scene:
    """The observations in the teacher's terms. N blocks; metres and radians."""

    tcp: np.ndarray  # [E, 3]
    yaw: np.ndarray  # [E]
    width: np.ndarray  # [E]
    block: np.ndarray  # [E, N, 3]
    heading: np.ndarray  # [E, N] yaw of a horizontal edge, any of four
    size: np.ndarray  # [E, N]
    held: np.ndarray  # [E, N] bool
    on_table: np.ndarray  # [E, N] bool
    above: np.ndarray  # [E, N, N] bool: block i (not held) rests on block j

    @classmethod
    def see(cls, spec: WorldSpec, observations: Observations) -> _Scene:
        def gripper(name: str) -> np.ndarray:
            return spec.observation.get(observations, effector, name).astype(np.float64)

        def each(name: str) -> np.ndarray:
            return np.stack([spec.observation.get(observations, o, name) for o in spec.objects], 1).astype(np.float64)

        effector = spec.observation.of_kind("effector")[0].name
        tcp, width = gripper("position"), gripper("width")[:, 0]
        block, size = each("position"), each("size")[..., 0]
        slack = width[:, None] - size
        touched = (each("touch_left")[..., 0] > 0) & (each("touch_right")[..., 0] > 0)
        near = np.linalg.norm(block - tcp[:, None], axis=-1) < 0.028
        held = near & touched & (slack > -0.012) & (slack < 0.008)
        offset = block[:, :, None] - block[:, None]
        pitch = (size[:, :, None] + size[:, None]) / 2
        over = np.linalg.norm(offset[..., :2], axis=-1) < 0.75 * pitch
        above = over & (np.abs(offset[..., 2] - pitch) < 0.5 * pitch) & ~held[:, :, None]
        return cls(
            tcp=tcp,
            yaw=gripper("yaw")[:, 0],
            width=width,
            block=block,
            heading=_edge_heading(each("quaternion")),
            size=size,
            held=held,
            on_table=each("touch_table")[..., 0] > 0,
            above=above,
        )


def _edge_heading(quaternion: np.ndarray) -> np.ndarray:
    """`[..., 4]` (w, x, y, z) -> yaw `[...]` of the cube axis nearest to horizontal, whichever face is up."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    horizontal = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)], -1),
            np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z)], -1),
            np.stack([2 * (x * z + w * y), 2 * (y * z - w * x)], -1),
        ],
        -2,
    )
    flattest = np.argmax(np.linalg.norm(horizontal, axis=-1), -1)[..., None, None]
    axis = np.take_along_axis(horizontal, flattest, -2)[..., 0, :]
    return np.arctan2(axis[..., 1], axis[..., 0])


def _of(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`values[e, index[e]]` for every e; index -1 reads the last, for rows that do not use it."""
    return values[np.arange(len(index)), index]


# --- what to do with which block ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """Bring block `want` to `goal`, after whatever is in the way has been put aside."""

    verb: np.ndarray  # [E] str
    want: np.ndarray  # [E] int; -1: no block
    pick: np.ndarray  # [E] int: the block to take next; `want` unless another one covers it or its goal
    needed: np.ndarray  # [E, 3] int: the blocks that nothing else may lie on; -1: none
    goal: np.ndarray  # [E, 3] where the block's centre belongs
    heading: np.ndarray  # [E] an edge direction to place it with; NaN: as it is
    placed: np.ndarray  # [E] bool: it is there


def _assign(scene: _Scene, verb: np.ndarray, blocks: np.ndarray) -> _Job:
    x, y, z = blocks.T
    want, base, second = x.copy(), y.copy(), np.full_like(x, -1)

    tower = verb == "tower"
    lower_first = tower & ~_stacked(scene, y, z)
    want[lower_first], base[lower_first] = y[lower_first], z[lower_first]

    pyramid = verb == "pyramid"
    pair = pyramid & _beside(scene, y, z) & ~_of(scene.held, y)
    sideways = (verb == "beside") | (pyramid & ~pair)
    want[pyramid & ~pair], base[pyramid & ~pair] = y[pyramid & ~pair], z[pyramid & ~pair]
    second[pair] = z[pair]

    pitch = (_of(scene.size, want) + _of(scene.size, base)) / 2
    goal = _of(scene.block, base) + pitch[:, None] * _UP
    goal[pair] = ((_of(scene.block, base) + _of(scene.block, second)) / 2 + pitch[:, None] * _UP)[pair]
    heading = _of(scene.heading, base)
    side, side_heading = _best_side(scene, want, base)
    goal[sideways], heading[sideways] = side[sideways], side_heading[sideways]

    placed = np.where(sideways, _beside(scene, want, base), _at(scene, want, goal))

    # Whatever lies on the block or on the place it goes to comes first; also a base that should stand on the table.
    pick = _top(scene, want, want)
    for place in (base, second):
        used = (place >= 0) & (verb != "reach") & ~placed
        cover = _top(scene, np.where(used, place, want), want)
        pick = np.where(used & (cover != place) & (cover != want) & (pick == want), cover, pick)
    base_up = sideways & ~_on_table(scene, base)
    pick = np.where(base_up & (pick == want), base, pick)
    return _Job(verb, want, pick, np.stack([want, base, second], -1), goal, heading, placed)


def _at(scene: _Scene, block: np.ndarray, goal: np.ndarray) -> np.ndarray:
    offset = _of(scene.block, block) - goal
    return (np.linalg.norm(offset[:, :2], axis=-1) < 0.02) & (np.abs(offset[:, 2]) < 0.006)


def _stacked(scene: _Scene, top: np.ndarray, base: np.ndarray) -> np.ndarray:
    pitch = (_of(scene.size, top) + _of(scene.size, base)) / 2
    return _at(scene, top, _of(scene.block, base) + pitch[:, None] * _UP) & ~_of(scene.held, top)


def _beside(scene: _Scene, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    offset = _of(scene.block, a) - _of(scene.block, b)
    gap = np.linalg.norm(offset[:, :2], axis=-1) - (_of(scene.size, a) + _of(scene.size, b)) / 2
    return (np.abs(gap - BESIDE_GAP) < 0.010) & (np.abs(offset[:, 2]) < 0.006)


def _on_table(scene: _Scene, block: np.ndarray) -> np.ndarray:
    return np.abs(_of(scene.block, block)[:, 2] - _of(scene.size, block) / 2) < 0.006


def _top(scene: _Scene, block: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    """The uppermost block resting on `block` (itself if none); `ignore` does not count as covering."""
    n = scene.size.shape[1]
    for _ in range(n - 1):
        covers = scene.above[np.arange(len(block)), :, block] & (np.arange(n) != ignore[:, None])
        block = np.where(covers.any(-1), covers.argmax(-1), block)
    return block


def _best_side(scene: _Scene, block: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the four places beside `base` the nearest that is free and within reach: `[E, 3]`, heading `[E]`."""
    at, size = _of(scene.block, base), _of(scene.size, block)
    pitch = (size + _of(scene.size, base)) / 2 + BESIDE_GAP
    direction = _of(scene.heading, base)[:, None] + np.arange(4) * np.pi / 2  # [E, 4]
    unit = np.stack([np.cos(direction), np.sin(direction)], -1)
    place = at[:, None, :2] + pitch[:, None, None] * unit
    other = np.arange(scene.size.shape[1]) != block[:, None]
    other &= np.arange(scene.size.shape[1]) != base[:, None]
    gap = np.linalg.norm(place[:, :, None] - scene.block[:, None, :, :2], axis=-1)
    crowded = np.where(other[:, None], np.maximum(0.075 - gap, 0), 0).sum(-1)
    # Fingers close across the line between the blocks, so the gripper's x axis must point along it.
    turn = np.maximum(np.abs(_wrap(direction, np.pi)) - YAW_LIMIT, 0)
    outside = np.abs(place[..., 1]) > 0.26
    outside |= (place[..., 0] < 0.32) | (place[..., 0] > 0.66)
    away = np.linalg.norm(place - _of(scene.block, block)[:, None, :2], axis=-1)
    best = np.argmin(away + 20 * crowded + 5 * turn + 10 * outside, -1)
    chosen = _of(place, best)
    return np.concatenate([chosen, size[:, None] / 2], -1), _of(direction, best)


def _wrap(angle: np.ndarray, period: float) -> np.ndarray:
    """Into [-period/2, period/2)."""
    return (angle + period / 2) % period - period / 2


# --- how to move -------------------------------------------------------------------------------------------------


def _move(scene: _Scene, job: _Job) -> np.ndarray:
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
    at = _of(scene.block, block)
    point: np.ndarray = np.where(holding[:, None], at, scene.tcp)
    aside = _aside(scene, block, point, np.where((job.want >= 0)[:, None], _of(scene.block, job.want), point))
    goal = point.copy()
    goal[taking] = at[taking]
    goal[placing] = np.where(astray[:, None], aside, job.goal)[placing]
    goal[lifting, 2] = LIFT_HEIGHT
    hovering = placing & ~astray & (job.verb == "hover")
    goal[hovering, 2] += HOVER_GAP
    error = np.linalg.norm((goal - point)[:, :2], axis=-1)

    # Yaw: fingers along an edge of the block, on the side with most room; with a block in hand, along its place's.
    edge = np.where(placing & ~astray, job.heading, _of(scene.heading, block))
    exact = placing & np.isin(job.verb, ["beside", "pyramid"]) & ~astray
    yaw_goal, tight = _best_yaw(scene, edge, goal, block, half_turn=exact)
    turning = taking | placing & ~astray
    turn = np.where(turning, yaw_goal - scene.yaw, 0.0)

    # Descend only when above the goal; until then keep above everything on the way.
    rest = np.where(holding, _of(scene.size, block) / 2, FINGERTIP)
    open_enough = holding | (scene.width > _of(scene.size, block) + 0.02)
    low = point[:, 2] < goal[:, 2] + 0.03
    straight = np.abs(turn) < np.where(exact, 0.08, 0.25)
    aligned = (error < np.where(low, 0.016, 0.010)) & (straight | ~turning) & (open_enough | low)
    travelling = (taking | placing) & ~aligned
    ignore = np.arange(n) == carried[:, None]
    height, slow = _clearance(scene, point, goal, rest, ignore)
    target = goal.copy()
    target[travelling, 2] = np.maximum(goal[:, 2] + 0.02, height)[travelling]

    # Withdraw: straight up until the fingers are clear, then above the placed block.
    left = _of(scene.block, job.want)
    target[leaving] = (left + LEAVE_HEIGHT * _UP)[leaving]
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


def _resting(scene: _Scene, job: _Job, block: np.ndarray) -> np.ndarray:
    """The held `block` stands where it may stay: on the table, or on a block that the job does not need free."""
    offset = _of(scene.block, block)[:, None] - scene.block
    pitch = (_of(scene.size, block)[:, None] + scene.size) / 2
    under = (np.linalg.norm(offset[..., :2], axis=-1) < 0.5 * pitch) & (np.abs(offset[..., 2] - pitch) < 0.003)
    needed = (np.arange(scene.size.shape[1]) == job.needed[:, :, None]).any(1)
    return _of(scene.on_table, block) | (under & ~needed).any(-1)


def _aside(scene: _Scene, block: np.ndarray, point: np.ndarray, then: np.ndarray) -> np.ndarray:
    """A free spot on the table for the centre of `block`, on a short way from `point` to `then`: `[E, 3]`.

    The way to the best spot never makes another one better, so the choice stands while the block travels.
    """
    here = np.clip(point[:, None, :2], (0.34, -0.25), (0.64, 0.25))
    spots = np.concatenate([here, np.broadcast_to(_SPOTS, (len(point), *_SPOTS.shape))], 1)
    other = np.arange(scene.size.shape[1]) != block[:, None]
    gap = np.linalg.norm(spots[:, :, None] - scene.block[:, None, :, :2], axis=-1)
    crowded = np.where(other[:, None], np.maximum(FREE_RADIUS - gap, 0), 0).max(-1)
    away = np.linalg.norm(spots - point[:, None, :2], axis=-1)
    away += 0.5 * np.linalg.norm(spots - then[:, None, :2], axis=-1)
    spot = _of(spots, np.argmin(away + 50 * crowded, -1))
    return np.concatenate([spot, _of(scene.size, block)[:, None] / 2], -1)


def _best_yaw(
    scene: _Scene, edge: np.ndarray, at: np.ndarray, block: np.ndarray, half_turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the gripper yaws along `edge`, the near one whose fingers and palm stay off other blocks at `at`: `[E]`."""
    turns = np.array([0, 2, 1, 3])[None] * np.pi / 2
    wanted = _wrap(edge[:, None] + turns, 2 * np.pi)  # [E, 4]
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
    return _of(yaw, best), _of((matters & (room < 0.004)).any(-1), best)


def _clearance(
    scene: _Scene, point: np.ndarray, goal: np.ndarray, rest: np.ndarray, ignore: np.ndarray
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


# --- noise -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Draws:
    """All the randomness of one episode, drawn before it starts; T control steps."""

    additive: np.ndarray  # [T, A] white noise plus a slow bias, for level 1
    flip: np.ndarray  # [T] uniform: the gripper is flipped where this is below a rate
    burst: np.ndarray  # [T] uniform: a burst begins where this is below a rate
    burst_steps: np.ndarray  # [T] int: how long it would be
    uniform: np.ndarray  # [T, A] correlated random actions, for bursts and random episodes


def _draw(seed: int, steps: int, n_actions: int) -> _Draws:
    generator = rng(seed, "teacher")
    white = generator.standard_normal((steps, n_actions))
    kicks = generator.standard_normal((steps, n_actions))
    bias = np.empty_like(white)
    bias[0] = kicks[0]
    for t in range(1, steps):  # stationary, unit variance, forgets in about a second
        bias[t] = 0.95 * bias[t - 1] + np.sqrt(1 - 0.95**2) * kicks[t]
    keys = generator.uniform(-1, 1, (steps, n_actions))
    fresh = generator.uniform(size=steps) < 0.25
    fresh[0] = True
    since = np.maximum.accumulate(np.where(fresh, np.arange(steps), 0))
    return _Draws(
        # 0.6 makes levels 0.2, 0.4, 0.7 spoil stacking about as much as METHOD 4 reports (65, 8, 0 % succeed)
        additive=0.6 * (white + bias),
        flip=generator.uniform(size=steps),
        burst=generator.uniform(size=steps),
        burst_steps=generator.integers(BURST_STEPS[0], BURST_STEPS[1] + 1, steps),
        uniform=keys[since],
    )


class _Noise:
    """Disturbs the clean actions of E episodes; step t of an episode depends on its seed and level alone."""

    def __init__(self, draws: list[_Draws], levels: np.ndarray, random_mask: np.ndarray) -> None:
        self._t = 0
        self._additive = levels[:, None, None] * np.stack([d.additive for d in draws])
        self._flip = np.stack([d.flip for d in draws]) < 0.05 * levels[:, None]
        begins = np.stack([d.burst for d in draws]) < 0.02 * levels[:, None]
        ends = np.arange(begins.shape[1]) + np.stack([d.burst_steps for d in draws])
        last = np.maximum.accumulate(np.where(begins, ends, 0), axis=1)
        self._random = (np.arange(begins.shape[1]) < last) | random_mask[:, None]
        self._uniform = np.stack([d.uniform for d in draws])

    def disturb(self, action: np.ndarray) -> np.ndarray:
        """`[E, A]` -> `[E, A]`; past an episode's length the draws repeat."""
        t = self._t % self._random.shape[1]
        self._t += 1
        noisy = action + self._additive[:, t]
        noisy[:, 4] = np.where(self._flip[:, t], -action[:, 4], action[:, 4])
        noisy = np.where(self._random[:, t, None], self._uniform[:, t], noisy)
        return np.clip(noisy, -1, 1)
