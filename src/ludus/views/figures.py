"""Pictures of an episode, drawn from its observations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from ludus.types import Episode
from ludus.views.text import clean
from ludus.worlds.base import World

FRAMES_PER_S = 10
"""Of films."""
SIZE = 320
"""Pixels of a frame."""
QUALITY = 80
"""Of a picture as WebP."""


def episode_film(episode: Episode, world: World) -> bytes:
    """A GIF of an episode.

    Raises:
        LudusError: no OpenGL, with what to install.
    """
    return film(*episode_frames(episode, world))


def episode_frames(episode: Episode, world: World, frames_per_s: float = FRAMES_PER_S) -> tuple[np.ndarray, list[str]]:
    """Its frames `[n, SIZE, SIZE, 3]` uint8, and the skill that acts in each.

    Raises:
        LudusError: no OpenGL, with what to install.
    """
    every = max(1, round(world.spec.control_hz / frames_per_s))
    frames = world.frames({g: a[::every] for g, a in episode.observations.items()}, size=SIZE)
    steps = (min(t, episode.n_steps - 1) for t in range(0, episode.n_steps + 1, every))
    return frames, [next(s.caption for s in reversed(episode.segments) if s.start <= t) for t in steps]


def still(frame: np.ndarray) -> bytes:
    """A frame `[size, size, 3]` uint8 as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def film(
    frames: np.ndarray,
    captions: Sequence[str],
    frames_per_s: float = FRAMES_PER_S,
    kind: Literal["gif", "webp"] = "gif",
) -> bytes:
    """An endless film with the acting skill below each frame; WebP is smaller, GIF is shown everywhere.

    Args:
        frames: `[n, size, size, 3]` uint8.
        captions: one per frame.
    """
    size = frames.shape[1]
    pictures = []
    for frame, caption in zip(frames, captions, strict=True):
        picture = Image.new("RGB", (size, size + 22), "#20262d")
        picture.paste(Image.fromarray(frame))
        ImageDraw.Draw(picture).text((8, size + 5), clean(caption), fill="#f0f3f6")
        pictures.append(picture if kind == "webp" else picture.quantize(96, dither=Image.Dither.NONE))
    how: dict[str, Any] = {"quality": QUALITY} if kind == "webp" else {}
    how |= {"save_all": True, "append_images": pictures[1:], "duration": int(1000 / frames_per_s), "loop": 0}
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind.upper(), **how)
    return buffer.getvalue()
