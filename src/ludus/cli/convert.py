"""`ludus convert`: a run that an older ludus made becomes readable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.views import display


@dataclass(frozen=True)
class Convert:
    """Convert a run directory of an older record version in place; a copy of its database stays beside it."""

    dir: tyro.conf.Positional[Path]
    """The run directory."""

    def __call__(self) -> None:
        from ludus.record.convert import convert
        from ludus.record.files import typed

        said = "is converted" if convert(self.dir) else "is of this version already"
        display.console().print(f"{self.dir} {said}; `ludus status {typed(self.dir)}` shows it")
