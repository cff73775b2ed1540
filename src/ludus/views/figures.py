"""Figures of the report, drawn from plain numbers; each returns PNG or GIF bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from ludus.lab.analysis import wilson
from ludus.lab.pictures import png
from ludus.types import Curve, SuccessCount

BEFORE, AFTER, DATA = "#9aa5b1", "#1f6f8b", "#d9a441"
VERDICT_MARK = {"converged": ("o", "#2e7d32"), "learning": ("^", "#1f6f8b"), "stuck": ("X", "#b23b3b")}


def success_bars(stages: Mapping[str, Sequence[SuccessCount]]) -> bytes:
    """Success rate per row of tallies for several stages (label -> tallies), with 95 % Wilson intervals."""
    # the last stage has the library's order
    captions = list(dict.fromkeys(t.caption for counts in reversed(list(stages.values())) for t in counts))
    figure = Figure(figsize=(8, 0.6 + 0.46 * len(captions)), dpi=150, layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, len(stages))
    for k, ((label, counts), colour) in enumerate(zip(stages.items(), (DATA, BEFORE, AFTER), strict=False)):
        rows = [t for t in counts if t.n]
        at = np.array([captions.index(t.caption) for t in rows]) + (k - (len(stages) - 1) / 2) * height
        rates = np.array([t.successes / t.n for t in rows])
        bounds = np.array([wilson(t.successes, t.n) for t in rows]).reshape(-1, 2)
        error = np.abs(np.stack([rates - bounds[:, 0], bounds[:, 1] - rates]))
        style = {"ecolor": "#30363d", "elinewidth": 1, "capsize": 2}
        axes.barh(at, rates, height * 0.92, xerr=error, color=colour, label=label, error_kw=style)
    axes.set(
        xlim=(0, 1.02), yticks=range(len(captions)), yticklabels=captions, xlabel="success at the end of the skill"
    )
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.0 + 0.9 / (1 + len(captions))), ncols=3, frameon=False)
    return png(figure)


def learning_curves(
    curves: Sequence[Curve], verdicts: Mapping[str, Sequence[tuple[int, str]]], starts: Sequence[int]
) -> bytes:
    """Small multiples, one per family; verdicts marked at their update; dotted lines where rounds began.

    Args:
        verdicts: caption -> (update, judgement).
    """
    columns = 3
    n_rows = -(-len(curves) // columns)
    figure = Figure(figsize=(9.6, 2.3 * n_rows + 0.4), dpi=150, layout="constrained")
    grid = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    for axes, curve in zip(grid.flat, curves, strict=False):
        rates = np.array(curve.successes) / np.maximum(curve.n, 1)
        bounds = np.array([wilson(s, n) for s, n in zip(curve.successes, curve.n, strict=True)]).reshape(-1, 2)
        axes.fill_between(curve.updates, bounds[:, 0], bounds[:, 1], color=AFTER, alpha=0.18, linewidth=0)
        axes.plot(curve.updates, rates, color=AFTER, linewidth=1.5)
        for update, judgement in verdicts.get(curve.caption, ()):
            mark, colour = VERDICT_MARK.get(judgement, ("s", "#9aa5b1"))
            where = rates[curve.updates.index(update)] if update in curve.updates else 0.0
            axes.plot(update, where, mark, color=colour, markersize=5)
        for start in starts:
            axes.axvline(start, color="#30363d", linestyle=":", linewidth=0.8)
        axes.set(ylim=(-0.04, 1.04))
        axes.set_title(curve.caption, fontsize=9)
        axes.grid(alpha=0.25)
    for axes in grid[-1]:
        axes.set_xlabel("updates")
    for judgement, (mark, colour) in {**VERDICT_MARK, "unclear": ("s", "#9aa5b1")}.items():
        grid.flat[0].plot([], [], mark, color=colour, label=judgement, markersize=5)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return png(figure)


def time_bar(seconds: Mapping[str, float]) -> bytes:
    """One horizontal bar per part."""
    figure = Figure(figsize=(8, 0.5 + 0.34 * len(seconds)), dpi=150, layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(seconds), list(seconds.values()), color=AFTER)
    axes.bar_label(bars, labels=[f" {s:.0f} s" for s in seconds.values()], fontsize=9)
    axes.set(xlabel="seconds")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    return png(figure)


def film(frames: np.ndarray, captions: Sequence[str], frames_per_s: float = 10) -> bytes:
    """An endless GIF of `[n, size, size, 3]` uint8 frames, the acting skill written below each."""
    size = frames.shape[1]
    pictures = []
    for frame, caption in zip(frames, captions, strict=True):
        picture = Image.new("RGB", (size, size + 22), "#20262d")
        picture.paste(Image.fromarray(frame))
        ImageDraw.Draw(picture).text((8, size + 5), caption, fill="#f0f3f6")
        pictures.append(picture.quantize(96, dither=Image.Dither.NONE))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=int(1000 / frames_per_s), loop=0
    )
    return buffer.getvalue()
