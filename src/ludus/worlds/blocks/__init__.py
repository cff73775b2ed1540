"""The built-in world: a robot arm over a table of coloured blocks."""

from __future__ import annotations

from typing import Any

from ludus.types import WorldSpec


def cube_encoder(spec: WorldSpec) -> Any:
    """The `ObservationEncoder` of worlds of one gripper and cubes. Imports torch only when it is called:
    stepping a world does not need it."""
    from ludus.worlds.blocks.encoder import CubeEncoder

    return CubeEncoder(spec)
