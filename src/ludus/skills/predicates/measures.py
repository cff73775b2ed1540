"""Measures: distances, heights and speeds, all in metres and seconds. And how predicates read observations."""

from __future__ import annotations

import numpy as np

from ludus.skills.predicates.tolerances import BESIDE_AIM_M
from ludus.skills.vocabulary import Shaping, predicate
from ludus.types import Observations, ObservationSpec


def xyz(spec: ObservationSpec, o: Observations, group: str, name: str = "position") -> tuple[np.ndarray, ...]:
    v = spec.get(o, group, name)
    return v[..., 0], v[..., 1], v[..., 2]


def effector(spec: ObservationSpec) -> str:
    return spec.of_kind("effector")[0].name


def size(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    return spec.get(o, x, "size")[..., 0]


def hypot(*axes: np.ndarray) -> np.ndarray:
    # A sum over an axis may be ordered by memory layout; this order is fixed.
    total = axes[0] * axes[0]
    for a in axes[1:]:
        total = total + a * a
    return np.sqrt(total)


# --- measures ----------------------------------------------------------------------------------------------------


@predicate("real", shaping=Shaping(scale=0.08, from_anywhere=True))
def width(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """Distance between the gripper's pads, metres: 0 closed, 0.08 fully open."""
    return spec.get(o, effector(spec), "width")[..., 0]


@predicate("real", shaping=Shaping(scale=0.2, from_anywhere=True))
def tcp_height(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """Height of the point between the pads above the table, metres."""
    return xyz(spec, o, effector(spec))[2]


@predicate("real", shaping=Shaping(scale=0.15, from_anywhere=True))
def tcp_distance(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Distance from the point between the pads to the centre of X, metres."""
    return hypot(*(a - b for a, b in zip(xyz(spec, o, effector(spec)), xyz(spec, o, x), strict=True)))


@predicate("real", shaping=Shaping(scale=0.2))
def x_(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Where the centre of X is along the axis that points away from the robot's base, metres."""
    return xyz(spec, o, x)[0]


@predicate("real", shaping=Shaping(scale=0.2))
def y_(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Where the centre of X is along the axis that points to the robot's left, metres."""
    return xyz(spec, o, x)[1]


@predicate("real", shaping=Shaping(scale=0.1))
def height(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Height of the lower face of X above the table, metres: 0 at rest."""
    return xyz(spec, o, x)[2] - size(spec, o, x) / 2


@predicate("real", shaping=Shaping(scale=0.25, from_anywhere=True))
def speed(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """How fast X moves, metres per second."""
    return hypot(*xyz(spec, o, x, "velocity"))


@predicate("real", shaping=Shaping(scale=0.2))
def distance(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """Distance between the centres of X and Y, metres."""
    return hypot(*(a - b for a, b in zip(xyz(spec, o, x), xyz(spec, o, y), strict=True)))


@predicate("real", shaping=Shaping(scale=0.2))
def offset(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """Horizontal distance between the centres of X and Y, metres."""
    (ax, ay, _), (bx, by, _) = xyz(spec, o, x), xyz(spec, o, y)
    return hypot(ax - bx, ay - by)


@predicate("real", shaping=Shaping(scale=0.1))
def gap(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """Height of the lower face of X above the upper face of Y, metres: 0 when X stands on Y."""
    return height(spec, o, x) - (height(spec, o, y) + size(spec, o, y))


@predicate("real", shaping=Shaping(scale=0.2))
def beside_error(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """How much too near or too far X is horizontally to stand side by side with Y, metres."""
    return np.abs(offset(spec, o, x, y) - (size(spec, o, x) + size(spec, o, y)) / 2 - BESIDE_AIM_M)


@predicate("real", shaping=Shaping(scale=0.2))
def both_offset(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """Horizontal distance from the centre of X to the middle between Y and Z, metres."""
    (ax, ay, _), (bx, by, _), (cx, cy, _) = xyz(spec, o, x), xyz(spec, o, y), xyz(spec, o, z)
    return hypot(ax - (bx + cx) / 2, ay - (by + cy) / 2)


@predicate("real", shaping=Shaping(scale=0.1))
def both_gap(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """Height of the lower face of X above the upper faces of Y and Z (their mean), metres."""
    return (gap(spec, o, x, y) + gap(spec, o, x, z)) / 2


MEASURES = (width, tcp_height, tcp_distance, x_, y_, height, speed, distance, offset, gap)
MEASURES += (beside_error, both_offset, both_gap)
