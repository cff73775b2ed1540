"""Frames of an episode, or of several, side by side in one picture, of which the page shows one at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ludus.types import Episode, LudusError, Observations
from ludus.views.schematic import schematic
from ludus.worlds.base import World

SIZE = 320
"""Pixels of a frame."""
COLUMNS = 10
FRAMES_PER_S = 10
MOST_FRAMES = 150
"""Of a longer episode fewer frames per second are shown."""
MOSAIC_SIZE, MOSAIC_COLUMNS, MOSAIC = 200, 4, 12
"""Pixels of a tile, tiles in a row, and tiles at most."""


@dataclass(frozen=True)
class Reel:
    """Which observations of an episode are shown."""

    n: int  # frames
    every: int  # observations from one frame to the next
    seconds: float  # from one frame to the next

    @classmethod
    def of(cls, n_steps: int, control_hz: float) -> Reel:
        every = max(1, round(control_hz / FRAMES_PER_S), -(-(n_steps + 1) // MOST_FRAMES))
        return cls(n_steps // every + 1, every, every / control_hz)


def sheet(episode: Episode, world: World, first: int = 0, last: int | None = None) -> bytes:
    """The frames of `Reel.of`, `COLUMNS` in a row, as JPEG; a schematic drawing where the world has no pictures here.

    Args:
        first, last: observations at which it begins and ends; the whole episode if not given.
    """
    last = episode.n_steps if last is None else last
    reel = Reel.of(last - first, world.spec.control_hz)
    return _tiled({g: a[first : last + 1 : reel.every] for g, a in episode.observations.items()}, world, COLUMNS, SIZE)


def mosaic(episodes: Sequence[Episode], world: World) -> bytes:
    """The last frame of each episode, `MOSAIC_COLUMNS` in a row, as JPEG."""
    last = {g: np.stack([e.observations[g][-1] for e in episodes]) for g in episodes[0].observations}
    return _tiled(last, world, MOSAIC_COLUMNS, MOSAIC_SIZE)


def _tiled(shown: Observations, world: World, columns: int, size: int) -> bytes:
    try:
        frames = world.frames(shown, size=size)
    except LudusError as error:
        frames = schematic(shown, world.spec.observation, str(error), size)
    whole = Image.new("RGB", (columns * size, -(-len(frames) // columns) * size))
    for i, frame in enumerate(frames):
        tile = Image.fromarray(frame).resize((size, size))
        whole.paste(tile, (i % columns * size, i // columns * size))
    buffer = io.BytesIO()
    whole.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
