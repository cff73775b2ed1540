"""Pictures of the exam: the curves that are asked about, and the scorecard's plots. PNG bytes from plain numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ludus.experiment.exam.marks import Confusion, Rate, Result, bins
from ludus.lab.analysis import wilson
from ludus.types import Curve

COLOURS = {"propose": "#d9a441", "decompose": "#7a5ea8", "retrieve": "#2e7d32", "analyse": "#1f6f8b"}


def curve_picture(curve: Curve, smooth: bool, zoom: bool) -> bytes:
    """A learning curve with 95 % Wilson intervals.

    Args:
        smooth: the line is a running mean of three points (two at the ends); the points stay as they are.
        zoom: the y axis ends at the data instead of at 0 and 1.
    """
    rates = np.array(curve.successes) / np.maximum(curve.n, 1)
    bounds = np.array([wilson(s, n) for s, n in zip(curve.successes, curve.n, strict=True)]).reshape(-1, 2)
    line = np.array([rates[max(0, i - 1) : i + 2].mean() for i in range(len(rates))]) if smooth else rates
    figure = Figure(figsize=(4.2, 2.6), dpi=110)
    axes = figure.add_axes((0.14, 0.19, 0.82, 0.69))
    axes.fill_between(curve.updates, bounds[:, 0], bounds[:, 1], alpha=0.2, linewidth=0)
    axes.plot(curve.updates, line, color="C0")
    axes.plot(curve.updates, rates, "o", color="C0", markersize=4)
    if not zoom:
        axes.set_ylim(-0.03, 1.03)
    axes.set(xlabel="updates", ylabel="success rate", title=curve.caption)
    axes.grid(alpha=0.3)
    return _png(figure)


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
    return _png(figure)


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


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
