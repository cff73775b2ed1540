"""`ludus doctor`: what this machine can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ludus.views import display


@dataclass(frozen=True)
class Doctor:
    """Check this machine: versions, cores, memory, disk, OpenGL; say what to install."""

    shows: ClassVar = True

    def __call__(self) -> None:
        from ludus.views.doctor import diagnose

        raise SystemExit(diagnose(display.console()))
