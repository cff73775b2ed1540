"""Frames of an episode, or of several, side by side in one picture, of which the page shows one at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from ludus.types import Episode, LudusError, Observations, ObservationSpec
from ludus.worlds.base import World

SIZE = 320
"""Pixels of a frame."""
COLUMNS = 10
FRAMES_PER_S = 10
MOST_FRAMES = 150
"""Of a longer episode fewer frames per second are shown."""
MOSAIC_SIZE, MOSAIC_COLUMNS, MOSAIC = 200, 4, 12
"""Pixels of a tile, tiles in a row, and tiles at most."""
PAPER, INK = "#f5f6f8", "#30363d"


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
        frames = schematic(shown, world.spec.observation, str(error))
    whole = Image.new("RGB", (columns * size, -(-len(frames) // columns) * size))
    for i, frame in enumerate(frames):
        tile = Image.fromarray(frame).resize((size, size))
        whole.paste(tile, (i % columns * size, i // columns * size))
    buffer = io.BytesIO()
    whole.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def schematic(observations: Observations, spec: ObservationSpec, why: str) -> np.ndarray:
    """Where things are, from above and from the front, for worlds that cannot be drawn.

    Args:
        observations: `[n, size]` per group.
        why: shown where no group has a position.

    Returns: `[n, SIZE, SIZE, 3]` uint8.
    """
    placed = [g.name for g in spec.groups if any(f.name == "position" and f.shape == (3,) for f in g.fields)]
    n = len(next(iter(observations.values())))
    at = {name: spec.get(observations, name, "position") for name in placed}
    if not at:
        picture = Image.new("RGB", (SIZE, SIZE), PAPER)
        ImageDraw.Draw(picture).multiline_text((10, 10), _wrapped(f"No picture. {why}"), fill=INK)
        return np.repeat(np.asarray(picture)[None], n, axis=0)
    every = np.concatenate(list(at.values()))
    low, high = every.min(0) - 0.05, every.max(0) + 0.05
    scale = (SIZE / 2 - 30) / max(1e-6, (high - low).max())
    return np.stack([_schematic({k: v[i] for k, v in at.items()}, low, scale) for i in range(n)])


def _schematic(at: dict[str, np.ndarray], low: np.ndarray, scale: float) -> np.ndarray:
    picture = Image.new("RGB", (SIZE, SIZE), PAPER)
    draw = ImageDraw.Draw(picture)
    half = SIZE // 2
    draw.line((0, half, SIZE, half), fill="#c5ccd3")
    for title, axis, bottom in (("from above", 0, half), ("from the front", 2, SIZE)):
        draw.text((8, bottom - half + 6), title, fill="#5b6672")
        for k, (name, position) in enumerate(at.items()):
            x = 30 + (position[1] - low[1]) * scale
            y = bottom - 16 - (position[axis] - low[axis]) * scale
            draw.rectangle((x - 6, y - 6, x + 6, y + 6), fill=_colour(name, k), outline=INK)
            draw.text((x + 9, y - 6), name[:12], fill=INK)
    return np.asarray(picture)


def _colour(name: str, k: int) -> str:
    try:
        ImageColor.getrgb(name)
    except ValueError:
        return f"hsl({k * 67 % 360}, 45%, 55%)"
    return name


def _wrapped(text: str, width: int = 46) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(lines)
