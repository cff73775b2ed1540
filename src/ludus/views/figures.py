"""Figures of the report, drawn from the plain data of queries. Each function returns the bytes of a PNG or GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from ludus.lab.pictures import png
from ludus.types import Episode
from ludus.views.queries import LearningCurves, PhaseTime, Success, TemplateCurve
from ludus.views.text import clean
from ludus.worlds.base import World

DPI = 150
BEFORE, AFTER, DATA, INK = "#9aa5b1", "#1f6f8b", "#d9a441", "#30363d"
STAGE_COLOURS = {"seed data": DATA, "before the rounds": BEFORE, "after the rounds": AFTER}
VERDICT_MARKS = {"converged": ("o", "#2e7d32"), "learning": ("^", AFTER), "stuck": ("X", "#b23b3b")}
UNCLEAR = ("s", BEFORE)
FRAMES_PER_S = 10
"""Of films."""
LONGEST_NAME = 40
"""Characters of a caption beside an axis or over a small plot."""


def success_bars(success: Success) -> bytes:
    """Success rate per template, a bar per stage, with 95 % Wilson intervals. PNG, 1200 pixels wide."""
    n, n_stages = len(success.templates), len(success.stages)
    figure = Figure(figsize=(8, 0.9 + 0.46 * n), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, n_stages)
    for k, stage in enumerate(success.stages):
        tried = [(i, r) for i, row in enumerate(success.templates) if (r := row.rates[k])]
        at = np.array([i for i, _ in tried]) + (k - (n_stages - 1) / 2) * height
        rates = np.array([r.rate for _, r in tried])
        error = np.array([[r.rate - r.low, r.high - r.rate] for _, r in tried]).reshape(-1, 2).T
        style: dict[str, Any] = {"ecolor": INK, "elinewidth": 1, "capsize": 2}
        colour = STAGE_COLOURS.get(stage, INK)
        axes.barh(at, rates, height * 0.92, xerr=error, color=colour, label=stage, error_kw=style)
        # a rate of 0 has no bar
        axes.plot(rates, at, "o", color=colour, markeredgecolor=INK, markersize=4, clip_on=False, zorder=3)
    axes.set(xlim=(0, 1.02), yticks=range(n), xlabel="success at the end of the skill")
    axes.set_yticklabels([_name(row.caption) for row in success.templates])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return png(figure)


def learning_curves(found: LearningCurves) -> bytes:
    """Small multiples, three per row, one per template; verdicts are marked at their update, dotted lines show where rounds
    began. PNG, 1440 pixels wide."""
    columns = 3
    rows = -(-len(found.curves) // columns)
    figure = Figure(figsize=(9.6, 2.3 * rows + 0.4), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, curve in zip(grid.flat, found.curves, strict=False):
        _draw_curve(axes, curve, found.round_starts)
    for axes in grid.flat[len(found.curves) :]:
        axes.set_axis_off()
    for k in range(columns):  # the lowest plot of each column
        drawn = [axes for axes in grid[:, k] if axes.axison]
        if drawn:
            drawn[-1].set_xlabel("updates")
            drawn[-1].tick_params(labelbottom=True)
    for judgement, (mark, colour) in {**VERDICT_MARKS, "unclear": UNCLEAR}.items():
        grid.flat[0].plot([], [], mark, color=colour, label=judgement, markersize=5)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return png(figure)


def _draw_curve(axes: Any, curve: TemplateCurve, round_starts: Sequence[int]) -> None:
    points = {p.update: p.rate for p in curve.points if p.rate is not None}
    updates, rates = list(points), [r.rate for r in points.values()]
    low, high = [r.low for r in points.values()], [r.high for r in points.values()]
    axes.fill_between(updates, low, high, color=AFTER, alpha=0.18, linewidth=0)
    axes.plot(updates, rates, color=AFTER, linewidth=1.5)
    for verdict in curve.verdicts:
        mark, colour = VERDICT_MARKS.get(verdict.judgement, UNCLEAR)
        at = points[verdict.update].rate if verdict.update in points else 0.0
        axes.plot(verdict.update, at, mark, color=colour, markersize=5)
    for start in round_starts:
        axes.axvline(start, color=INK, linestyle=":", linewidth=0.8)
    axes.set(ylim=(-0.04, 1.04))
    axes.set_title(_name(curve.template), fontsize=9)
    axes.grid(alpha=0.25)


def time_bars(times: Sequence[PhaseTime]) -> bytes:
    """One horizontal bar per phase of a run, in seconds. PNG, 1200 pixels wide."""
    figure = Figure(figsize=(8, 0.5 + 0.34 * len(times)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    seconds = [t.seconds for t in times]
    bars = axes.barh([_name(t.name) for t in times], seconds, color=AFTER)
    axes.bar_label(bars, labels=[f" {s:.0f} s" if s >= 1 else " < 1 s" for s in seconds], fontsize=9)
    axes.set(xlabel="seconds")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    return png(figure)


def episode_film(episode: Episode, world: World) -> bytes:
    """A GIF of an episode, whose frames are drawn from its observations.

    Raises:
        LudusError: no OpenGL, with what to install.
    """
    every = max(1, round(world.spec.control_hz / FRAMES_PER_S))
    frames = world.frames({g: a[::every] for g, a in episode.observations.items()}, size=320)
    steps = (min(t, episode.n_steps - 1) for t in range(0, episode.n_steps + 1, every))
    captions = [next(s.caption for s in reversed(episode.segments) if s.start <= t) for t in steps]
    return film(frames, captions, FRAMES_PER_S)


def film(frames: np.ndarray, captions: Sequence[str], frames_per_s: float = 10) -> bytes:
    """An endless GIF with the acting skill below each frame.

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
        pictures.append(picture.quantize(96, dither=Image.Dither.NONE))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=int(1000 / frames_per_s), loop=0
    )
    return buffer.getvalue()


def _name(caption: str) -> str:
    """On one line that fits; without what matplotlib would read as mathematics."""
    line = " ".join(clean(caption).split()).replace("$", r"\$")
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"
