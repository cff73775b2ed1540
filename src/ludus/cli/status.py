"""`ludus status`: what a run has done so far, or which runs there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from ludus.cli.common import Finds, latest, opened_run
from ludus.views import display


@dataclass(frozen=True)
class Status(Finds):
    """Say what a run has done so far, also while it is running."""

    shows: ClassVar = True
    dir: tyro.conf.Positional[Path | None] = None
    """The run directory, or a folder of runs; if not given, the latest run under runs/, or with --record a list of all runs."""

    def __call__(self) -> None:
        from ludus.experiment.library import recorded_library
        from ludus.record.runs import holds_run
        from ludus.views import queries, terminal
        from ludus.worlds.registry import make_world

        console, folder = display.console(), self.dir
        if folder is None and self.record is None:
            folder = latest()
        if folder is None or (folder.is_dir() and not holds_run(folder) and self.record is None):
            where = folder or self.record or ""
            terminal.print_runs(queries.runs(where), console, where)
            return
        with opened_run(folder, self.record) as record:
            if not queries.gaps(record):
                terminal.print_status(record, console)
                return
            world = make_world(record.config.world, look=True)
            try:
                terminal.print_status(record, console, recorded_library(record, world))
            finally:
                world.close()
