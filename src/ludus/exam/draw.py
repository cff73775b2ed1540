"""The scorecard's plots. PNG bytes from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ludus.exam.metrics import Confusion, Rate, Result, bins
from ludus.lab.pictures import png

COLOURS = {
    "propose": "#d9a441",
    "decompose": "#7a5ea8",
    "retrieve": "#2e7d32",
    "analyse": "#1f6f8b",
    "write": "#b0413e",
}


def scorecard_picture(name: str, results: Sequence[Result]) -> bytes:
    """Rates with 95 % Wilson intervals, reliability of stated probabilities, confusions."""
    confusions = [r for r in results if r.confusion is not None]
    n_rows = sum(len(_shown(r)) for r in results)
    figure = Figure(
        figsize=(11, max(5.0, 1.5 + 0.26 * n_rows, 2.6 * (1 + len(confusions)))), dpi=130, layout="constrained"
    )
    figure.suptitle(f"ludus exam: {name}")
    panels: Any = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    left, right = panels
    _bars(left.subplots(), results)
    below: Any = np.atleast_1d(right.subplots(1 + len(confusions)))
    _reliability(below[0], results)
    for axes, result in zip(below[1:], confusions, strict=True):
        assert result.confusion is not None
        _confusion(axes, result.part, result.confusion)
    return png(figure)


def _shown(result: Result) -> list[Rate]:
    return [r for r in result.rates if r.worth_showing]


def _bars(axes: Any, results: Sequence[Result]) -> None:
    rows = [(result.part, rate) for result in results for rate in _shown(result)]
    for i, (part, rate) in enumerate(rows):
        value, (low, high) = rate.value or 0.0, rate.interval
        axes.barh(i, value, color=COLOURS.get(part, "#9aa5b1"), alpha=0.85)
        axes.errorbar(value, i, xerr=[[value - low], [high - value]], color="#30363d", capsize=2, linewidth=1)
    labels = [f"{part}: {rate.name} (n={rate.n})" for part, rate in rows]
    axes.set(xlim=(0, 1.02), yticks=range(len(rows)), yticklabels=labels, xlabel="share, 95 % Wilson interval")
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)


def _reliability(axes: Any, results: Sequence[Result]) -> None:
    axes.plot([0, 1], [0, 1], color="#9aa5b1", linestyle="--", linewidth=1)
    for result in results:
        if result.stated:
            p, share, n = (np.array(x) for x in zip(*bins(result.stated), strict=True))
            colour = COLOURS.get(result.part)
            axes.plot(p, share, color=colour, linewidth=1, label=f"{result.part} (n={len(result.stated)})")
            axes.scatter(p, share, s=10 + 120 * n / n.sum(), color=colour)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="stated probability", ylabel="share that was so")
    axes.set_title("reliability; areas are numbers of answers", fontsize=9)
    axes.grid(alpha=0.3)
    if any(r.stated for r in results):
        axes.legend(fontsize=8, loc="upper left")


def _confusion(axes: Any, part: str, confusion: Confusion) -> None:
    counts = np.array(confusion.counts, float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color="white" if share > 0.6 else "black")
    axes.set_xticks(range(len(confusion.columns)), confusion.columns, fontsize=8)
    axes.set_yticks(range(len(confusion.rows)), confusion.rows, fontsize=8)
    axes.set_title(f"{part}: what is true (rows), what was answered", fontsize=9)
