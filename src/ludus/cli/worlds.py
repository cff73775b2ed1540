"""`ludus worlds`: which worlds there are, and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from ludus.types import LudusError
from ludus.views import display


@dataclass(frozen=True)
class Worlds:
    """Name the worlds that come with ludus or installed packages, or install what a world needs beside ludus: a virtual
    environment of its own, made once."""

    shows: ClassVar = True

    action: tyro.conf.Positional[Literal["list", "install"]] = "list"
    """What to do."""
    world: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """To install: name of a world, my_world.py:kind or that of a package."""

    def __call__(self) -> None:
        from ludus.config import WorldConfig
        from ludus.worlds import registry, venvs

        console = display.console()
        if self.action == "list":
            console.print(
                "\n".join((*registry.names(), "FILE.py:NAME, a world of your own (docs/add-a-world.md)")), markup=False
            )
            return
        if not self.world:
            raise LudusError("`ludus worlds install` wants the name of a world, such as my_world.py:kind")
        kind, _ = registry.kind_and_version(WorldConfig(self.world))
        if kind.python or not kind.requirements:
            why = f"is made by {kind.python}" if kind.python else "declares no requirements (WorldKind.requirements)"
            console.print(f"world {self.world} {why}; nothing to install", markup=False)
            return
        console.print(f"ready: {venvs.install(kind.requirements)}", markup=False)
