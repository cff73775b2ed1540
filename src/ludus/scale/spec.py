"""What the driver of a cluster is told, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FleetSpec:
    """What the process is started with. Pickles."""

    arguments: dict[str, Any]
    """Of `ray.init`."""
    cores: int
    """Of a task."""
    timeout_s: float
    retries: int
