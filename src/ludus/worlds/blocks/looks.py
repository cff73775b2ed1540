"""How robot and table look. Nothing here touches anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def dress(spec: Any, bodies: Sequence[Any], hand: Any) -> None:
    """Give the arm its shells."""


def furnish(spec: Any) -> None:
    """Table top, floor, lights and cameras."""
    spec.worldbody.add_camera(name="front", pos=[1.3, 0, 0.7])
    spec.worldbody.add_camera(name="side", pos=[0.5, -1, 0.7])
