"""Shaped terms for rewards, all in [0, 1] (docs/method.md, section 3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ludus.skills.predicates.conditions import beside, held, lifted, released, touching
from ludus.skills.predicates.measures import (
    beside_error,
    both_gap,
    both_offset,
    effector,
    gap,
    height,
    hypot,
    offset,
    size,
    speed,
    tcp_distance,
    width,
    xyz,
)
from ludus.skills.predicates.tolerances import (
    ALIGNED_M,
    ASIDE_ENOUGH,
    ASIDE_OFFSET,
    AWAY_M,
    BESIDE_ALIGNED_M,
    BESIDE_LOWER_FROM_M,
    HOVER_GAP_M,
    HOVER_MARGIN_M,
    HOVER_TOLERANCE_M,
    LEAVE_FROM_M,
    LIFT_TOP_M,
    LOWER_FROM_M,
    MAX_WIDTH_M,
    NEARLY_MARGIN_M,
    ON_GAP_M,
    REACH_MARGIN_M,
    REACH_TOLERANCE_M,
    RELEASED_WIDER_M,
    SETTLE_FROM_M_S,
    SHAPE_AT_MARGIN,
    STILL_M_S,
)
from ludus.skills.vocabulary import predicate
from ludus.types import Observations, ObservationSpec


def shape(x: Any, margin: Any) -> np.ndarray:
    """1 − tanh²(w·|x|) with w = atanh(√0.95)/margin: 1 at x = 0, 0.05 at |x| = margin."""
    w = math.atanh(math.sqrt(1 - SHAPE_AT_MARGIN))
    t = np.tanh(np.abs(x) * (w / margin))
    return 1 - t * t


def _nearly(x: np.ndarray) -> np.ndarray:
    """Falls twice with the distance x: over `HOVER_MARGIN_M`, and over `NEARLY_MARGIN_M`."""
    return (shape(x, HOVER_MARGIN_M) + shape(x, NEARLY_MARGIN_M)) / 2


def _ramp(x: np.ndarray, low: Any, high: Any) -> np.ndarray:
    return np.clip((x - low) / (high - low), 0, 1)


@predicate("real")
def reach(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """1 when the gripper is at X, falling to 0.05 at 15 cm."""
    d = tcp_distance(spec, o, x)
    return np.where(d <= REACH_TOLERANCE_M, np.float32(1), shape(d, REACH_MARGIN_M))


@predicate("real")
def grasp(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Half of how far the gripper has closed; 1 when it closes with both pads on X."""
    # docs/method.md: pads in contact with *something*. The touches are logged per object, so X itself can be asked for.
    closing = spec.get(o, effector(spec), "command")[..., 0] > 0
    closed = 1 - np.clip(width(spec, o) / MAX_WIDTH_M, 0, 1)
    return np.where(touching(spec, o, x) & closing, np.float32(1), closed / 2)


@predicate("real")
def reach_grasp(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Half for reaching X, half for then closing on it; 1 when X is held."""
    # docs/method.md has no `held` here; it is added because the tolerance of held (2.5 cm) is wider than that of reach (2 cm).
    r = reach(spec, o, x)
    partial = np.where(r > 0.9, (0.5 + grasp(spec, o, x) / 2) * r, r / 2)
    return np.where(held(spec, o, x), np.float32(1), partial)


@predicate("real")
def lift(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How high X is held: 0 on the table or not held, 1 at 10 cm."""
    # docs/method.md multiplies by `grasp`; a block that lies on another would earn that with a gripper that closes on air.
    return held(spec, o, x) * _ramp(height(spec, o, x), 0, LIFT_TOP_M)


@predicate("real")
def hover(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How near a lifted X is to the place 2 cm above Y; 0 when X is not lifted."""
    (ax, ay, _), (bx, by, _) = xyz(spec, o, x), xyz(spec, o, y)
    d = hypot(ax - bx, ay - by, gap(spec, o, x, y) - HOVER_GAP_M)
    return lifted(spec, o, x) * np.where(d <= HOVER_TOLERANCE_M, np.float32(1), shape(d, HOVER_MARGIN_M))


@predicate("real")
def lower(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How far a held X has come down from 3 cm above Y to contact; 0 when it is not right above Y."""
    air = gap(spec, o, x, y)
    ready = held(spec, o, x) & (offset(spec, o, x, y) <= ALIGNED_M) & (air >= -ON_GAP_M)
    return ready * (1 - _ramp(air, 0, LOWER_FROM_M))


@predicate("real")
def release(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How far the gripper has let go of X; 1 when X is released."""
    opened = _ramp(width(spec, o) - size(spec, o, x), 0, RELEASED_WIDER_M)
    return np.where(released(spec, o, x), np.float32(1), opened)


@predicate("real")
def leave(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How far the gripper has left X behind: 0 within 3 cm, 1 when it is well away."""
    return _ramp(tcp_distance(spec, o, x), LEAVE_FROM_M, AWAY_M)


@predicate("real")
def settle(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """1 when X is at rest, falling to 0 at 25 cm/s."""
    return 1 - _ramp(speed(spec, o, x), STILL_M_S, SETTLE_FROM_M_S)


@predicate("real")
def carry_beside(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How near a lifted X is, horizontally, to a place side by side with Y; 0 when X is not lifted."""
    error = beside_error(spec, o, x, y)
    return lifted(spec, o, x) * _nearly(error)


@predicate("real")
def lower_beside(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How far a held X has come down from 10 cm above the height of Y to it; 0 when its place is not side by side with Y."""
    ready = held(spec, o, x) & (beside_error(spec, o, x, y) <= BESIDE_ALIGNED_M)
    rise = np.abs(height(spec, o, x) - height(spec, o, y))
    return ready * (1 - _ramp(rise, 0, BESIDE_LOWER_FROM_M))


@predicate("real")
def hover_both(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """How near a lifted X is to the place 2 cm above the middle between Y and Z; 0 when X is not lifted, or Y and Z do not stand
    side by side: pushed apart they have no such place."""
    d = hypot(both_offset(spec, o, x, y, z), both_gap(spec, o, x, y, z) - HOVER_GAP_M)
    return (lifted(spec, o, x) & beside(spec, o, y, z)) * np.where(d <= HOVER_TOLERANCE_M, np.float32(1), _nearly(d))


@predicate("real")
def lower_both(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """How far a held X has come down from 3 cm above Y and Z to contact; 0 when it is not above the middle between them, or they
    do not stand side by side."""
    air = both_gap(spec, o, x, y, z)
    ready = held(spec, o, x) & beside(spec, o, y, z) & (both_offset(spec, o, x, y, z) <= ALIGNED_M) & (air >= -ON_GAP_M)
    return ready * (1 - _ramp(air, 0, LOWER_FROM_M))


@predicate("real")
def carry_aside(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How far a lifted X is, horizontally, from being over any other block; 0 when X is not lifted."""
    return lifted(spec, o, x) * _ramp(_room(spec, o, x), 0, ASIDE_OFFSET)


@predicate("real")
def lower_to_table(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How far a held X has come down from 10 cm to the table; 0 when it is over another block."""
    ready = held(spec, o, x) & (_room(spec, o, x) >= ASIDE_ENOUGH)
    return ready * (1 - _ramp(np.abs(height(spec, o, x)), 0, LIFT_TOP_M))


def _room(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Horizontal distance of the nearest other block, in edges of it; far where there is none."""
    room = np.full(o[x].shape[:-1], 2 * ASIDE_OFFSET, np.float32)
    for other in spec.of_kind("object"):
        if other.name != x:
            room = np.minimum(room, offset(spec, o, x, other.name) / size(spec, o, other.name))
    return room


SHAPED = (reach, grasp, reach_grasp, lift, hover, lower, release, leave, settle, carry_beside, lower_beside)
SHAPED += (hover_both, lower_both, carry_aside, lower_to_table)
