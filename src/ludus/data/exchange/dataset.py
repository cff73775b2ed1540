"""What is read of a dataset of another project, whatever its format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ludus.types import LudusError

KEPT = "ludus"
"""Under it an exported episode keeps, as JSON, what the other format has no place for. See `Recorded.kept`."""
KEPT_KEYS = ("id", "segments", "actor", "seed", "start", "ended", "info", "world", "snapshot")


@dataclass(frozen=True)
class Recorded:
    """An episode as its dataset has it."""

    name: str  # as messages call it: 'episode 3'
    columns: Mapping[str, np.ndarray]
    """Name -> `[N, ...]`, a row per step. Columns of observations may have one row more than those of actions."""
    kept: Mapping[str, Any] | None = None
    """Of an episode that ludus exported: `KEPT_KEYS` of its `Episode`."""


@dataclass(frozen=True)
class Dataset:
    """A dataset, of which nothing but its description was read yet."""

    name: str
    n_episodes: int
    episodes: Callable[[], Iterator[Recorded]]
    checksum: str
    """Of all that is read."""
    actions: str
    """Column of the actions."""
    captions: str | None = None
    """Column of text: what the robot was told."""
    control_hz: float = 0
    """0: it does not say."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Name of a part, 'red.position' or 'red.position.0' -> where it is, see `ludus.data.exchange.mapping`."""
    spaces: tuple[Any, Any] | None = None
    """Gymnasium's spaces of observations and actions, where it has them."""


def read_kept(text: str, name: str) -> dict[str, Any]:
    """What ludus kept of an episode.

    Raises:
        LudusError: it is not what was written.
    """
    try:
        found = json.loads(text)
        if all(key in found for key in KEPT_KEYS):
            return found
    except (ValueError, TypeError):
        pass
    raise LudusError(f"{name}: what ludus kept of it, under {KEPT!r}, is broken; export it again")


@contextmanager
def needs(package: str, extra: str) -> Iterator[None]:
    """A missing package as a sentence that says what to install."""
    try:
        yield
    except ImportError as error:
        raise LudusError(f"the package {package} is not installed ({error}); pip install 'ludus[{extra}]'") from None


def checksum(files: Iterable[Path]) -> str:
    """Of the names and contents of files.

    Raises:
        LudusError: one cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    for path in files:
        try:
            with path.open("rb") as file:
                found.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            raise LudusError(f"cannot read {path}: {error.strerror}") from None
    return found.hexdigest()
