"""`ludus status`: what a run has done so far, or which runs there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from ludus.cli.common import latest


@dataclass(frozen=True)
class Status:
    """Say what a run has done so far, also while it is running."""

    dir: tyro.conf.Positional[Path | None] = None
    """The run directory, or a folder of runs; the latest run under runs/ if not given."""
    database: str | None = None
    """SQLAlchemy URL of a database of many runs: list them."""

    def __call__(self) -> None:
        from ludus.record import Record
        from ludus.views import terminal

        console = Console()
        directory = self.dir or (None if self.database else latest())
        if directory is None or (not Record.exists(directory) and any(directory.glob("*/ludus.db"))):
            terminal.print_runs(self.database or directory, console)
            return
        with Record.open(directory, write=False) as record:
            terminal.print_status(record, console)
