"""Where things are and how large, as far as a world's observations declare it: what pictures without OpenGL are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import ImageColor

from ludus.types import Group, Observations, ObservationSpec

EDGES = ("edges", "size")
"""Fields that give edge lengths: one for a cube, or three along its axes."""


@dataclass(frozen=True)
class Thing:
    """A group with a position, over n observations."""

    name: str
    is_effector: bool
    movable: bool  # False: a goal marker or a fixture
    colour: tuple[int, int, int]  # that of its name, where it is the name of one
    position: np.ndarray  # [n, 3]; a world of two dimensions lies at height 0
    quaternion: np.ndarray  # [n, 4] w, x, y, z; (1, 0, 0, 0) where the world declares neither `quaternion` nor `yaw`
    edges: np.ndarray | None  # [n, 3] edge lengths along its axes; None: it declares no size
    width: np.ndarray | None  # [n] between the pads of a gripper, which face each other along its y axis
    opening: (
        float  # of a gripper: how far it opens, as far as the observations show it, at least such that things fit in
    )
    present: np.ndarray  # [n] bool: False where the world says that the scene has no such thing

    def at(self, rows: np.ndarray) -> Thing:
        """At some of the observations: an index or a mask `[n]`."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: v[rows] for name, v in own.items() if isinstance(v, np.ndarray)})

    @property
    def axes(self) -> np.ndarray:
        """`[n, 3, 3]`: its x, y and z axis in the world, one per row."""
        w, x, y, z = np.moveaxis(self.quaternion, -1, 0)
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
        return np.stack([np.stack(row, -1) for row in rows], -2)

    @property
    def pads(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres `[n, 2, 3]` of the two pads in the frame of the gripper, and half their edges `[3]`, in the proportions of
        common grippers. Only of a thing with a width."""
        assert self.width is not None
        half = self.opening * np.array([0.12, 0.06, 0.25])
        centres = np.zeros((len(self.width), 2, 3))
        centres[:, :, 1] = (self.width[:, None] / 2 + half[1]) * np.array([1.0, -1.0])
        return centres, half


def things(observations: Observations, spec: ObservationSpec) -> tuple[Thing, ...]:
    """All groups that have a `position` of two or three entries and are not hidden.

    Args:
        observations: `[n, size]` per group.
    """
    placed = [g for g in spec.groups if not g.hidden and g.is_flat and _size(g, "position") in (2, 3)]
    found = [_thing(g, observations[g.name].astype(np.float64), k) for k, g in enumerate(placed)]
    least = min((float(t.edges.max()) for t in found if t.edges is not None and t.movable), default=0.0)
    return tuple(replace(t, opening=max(t.opening, least)) for t in found)


def colour(name: str, k: int) -> tuple[int, int, int]:
    """The colour that `name` is the name of, else the k-th of a wheel."""
    try:
        rgb = ImageColor.getrgb(name)
    except ValueError:
        rgb = ImageColor.getrgb(f"hsl({k * 67 % 360}, 45%, 55%)")
    return rgb[0], rgb[1], rgb[2]


def _thing(group: Group, rows: np.ndarray, k: int) -> Thing:
    def field(name: str) -> np.ndarray:
        return rows[:, group.slices[name]]

    n, position = len(rows), field("position")
    position = np.concatenate([position, np.zeros((n, 3 - position.shape[1]))], axis=1)
    quaternion = np.tile([1.0, 0.0, 0.0, 0.0], (n, 1))
    # The quaternion of a hand that points down turns the axes of the pads over; its yaw does not.
    if _size(group, "yaw") == 1 and (group.kind == "effector" or _size(group, "quaternion") != 4):
        half = field("yaw")[:, 0] / 2
        quaternion[:, 0], quaternion[:, 3] = np.cos(half), np.sin(half)
    elif _size(group, "quaternion") == 4:
        quaternion = field("quaternion")
        length = np.linalg.norm(quaternion, axis=1, keepdims=True)
        quaternion = np.where(length > 1e-6, quaternion / np.maximum(length, 1e-6), [1.0, 0.0, 0.0, 0.0])
    width = field("width")[:, 0] if group.kind == "effector" and _size(group, "width") == 1 else None
    sized = next((name for name in EDGES if _size(group, name) in (1, 3)), None)
    return Thing(
        group.name,
        group.kind == "effector",
        group.movable,
        colour(group.name, k),
        position,
        quaternion,
        np.broadcast_to(field(sized), (n, 3)) if sized else None,
        width,
        0.0 if width is None else float(width.max()),
        field("present")[:, 0] > 0.5 if _size(group, "present") == 1 else np.ones(n, bool),
    )


def _size(group: Group, name: str) -> int:
    return next((f.size for f in group.fields if f.name == name), 0)
