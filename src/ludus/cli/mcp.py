"""`ludus mcp`: the door of a run for a coding agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.cli.common import Finds, latest, run_id_of
from ludus.types import LudusError


@dataclass(frozen=True)
class Mcp(Finds):
    """Let a coding agent play the experimenter of a run (`ludus run --experimenter agent`) by the Model Context Protocol, over
    standard input and output: a client starts this command. See docs/agents.md."""

    run: tyro.conf.Positional[Path | None] = None
    """The run directory; the latest run under runs/ if not given."""

    def __call__(self) -> None:
        from ludus.views.mcp.door import Door
        from ludus.views.page.folder import DatabaseRuns

        try:
            from ludus.views.mcp.server import serve
        except ModuleNotFoundError as error:
            raise LudusError(f"{error}; `pip install 'ludus[mcp]'` brings what the door needs") from error
        if self.record is None:
            door = Door(self.run or latest())
        else:
            door = Door(DatabaseRuns(self.record, run_id_of(self.run, self.record)))
        try:
            serve(door)
        finally:
            door.close()
