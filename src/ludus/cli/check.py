"""`ludus check`: whether a world keeps what ludus asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from ludus.cli.common import Overrides
from ludus.types import LudusError
from ludus.views import display

STYLES = {"holds": "green", "look": "yellow", "fails": "red"}


@dataclass(frozen=True)
class Check:
    """Try a world in every way that ludus will use it, and say in sentences what holds, what fails, and what to look at.
    Ends with status 1 if something fails."""

    world: tyro.conf.Positional[str]
    """blocks, ogbench, my_world.py:kind, or the world of a package."""
    overrides: Overrides = ()
    """The world's settings, e.g. world.options.speed=0.2."""
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 8
    """Of each skill, by the teacher and at random."""
    seed: int = 0
    """The only source of randomness."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.experiment.conformance import check_world

        if self.episodes < 1:
            raise LudusError(f"--episodes {self.episodes} tries nothing; give 1 or more")
        settings = (f"world.name={self.world}", *self.overrides)
        console, failed = display.console(), 0
        for finding in check_world(configs.override(configs.preset("cpu"), settings).world, self.episodes, self.seed):
            failed += finding.state == "fails"
            console.print(f"{finding.state:5} {finding.check}: {finding.sentence}", style=STYLES[finding.state])
        if failed:
            raise SystemExit(1)
