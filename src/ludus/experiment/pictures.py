"""Pictures that the modules show to each other: scenes and learning curves, as files of the run."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ludus.experiment.figures import draw_curve
from ludus.record import Record
from ludus.types import Curve, LudusError, Observations
from ludus.worlds.base import World


class Pictures:
    """Draws into `images/` of the run directory; paths are relative to the run directory."""

    def __init__(self, record: Record, world: World):
        self._record, self._world = record, world
        self._refusal: str | None = None  # a machine without OpenGL has none five minutes later either

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
        """The learning curve as an analyst sees it, see `draw_curve`."""
        return self._record.write_file(f"images/{name}.png", draw_curve(curve))
