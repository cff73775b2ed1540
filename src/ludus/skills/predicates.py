"""The words for tasks with a gripper and blocks: terms and conditions on logged observations, and every tolerance.

`block_vocabulary` fits any world with one effector group (`position`, `width`, `command`) and object groups (`position`,
`velocity`, `size`, `touch_left`, `touch_right`) over a table at height 0, see `ludus.types.ObservationSpec`. The words
know no simulator.

Arrays are `[...]` for observations `[..., size]`. Conditions use only + - * / sqrt and comparisons, which IEEE 754
rounds exactly, so that a batch and its rows one by one give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ludus.skills.vocabulary import Atom, Predicate, Vocabulary, word
from ludus.types import Observations, ObservationSpec

__all__ = ["Atom", "Predicate", "Vocabulary", "block_predicates", "block_vocabulary", "shape", "word"]

# Shaping terms: METHOD 3, the block-stacking family of rewards; all lengths in metres.
SHAPE_AT_MARGIN = 0.05
"""What is left of a shaping term at its margin."""
REACH_TOLERANCE_M = 0.02
"""Reach is full when the tool centre point (tcp) is this close to a block's centre."""
REACH_MARGIN_M = 0.15
"""Where reach has fallen to 0.05."""
LIFT_TOP_M = 0.10
"""Height at which lift is full. METHOD starts the ramp at 0.055 for larger objects; here it starts at the table, because
a 4 cm cube carried at 5 cm is a lifted one and a flat start teaches nothing."""
HOVER_GAP_M = 0.02
"""Hover aims at this much air between the blocks. METHOD aims at contact (none): a held cube would push the lower one."""
HOVER_TOLERANCE_M = 0.01
"""Hover is full this close to its aim."""
HOVER_MARGIN_M = 0.20
"""Where hover has fallen to 0.05."""
LOWER_FROM_M = 0.03
"""Lowering counts from this gap down to contact: it takes over inside hover's full region, so nothing is lost on the way."""
LEAVE_FROM_M = 0.03
"""Leaving counts from this distance of tcp and block centre ..."""
AWAY_M = 0.08
"""... and is complete at this one (METHOD: 0.10 above, tolerance 0.03, for larger objects; here in any direction)."""
MAX_WIDTH_M = 0.08
"""Distance between the pads of a fully open gripper."""

# Conditions: METHOD 4, the numbers for 4 cm cubes; METHOD 3 where they do not depend on the object's size.
OPEN_WIDTH_M = 0.07
"""A gripper at least this wide is open: a 4 cm cube at any yaw (diagonal 5.7 cm) fits between the pads."""
HELD_DISTANCE_M = 0.025
"""A held block's centre is this close to the tcp ..."""
HELD_NARROWER_M = 0.012
"""... and the pads are at most this much nearer to each other than the block's edge is long (it gives, edges are grasped) ..."""
HELD_WIDER_M = 0.006
"""... or this much further apart (it is turned between the pads)."""
RELEASED_WIDER_M = 0.01
"""A gripper this much wider than the block has let go ..."""
RELEASED_DISTANCE_M = 0.05
"""... and so has one whose tcp is this far from the block, however narrow (METHOD has the width only: a gripper that closes
on nothing afterwards would undo a finished stack)."""
LIFTED_M = 0.05
"""A lifted block's lower face is this high: 1 cm above a block on the table."""
ALIGNED_M = 0.015
"""Horizontal distance of two centres that counts as above each other (METHOD 3's hover tolerance is 0.01 per axis)."""
ABOVE_GAP_M = (0.005, 0.06)
"""Least and most air between two blocks of which one is above the other."""
ON_OFFSET = 0.55
"""A block is on another if their centres are horizontally within this many edges of the lower one (METHOD 3: 0.03 m) ..."""
ON_GAP_M = 0.008
"""... and the gap between their faces is at most this (tilted by contact, sunk by the solver)."""
COVER_OFFSET = 0.8
"""A block whose lower face is at another's upper one and whose centre is within this many edges covers it, even if it
rests mostly elsewhere (a pyramid's top is 0.5 to 0.75 edges from both its supports)."""
BESIDE_GAP_M = (-0.005, 0.02)
"""Least and most air between blocks side by side: centre distance less one edge. METHOD's ±0.01 would exclude touching cubes
turned by 45° (0.008) with any error of placing on top; above 0.02 a pyramid's top has less than 1 cm of support each side."""
BESIDE_AIM_M = 0.008
"""The gap at which `beside_error` is zero: near the middle of the range above."""
BOTH_OFFSET = 0.4
"""A pyramid's top is horizontally within this many of its edges of the middle between its supports (METHOD: 0.03 m, with which
a 4 cm cube could stand on one of them alone)."""
STILL_M_S = 0.05
"""A block slower than this is at rest: it moves less than 3 mm per control step."""


# --- building blocks ---------------------------------------------------------------------------------------------


def shape(x: Any, margin: Any) -> np.ndarray:
    """1 − tanh²(w·|x|) with w = atanh(√0.95)/margin: 1 at x = 0, 0.05 at |x| = margin."""
    w = math.atanh(math.sqrt(1 - SHAPE_AT_MARGIN))
    t = np.tanh(np.abs(x) * (w / margin))
    return 1 - t * t


def _ramp(x: np.ndarray, low: Any, high: Any) -> np.ndarray:
    return np.clip((x - low) / (high - low), 0, 1)


def _xyz(spec: ObservationSpec, o: Observations, group: str, name: str = "position") -> tuple[np.ndarray, ...]:
    v = spec.get(o, group, name)
    return v[..., 0], v[..., 1], v[..., 2]


def _effector(spec: ObservationSpec) -> str:
    return spec.of_kind("effector")[0].name


def _size(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    return spec.get(o, x, "size")[..., 0]


def _hypot(*axes: np.ndarray) -> np.ndarray:
    # A sum over an axis may be ordered by memory layout; this order is fixed.
    total = axes[0] * axes[0]
    for a in axes[1:]:
        total = total + a * a
    return np.sqrt(total)


# --- measures ----------------------------------------------------------------------------------------------------


@word("real")
def width(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """Distance between the gripper's pads, metres: 0 closed, 0.08 fully open."""
    return spec.get(o, _effector(spec), "width")[..., 0]


@word("real")
def tcp_height(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """Height of the point between the pads above the table, metres."""
    return _xyz(spec, o, _effector(spec))[2]


@word("real")
def tcp_distance(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Distance from the point between the pads to the centre of X, metres."""
    return _hypot(*(a - b for a, b in zip(_xyz(spec, o, _effector(spec)), _xyz(spec, o, x), strict=True)))


@word("real")
def x_(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Where the centre of X is along the axis that points away from the robot's base, metres."""
    return _xyz(spec, o, x)[0]


@word("real")
def y_(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Where the centre of X is along the axis that points to the robot's left, metres."""
    return _xyz(spec, o, x)[1]


@word("real")
def height(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Height of the lower face of X above the table, metres: 0 at rest."""
    return _xyz(spec, o, x)[2] - _size(spec, o, x) / 2


@word("real")
def speed(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How fast X moves, metres per second."""
    return _hypot(*_xyz(spec, o, x, "velocity"))


@word("real")
def distance(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """Distance between the centres of X and Y, metres."""
    return _hypot(*(a - b for a, b in zip(_xyz(spec, o, x), _xyz(spec, o, y), strict=True)))


@word("real")
def offset(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """Horizontal distance between the centres of X and Y, metres."""
    (ax, ay, _), (bx, by, _) = _xyz(spec, o, x), _xyz(spec, o, y)
    return _hypot(ax - bx, ay - by)


@word("real")
def gap(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """Height of the lower face of X above the upper face of Y, metres: 0 when X stands on Y."""
    return height(spec, o, x) - (height(spec, o, y) + _size(spec, o, y))


@word("real")
def beside_error(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How much too near or too far X is horizontally to stand side by side with Y, metres."""
    return np.abs(offset(spec, o, x, y) - (_size(spec, o, x) + _size(spec, o, y)) / 2 - BESIDE_AIM_M)


@word("real")
def both_offset(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """Horizontal distance from the centre of X to the middle between Y and Z, metres."""
    (ax, ay, _), (bx, by, _), (cx, cy, _) = _xyz(spec, o, x), _xyz(spec, o, y), _xyz(spec, o, z)
    return _hypot(ax - (bx + cx) / 2, ay - (by + cy) / 2)


@word("real")
def both_gap(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """Height of the lower face of X above the upper faces of Y and Z (their mean), metres."""
    return (gap(spec, o, x, y) + gap(spec, o, x, z)) / 2


# --- conditions --------------------------------------------------------------------------------------------------


@word("bool")
def open_(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """The gripper is open."""
    return width(spec, o) >= OPEN_WIDTH_M


@word("bool", ("open", ()), ("clear", (0,)))
def near(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The point between the pads is at X: the gripper only needs to close."""
    return tcp_distance(spec, o, x) <= REACH_TOLERANCE_M


@word("bool", ("near", (0,)))
def touching(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Both pads touch X."""
    return (spec.get(o, x, "touch_left")[..., 0] > 0.5) & (spec.get(o, x, "touch_right")[..., 0] > 0.5)


@word("bool", ("near", (0,)), ("clear", (0,)))
def held(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is held: between the pads, both touch it, and they stand apart as wide as it is."""
    excess = width(spec, o) - _size(spec, o, x)
    fits = (excess >= -HELD_NARROWER_M) & (excess <= HELD_WIDER_M)
    return touching(spec, o, x) & fits & (tcp_distance(spec, o, x) <= HELD_DISTANCE_M)


@word("bool", ("held", (0,)))
def lifted(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is held and higher than a block on the table."""
    return held(spec, o, x) & (height(spec, o, x) >= LIFTED_M)


@word("bool")
def released(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The gripper does not hold X: it is wider than X or somewhere else."""
    wide = width(spec, o) - _size(spec, o, x) >= RELEASED_WIDER_M
    return wide | (tcp_distance(spec, o, x) >= RELEASED_DISTANCE_M)


@word("bool", ("released", (0,)))
def away(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The gripper is well away from X."""
    return tcp_distance(spec, o, x) >= AWAY_M


@word("bool")
def still(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is at rest."""
    return speed(spec, o, x) <= STILL_M_S


@word("bool")
def on_table(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X stands on the table."""
    return np.abs(height(spec, o, x)) <= ON_GAP_M


@word("bool")
def clear(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """No block is on X, not even partly."""
    result = np.ones(o[x].shape[:-1], bool)
    for other in spec.of_kind("object"):
        if other.name != x:
            above_it = np.abs(gap(spec, o, other.name, x)) <= ON_GAP_M
            result &= ~(above_it & (offset(spec, o, other.name, x) <= COVER_OFFSET * _size(spec, o, x)))
    return result


@word("bool", ("lifted", (0,)), ("clear", (1,)))
def above(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """X is right above Y with a little air between them."""
    air = gap(spec, o, x, y)
    aligned = offset(spec, o, x, y) <= ALIGNED_M
    return aligned & (air >= ABOVE_GAP_M[0]) & (air <= ABOVE_GAP_M[1])


@word("bool", ("above", (0, 1)), ("clear", (1,)))
def on(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """X stands on Y (it may still be held)."""
    centred = offset(spec, o, x, y) <= ON_OFFSET * _size(spec, o, y)
    return centred & (np.abs(gap(spec, o, x, y)) <= ON_GAP_M)


@word("bool", ("lifted", (0,)))
def beside(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """X and Y stand side by side at the same height, touching or nearly so."""
    air = offset(spec, o, x, y) - (_size(spec, o, x) + _size(spec, o, y)) / 2
    level = np.abs(height(spec, o, x) - height(spec, o, y)) <= ON_GAP_M
    return level & (air >= BESIDE_GAP_M[0]) & (air <= BESIDE_GAP_M[1])


@word("bool", ("beside", (1, 2)), ("clear", (1,)), ("clear", (2,)), ("lifted", (0,)))
def on_both(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """X stands on Y and Z at once, over the middle between them."""
    centred = both_offset(spec, o, x, y, z) <= BOTH_OFFSET * _size(spec, o, x)
    return centred & (np.abs(both_gap(spec, o, x, y, z)) <= ON_GAP_M)


# --- shaped terms, all in [0, 1] ---------------------------------------------------------------------------------


@word("real")
def reach(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """1 when the gripper is at X, falling to 0.05 at 15 cm."""
    d = tcp_distance(spec, o, x)
    return np.where(d <= REACH_TOLERANCE_M, np.float32(1), shape(d, REACH_MARGIN_M))


@word("real")
def grasp(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Half of how far the gripper has closed; 1 when it closes with both pads on X."""
    # METHOD: pads in contact with *something*. The touches are logged per object, so X itself can be asked for.
    closing = spec.get(o, _effector(spec), "command")[..., 0] > 0
    closed = 1 - np.clip(width(spec, o) / MAX_WIDTH_M, 0, 1)
    return np.where(touching(spec, o, x) & closing, np.float32(1), closed / 2)


@word("real")
def reach_grasp(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Half for reaching X, half for then closing on it; 1 when X is held."""
    # METHOD has no `held` here; it is added because the tolerance of held (2.5 cm) is wider than that of reach (2 cm).
    r = reach(spec, o, x)
    partial = np.where(r > 0.9, (0.5 + grasp(spec, o, x) / 2) * r, r / 2)
    return np.where(held(spec, o, x), np.float32(1), partial)


@word("real")
def lift(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How high X is held: 0 on the table or not held, 1 at 10 cm."""
    # METHOD multiplies by `grasp`; a block that lies on another would earn that with a gripper that closes on air.
    return held(spec, o, x) * _ramp(height(spec, o, x), 0, LIFT_TOP_M)


@word("real")
def hover(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How near a lifted X is to the place 2 cm above Y; 0 when X is not lifted."""
    (ax, ay, _), (bx, by, _) = _xyz(spec, o, x), _xyz(spec, o, y)
    d = _hypot(ax - bx, ay - by, gap(spec, o, x, y) - HOVER_GAP_M)
    return lifted(spec, o, x) * np.where(d <= HOVER_TOLERANCE_M, np.float32(1), shape(d, HOVER_MARGIN_M))


@word("real")
def lower(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How far a held X has come down from 3 cm above Y to contact; 0 when it is not right above Y."""
    air = gap(spec, o, x, y)
    ready = held(spec, o, x) & (offset(spec, o, x, y) <= ALIGNED_M) & (air >= -ON_GAP_M)
    return ready * (1 - _ramp(air, 0, LOWER_FROM_M))


@word("real")
def release(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How far the gripper has let go of X; 1 when X is released."""
    opened = _ramp(width(spec, o) - _size(spec, o, x), 0, RELEASED_WIDER_M)
    return np.where(released(spec, o, x), np.float32(1), opened)


@word("real")
def leave(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How far the gripper has left X behind: 0 within 3 cm, 1 when it is well away."""
    return _ramp(tcp_distance(spec, o, x), LEAVE_FROM_M, AWAY_M)


MEASURES = (width, tcp_height, tcp_distance, x_, y_, height, speed, distance, offset, gap)
MEASURES += (beside_error, both_offset, both_gap)
CONDITIONS = (open_, near, touching, held, lifted, released, away, still, on_table, clear, above, on, beside, on_both)
SHAPED = (reach, grasp, reach_grasp, lift, hover, lower, release, leave)


def block_predicates() -> tuple[Predicate, ...]:
    """The words for worlds with one gripper and movable blocks on a table at height 0."""
    return MEASURES + CONDITIONS + SHAPED


def block_vocabulary(spec: ObservationSpec, objects: Sequence[str] | None = None) -> Vocabulary:
    """`block_predicates` over the objects of `spec`."""
    names = tuple(objects) if objects is not None else tuple(g.name for g in spec.of_kind("object"))
    return Vocabulary(spec, names, block_predicates())
