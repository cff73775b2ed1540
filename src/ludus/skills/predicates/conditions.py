"""Conditions: what holds or does not, each at a tolerance of `ludus.skills.predicates.tolerances`."""

from __future__ import annotations

import numpy as np

from ludus.skills.predicates.measures import (
    both_gap,
    both_offset,
    gap,
    height,
    offset,
    size,
    speed,
    tcp_distance,
    width,
)
from ludus.skills.predicates.tolerances import (
    ABOVE_GAP_M,
    ALIGNED_M,
    AWAY_M,
    BESIDE_GAP_M,
    BOTH_OFFSET,
    COVER_OFFSET,
    HELD_DISTANCE_M,
    HELD_NARROWER_M,
    HELD_WIDER_M,
    LIFTED_M,
    ON_GAP_M,
    ON_OFFSET,
    OPEN_WIDTH_M,
    REACH_TOLERANCE_M,
    RELEASED_DISTANCE_M,
    RELEASED_WIDER_M,
    STILL_M_S,
)
from ludus.skills.vocabulary import Shaping, predicate
from ludus.types import Observations, ObservationSpec

FINISHED = ("released", (0,)), ("still", (0,))
"""A block that was put somewhere is let go of and at rest."""


@predicate("bool", shaping=Shaping(("width() / 0.08",), from_anywhere=True, phrase="open the gripper"))
def open_(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """The gripper is open."""
    return width(spec, o) >= OPEN_WIDTH_M


@predicate(
    "bool", ("open", ()), ("clear", (0,)), shaping=Shaping(("reach(X)",), from_anywhere=True, phrase="move to X")
)
def near(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The point between the pads is at X: the gripper only needs to close."""
    return tcp_distance(spec, o, x) <= REACH_TOLERANCE_M


@predicate(
    "bool", ("near", (0,)), shaping=Shaping(("reach_grasp(X)",), from_anywhere=True, phrase="touch X on both sides")
)
def touching(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """Both pads touch X."""
    return (spec.get(o, x, "touch_left")[..., 0] > 0.5) & (spec.get(o, x, "touch_right")[..., 0] > 0.5)


@predicate(
    "bool",
    ("near", (0,)),
    ("clear", (0,)),
    shaping=Shaping(("reach_grasp(X)",), from_anywhere=True, phrase="take hold of X"),
)
def held(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is held: between the pads, both touch it, and they stand apart as wide as it is."""
    excess = width(spec, o) - size(spec, o, x)
    fits = (excess >= -HELD_NARROWER_M) & (excess <= HELD_WIDER_M)
    return touching(spec, o, x) & fits & (tcp_distance(spec, o, x) <= HELD_DISTANCE_M)


@predicate("bool", ("held", (0,)), shaping=Shaping(("lift(X)",), phrase="raise X"))
def lifted(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is held and higher than a block on the table."""
    return held(spec, o, x) & (height(spec, o, x) >= LIFTED_M)


@predicate(
    "bool",
    shaping=Shaping(("release(X)",), from_anywhere=True, ends=(("held", (0,)),), phrase="let go of X"),
)
def released(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The gripper does not hold X: it is wider than X or somewhere else."""
    wide = width(spec, o) - size(spec, o, x) >= RELEASED_WIDER_M
    return wide | (tcp_distance(spec, o, x) >= RELEASED_DISTANCE_M)


@predicate("bool", ("released", (0,)), shaping=Shaping(("leave(X)",), from_anywhere=True, phrase="leave X"))
def away(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """The gripper is well away from X."""
    return tcp_distance(spec, o, x) >= AWAY_M


@predicate("bool", shaping=Shaping(("settle(X)",), from_anywhere=True, phrase="keep X still"))
def still(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is at rest."""
    return speed(spec, o, x) <= STILL_M_S


@predicate(
    "bool",
    ("lifted", (0,)),
    shaping=Shaping(("carry_aside(X)", "lower_to_table(X)"), completed_by=FINISHED, phrase="put X on the table"),
)
def on_table(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X stands on the table."""
    return np.abs(height(spec, o, x)) <= ON_GAP_M


@predicate("bool", shaping=Shaping(phrase="clear X"))
def clear(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """No block is on X, not even partly."""
    result = np.ones(o[x].shape[:-1], bool)
    for other in spec.of_kind("object"):
        if other.name != x:
            above_it = np.abs(gap(spec, o, other.name, x)) <= ON_GAP_M
            result &= ~(above_it & (offset(spec, o, other.name, x) <= COVER_OFFSET * size(spec, o, x)))
    return result


@predicate(
    "bool",
    ("lifted", (0,)),
    ("clear", (1,)),
    shaping=Shaping(("hover(X, Y)",), completed_by=(("held", (0,)),), phrase="hold X above Y"),
)
def above(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """X is right above Y with a little air between them."""
    air = gap(spec, o, x, y)
    aligned = offset(spec, o, x, y) <= ALIGNED_M
    return aligned & (air >= ABOVE_GAP_M[0]) & (air <= ABOVE_GAP_M[1])


@predicate(
    "bool",
    ("above", (0, 1)),
    ("clear", (1,)),
    shaping=Shaping(("lower(X, Y)",), completed_by=FINISHED, phrase="put X on Y", undo="take X off Y"),
)
def on(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """X stands on Y (it may still be held)."""
    centred = offset(spec, o, x, y) <= ON_OFFSET * size(spec, o, y)
    return centred & (np.abs(gap(spec, o, x, y)) <= ON_GAP_M)


@predicate(
    "bool",
    ("lifted", (0,)),
    shaping=Shaping(
        ("carry_beside(X, Y)", "lower_beside(X, Y)"),
        completed_by=FINISHED,
        phrase="put X beside Y",
        undo="take X from beside Y",
    ),
)
def beside(spec: ObservationSpec, o: Observations, x: str, y: str) -> np.ndarray:
    """X and Y stand side by side at the same height, touching or nearly so."""
    air = offset(spec, o, x, y) - (size(spec, o, x) + size(spec, o, y)) / 2
    level = np.abs(height(spec, o, x) - height(spec, o, y)) <= ON_GAP_M
    return level & (air >= BESIDE_GAP_M[0]) & (air <= BESIDE_GAP_M[1])


@predicate(
    "bool",
    ("beside", (1, 2)),
    ("clear", (1,)),
    ("clear", (2,)),
    ("lifted", (0,)),
    shaping=Shaping(
        ("hover_both(X, Y, Z)", "lower_both(X, Y, Z)"),
        completed_by=FINISHED,
        phrase="put X on both Y and Z",
        undo="take X off Y and Z",
    ),
)
def on_both(spec: ObservationSpec, o: Observations, x: str, y: str, z: str) -> np.ndarray:
    """X stands on Y and Z at once, over the middle between them."""
    centred = both_offset(spec, o, x, y, z) <= BOTH_OFFSET * size(spec, o, x)
    return centred & (np.abs(both_gap(spec, o, x, y, z)) <= ON_GAP_M)


CONDITIONS = (open_, near, touching, held, lifted, released, away, still, on_table, clear, above, on, beside, on_both)
