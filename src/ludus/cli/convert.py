"""`ludus convert`: a run that an older ludus made becomes readable, and rows move into a database of many runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.views import display


@dataclass(frozen=True)
class Convert:
    """Convert a run directory of an older record version in place, and with --record move its rows into a database of many runs.
    A copy of its own database stays beside it."""

    dir: tyro.conf.Positional[Path]
    """The run directory."""
    record: str | None = None
    """The database to move the rows to: a URL such as postgresql+psycopg://USER@HOST/NAME, or an SQLite file."""

    def __call__(self) -> None:
        from ludus.record.convert import convert
        from ludus.record.database import DATABASE
        from ludus.record.files import typed
        from ludus.record.moving import move

        here = self.record is None or (self.dir / DATABASE).is_file()
        said = "is converted" if here and convert(self.dir) else "is of this version already"
        if self.record is not None and move(self.dir, self.record):
            said = "has moved its rows there"
        display.console().print(f"{self.dir} {said}; `ludus status {typed(self.dir)}` shows it")
