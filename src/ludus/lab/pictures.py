"""Pictures that questions refer to: scenes and learning curves, as files of the run."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ludus.lab.analysis import wilson
from ludus.record import Record
from ludus.types import Curve, LudusError, Observations
from ludus.worlds.base import World

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Pictures:
    """Writes into `images/` of the run directory; paths are relative to the run directory."""

    def __init__(self, record: Record, world: World):
        self._record, self._world = record, world
        self._refusal: str | None = None  # without OpenGL every further attempt would fail too

    def scene(self, name: str, observations: Observations) -> tuple[str, ...]:
        """One picture of one scene (`[size]` per group).

        Raises:
            LudusError: no OpenGL, with what to install.
        """
        if self._refusal:
            raise LudusError(self._refusal)
        try:
            frame = self._world.frames({g: np.asarray(a)[None] for g, a in observations.items()})[0]
        except LudusError as error:
            self._refusal = str(error)
            raise
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "PNG")
        return (self._record.write_file(f"images/{name}.png", buffer.getvalue()),)

    def curve(self, name: str, curve: Curve) -> str:
        """The plotted curve, see `draw_curve`; the path of its file."""
        return self._record.write_file(f"images/{name}.png", draw_curve(curve))


def draw_curve(curve: Curve, smooth: bool = False, zoom: bool = False) -> bytes:
    """A learning curve with 95 % Wilson intervals, as PNG bytes.

    Args:
        smooth: the line is a running mean of three points (two at the ends); the points stay as they are.
        zoom: the y axis ends at the data instead of at 0 and 1.
    """
    from matplotlib.figure import Figure  # most runs draw no curve, see `Experimenter.analyst_sees`

    rates = np.array(curve.successes) / np.maximum(curve.n, 1)
    bounds = np.array([wilson(s, n) for s, n in zip(curve.successes, curve.n, strict=True)]).reshape(-1, 2)
    line = np.array([rates[max(0, i - 1) : i + 2].mean() for i in range(len(rates))]) if smooth else rates
    figure = Figure(figsize=(4.2, 2.6), dpi=110)
    axes = figure.add_axes((0.15, 0.19, 0.81, 0.7))  # one found for each curve takes a quarter of its time
    axes.fill_between(curve.updates, bounds[:, 0], bounds[:, 1], alpha=0.2, linewidth=0)
    axes.plot(curve.updates, line, color="C0")
    axes.plot(curve.updates, rates, "o", color="C0", markersize=4)
    if not zoom:
        axes.set_ylim(-0.03, 1.03)
    axes.set(xlabel="updates", ylabel="success rate", title=curve.caption)
    axes.grid(alpha=0.3)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
