"""`ludus export`: a run for other people's tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.cli.common import latest, writing
from ludus.views import display


@dataclass(frozen=True)
class Export:
    """Write a run's metrics and learning curves as TensorBoard event files."""

    directory: tyro.conf.Positional[Path]
    """Where to; new or empty."""
    run: Path | None = None
    """The run directory; the latest under runs/ if not given."""

    def __call__(self) -> None:
        from ludus.experiment.library import recorded_library
        from ludus.record import Record
        from ludus.record.files import typed
        from ludus.views.tensorboard import tensorboard
        from ludus.worlds.registry import make_world

        with Record.open(self.run or latest(), write=False) as record, writing(self.directory):
            world = make_world(record.config.world)
            try:
                n = tensorboard(record, recorded_library(record, world), self.directory)
            finally:
                world.close()
        display.console().print(f"{n} points; look at them with: tensorboard --logdir {typed(self.directory)}")
