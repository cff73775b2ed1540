"""`ludus export`: a run for other people's tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ludus.cli.common import check_writable, latest, writing
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from rich.console import Console

    from ludus.record import Record


@dataclass(frozen=True)
class Export:
    """Write a run's metrics and learning curves as TensorBoard event files, or its policy as one file."""

    directory: tyro.conf.Positional[Path | None] = None
    """Where the event files go; new or empty."""
    policy: Path | None = None
    """Write the best policy, with its skills, to this file: for `ludus do --policy FILE`."""
    run: Path | None = None
    """The run directory; the latest under runs/ if not given."""

    def __call__(self) -> None:
        from ludus.record import Record

        if self.directory is None and self.policy is None:
            raise LudusError("nothing to export; give a directory for TensorBoard's event files, or --policy FILE")
        console = display.console()
        with Record.open(self.run or latest(), write=False) as record:
            if self.directory is not None:
                self._events(record, self.directory, console)
            if self.policy is not None:
                self._policy(record, self.policy, console)

    def _events(self, record: Record, directory: Path, console: Console) -> None:
        from ludus.experiment.library import recorded_library
        from ludus.record.files import typed
        from ludus.views.tensorboard import tensorboard
        from ludus.worlds.registry import make_world

        world = make_world(record.config.world, look=True)
        try:
            with writing(directory):
                n = tensorboard(record, recorded_library(record, world), directory)
        finally:
            world.close()
        console.print(f"{n} points; look at them with: tensorboard --logdir {typed(directory)}")

    def _policy(self, record: Record, path: Path, console: Console) -> None:
        from ludus.experiment.policy_file import TrainedPolicy
        from ludus.record.files import typed

        check_writable(path)
        trained = TrainedPolicy.of_record(record)
        with writing(path):
            trained.write(path)
        console.print(f"{len(trained.skills)} skills; tell it what to do with: ludus do --policy {typed(path)}")
