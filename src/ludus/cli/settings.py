"""`ludus settings`: what can be set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tyro

from ludus.types import LudusError
from ludus.views import display


@dataclass(frozen=True)
class Settings:
    """Every setting of `run`, `collect`, `train` and others, with its value and what it means."""

    shows: ClassVar = True

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """Only those in whose names or meanings all of these occur: `training.`, `noise`."""
    preset: str = "cpu"
    """The values of this preset; where it changes a default, that is said."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.views.settings import settings

        found = [s for s in settings(configs.preset(self.preset)) if s.has(self.words)]
        if not found:
            raise LudusError(f"no setting has all of {', '.join(map(repr, self.words))}; give fewer or other words")
        console = display.console()
        for s in found:
            console.print(f"{s.name}={s.value}", style="bold", end="")
            console.print(f"  (by default {s.default})" if s.value != s.default else "")
            console.print(f"    {s.meaning}")
