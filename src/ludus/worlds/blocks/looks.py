"""How robot and table look. Nothing here touches anything."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco


def dress(spec: mujoco.MjSpec, bodies: Sequence[mujoco.MjsBody], hand: mujoco.MjsBody) -> None:
    """Give the arm its shells."""


def furnish(spec: mujoco.MjSpec) -> None:
    """Table top, floor, lights and cameras."""
    spec.worldbody.add_camera(name="front", pos=[1.3, 0, 0.7])
    spec.worldbody.add_camera(name="side", pos=[0.5, -1, 0.7])
