"""`ludus serve`: the page of a run, or of a folder of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.cli.common import RUNS, Finds, interruptible, run_id_of
from ludus.types import LudusError
from ludus.views import display


@dataclass(frozen=True)
class Serve(Finds):
    """Show a run, or a folder of runs, as a page: its room, learning, skills, episodes and cost, also while it is running."""

    runs: tyro.conf.Positional[Path | None] = None
    """A run's directory, or a folder of runs; if not given, those under runs/, or with --record all runs of the database."""
    host: str = "127.0.0.1"
    """Address to listen at. By default nobody but this machine reaches the page; at any other address a token is needed, which
    is part of the address that is printed."""
    port: int = 8080
    """0 for any that is free."""

    def __call__(self) -> None:
        from ludus.views.page.folder import DatabaseRuns
        from ludus.views.page.place import Place

        try:
            from ludus.views.page.server import serve
        except ModuleNotFoundError as error:
            raise LudusError(f"{error}; `pip install 'ludus[serve]'` brings what the page needs") from error
        console = display.console()
        if self.record is None:
            place = Place(self.runs or RUNS)
        else:
            place = Place(DatabaseRuns(self.record, self.runs and run_id_of(self.runs, self.record)))
        with interruptible("The page is closed. No run was touched.", console.print):
            serve(place, self.host, self.port, console.print)
