"""Pictures without OpenGL: things to scale, from above and from the side, drawn from stored observations of any world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ludus.types import Observations, ObservationSpec
from ludus.views.scene import Thing, things

FINER = 2
"""Drawn so many times larger than shown, for smooth edges."""
PAPER, GROUND, INK, DIM, LINE = "#eef0f3", "#dcd6cb", "#30363d", "#5b6672", "#b9c1c9"
STEEL = (90, 98, 108)
FACES = [(axis, side) for axis in range(3) for side in (-1, 1)]
CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
ABOVE, SIDE, PLANE = "from above", "from the side", "the plane"
VIEWS = {
    ABOVE: np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    SIDE: np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]]),
    PLANE: np.eye(3),
}
"""Rows: what points right, up, and to who looks. x is forward and y left, hence from above and from behind."""
LEAST_EDGES = 5
"""A picture is at least so many of the largest thing wide."""
RADIUS = 5
"""Pixels, of a thing whose size the world does not declare."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
GREY = 0.8
"""Share of a colour that is left in a picture."""


@dataclass(frozen=True)
class _View:
    """A part of the picture: pixels (x right, y down) of points in the world."""

    name: str
    left: float
    top: float
    bottom: float
    low: np.ndarray  # [3] along `VIEWS`, at the left of `bottom`
    scale: float  # pixels per unit

    def pixels(self, points: np.ndarray) -> np.ndarray:
        along = (points @ VIEWS[self.name].T - self.low) * self.scale
        return np.stack([self.left + along[..., 0], self.bottom - along[..., 1]], -1)


def schematic(observations: Observations, spec: ObservationSpec, why: str, size: int) -> np.ndarray:
    """Where things are, from above and from the side at the same scale, for worlds that cannot be drawn.

    Args:
        observations: `[n, size]` per group.
        why: shown where no group has a position.
        size: pixels of a picture.

    Returns: `[n, size, size, 3]` uint8.
    """
    n = len(next(iter(observations.values())))
    shown = tuple(t for t in things(observations, spec) if t.present.any())
    if not shown:
        picture = Image.new("RGB", (size, size), PAPER)
        text = _wrapped(f"No picture: {why}", size // 7)
        ImageDraw.Draw(picture).multiline_text((10, 10), text, fill=INK, font=ImageFont.load_default(12))
        return np.repeat(np.asarray(picture)[None], n, axis=0)
    unit = next(f.unit for f in spec.by_name[shown[0].name].fields if f.name == "position")
    views = _views(shown, size * FINER)
    return np.stack([_drawn([t.at(np.array([i])) for t in shown], views, size, unit) for i in range(n)])


def _views(shown: tuple[Thing, ...], size: int) -> list[_View]:
    """The parts of the picture, at one scale, such that all things stay inside all of the time."""
    low = np.min([(t.position - _reach(t))[t.present].min(0) for t in shown], 0)
    high = np.max([(t.position + _reach(t))[t.present].max(0) for t in shown], 0)
    names = (PLANE,) if len({float(z) for t in shown for z in t.position[:, 2]}) == 1 else (ABOVE, SIDE)
    title, margin = 22 * FINER, 10 * FINER
    width, height = size - 2 * margin, size - len(names) * (title + margin)
    ends = {name: np.sort([low @ VIEWS[name].T, high @ VIEWS[name].T], 0) for name in names}
    spans = {name: max_ - min_ for name, (min_, max_) in ends.items()}
    across, upward = max(s[0] for s in spans.values()), sum(s[1] for s in spans.values())
    least = LEAST_EDGES * 2 * max(_reach(t).max() for t in shown)
    scale = min(width / max(across, least, 1e-6), height / max(upward, least, 1e-6))
    found, top = [], 0.0
    for name in names:
        own = height * (spans[name][1] + 1e-6) / (upward + len(names) * 1e-6)
        spare = np.array([width / scale - spans[name][0], 0 if name == SIDE else own / scale - spans[name][1], 0]) / 2
        bottom = top + title + own
        found.append(_View(name, margin, top, bottom, ends[name][0] - spare, scale))
        top = bottom + margin
    return found


def _reach(thing: Thing) -> np.ndarray:
    """`[n, 3]`: how far it reaches from its position along the axes of the world."""
    if thing.edges is not None:
        return (np.abs(thing.axes) * thing.edges[:, :, None] / 2).sum(1)
    if thing.width is not None:
        centres, half = thing.pads
        return np.stack([centres[:, 0, 1] + half[1]] * 2 + [np.full(len(thing.width), half[2])], -1)
    return np.zeros((len(thing.position), 3))


def _drawn(shown: list[Thing], views: list[_View], size: int, unit: str) -> np.ndarray:
    picture = Image.new("RGB", (size * FINER, size * FINER), PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(11 * FINER)
    here = [t for t in shown if t.present[0]]
    for view in views:
        if view.top:
            draw.line((0, view.top, size * FINER, view.top), fill=LINE, width=FINER)
        _ground(draw, view, shown, size * FINER)
        draw.text((8 * FINER, view.top + 5 * FINER), view.name, fill=DIM, font=font)
        taken = {t.name: _covered(view, t) for t in here}
        for thing in sorted(here, key=lambda t: (t.is_effector, float(VIEWS[view.name][2] @ t.position[0]))):
            _draw_thing(draw, view, thing)
        for thing in here:
            if not thing.is_effector:
                _label(draw, view, thing, font, taken)
    _ruler(draw, views[0], size * FINER, unit, font)
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX))


def _ground(draw: ImageDraw.ImageDraw, view: _View, shown: list[Thing], width: int) -> None:
    """Below what is lowest, where things have a size."""
    if view.name == SIDE and any(t.edges is not None for t in shown):
        draw.rectangle((0, view.bottom + 1, width, width), fill=GROUND)


def _draw_thing(draw: ImageDraw.ImageDraw, view: _View, thing: Thing) -> None:
    colour = tuple(round(GREY * c + (1 - GREY) * 235) for c in thing.colour)
    if thing.width is not None:
        centres, half = thing.pads
        for centre in centres[0]:
            _box(draw, view, thing, centre, half, STEEL)
        top = np.array([0.0, 0.0, half[2]])
        palm = thing.position[0] + (centres[0] + top) @ thing.axes[0]
        draw.line([tuple(p) for p in view.pixels(palm)], fill=STEEL, width=3 * FINER)
    elif thing.edges is not None:
        _box(draw, view, thing, np.zeros(3), thing.edges[0] / 2, colour if thing.movable else None)
    else:
        (x, y), r = view.pixels(thing.position)[0], RADIUS * FINER
        filled = STEEL if thing.is_effector else colour if thing.movable else None
        draw.ellipse((x - r, y - r, x + r, y + r), fill=filled, outline=INK if filled else colour, width=FINER)


def _box(
    draw: ImageDraw.ImageDraw, view: _View, thing: Thing, centre: np.ndarray, half: np.ndarray, fill: tuple | None
) -> None:
    """The faces that are seen, the more turned away the darker; without `fill` their edges, in the thing's colour."""
    axes = thing.axes[0]
    for axis, side in FACES:
        facing = side * float(axes[axis] @ VIEWS[view.name][2])
        if facing <= 0.02:
            continue
        local = np.zeros((4, 3))
        local[:, axis] = side
        local[:, [k for k in range(3) if k != axis]] = CORNERS
        corners = [tuple(p) for p in view.pixels(thing.position[0] + (centre + local * half) @ axes)]
        if fill is not None:
            draw.polygon(corners, fill=tuple(round(c * (0.7 + 0.3 * facing)) for c in fill))
        for a, b in pairwise([*corners, corners[0]]):
            draw.line([a, b], fill=INK if fill is not None else thing.colour, width=FINER)


def _label(
    draw: ImageDraw.ImageDraw,
    view: _View,
    thing: Thing,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    taken: dict[str, Box],
) -> None:
    """The name beside it, where there is room."""
    x0, y0, x1, y1 = taken[thing.name]
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    _, _, w, h = draw.textbbox((0, 0), text := thing.name[:14], font=font)
    for left, top in ((x1, y - h / 2), (x0 - w, y - h / 2), (x - w / 2, y0 - h), (x - w / 2, y1)):
        box = left, top, left + w, top + h
        inside = (
            box[0] > 0
            and box[2] < draw.im.size[0]
            and box[1] > view.top + 16 * FINER
            and box[3] < view.bottom + 8 * FINER
        )
        if inside and all(
            box[2] < o[0] or box[0] > o[2] or box[3] < o[1] or box[1] > o[3]
            for k, o in taken.items()
            if k != thing.name
        ):
            taken[f"label of {thing.name}"] = box
            draw.text((left, top), text, fill=INK, font=font)
            return


def _covered(view: _View, thing: Thing) -> Box:
    """Left, top, right and bottom of what a thing covers."""
    reach = np.maximum(_reach(thing)[0], RADIUS * FINER / view.scale)
    ends = view.pixels(np.stack([thing.position[0] - reach, thing.position[0] + reach]))
    (x0, y0), (x1, y1) = ends.min(0) - 2 * FINER, ends.max(0) + 2 * FINER
    return x0, y0, x1, y1


def _ruler(
    draw: ImageDraw.ImageDraw, view: _View, size: int, unit: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """A length to compare with, at the upper right."""
    longest = size / 4 / view.scale
    power = 10.0 ** math.floor(math.log10(longest))
    length = next(k * power for k in (5, 2, 1) if k * power <= longest * (1 + 1e-9))
    text = f"{length * 100:g} cm" if unit == "m" and length < 1 else f"{length:g} {'' if unit == '1' else unit}".strip()
    right, y = size - 8 * FINER, 12 * FINER
    left = right - length * view.scale
    for line in (
        (left, y, right, y),
        (left, y - 3 * FINER, left, y + 3 * FINER),
        (right, y - 3 * FINER, right, y + 3 * FINER),
    ):
        draw.line(line, fill=DIM, width=FINER)
    _, _, w, h = draw.textbbox((0, 0), text, font=font)
    draw.text((left - w - 4 * FINER, y - h / 2 - FINER), text, fill=DIM, font=font)


def _wrapped(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(lines)
