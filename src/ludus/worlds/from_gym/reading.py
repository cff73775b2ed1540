"""Between an environment of Gymnasium and rows of numbers: its observations and actions, and what it raises."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from ludus.types import LudusError
from ludus.worlds import files


@dataclass(frozen=True)
class Reading:
    """From an observation to numbers: the flat entries of these keys (None: of no Dict) side by side, of them these columns."""

    keys: tuple[str | None, ...]
    columns: np.ndarray

    def __call__(self, space: Any, observation: Any) -> np.ndarray:
        parts: list[Any] = [
            spaces.flatten(space if key is None else space[key], observation if key is None else observation[key])
            for key in self.keys
        ]
        return np.concatenate(parts)[self.columns]


def action_size(space: spaces.Space, name: str) -> int:
    """Dimensions of an action in [-1, 1].

    Raises:
        LudusError: neither a Box with bounds nor Discrete.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise LudusError(f"actions of {name!r} are {space}; wrap it such that they are a Box of floats, or Discrete")
    if not space.is_bounded():
        raise LudusError(f"actions of {name!r} have no bounds ({space}); wrap it, e.g. in gymnasium's RescaleAction")
    return space.low.size


def action_of(space: spaces.Space, action: np.ndarray) -> Any:
    """`[A]` in [-1, 1] -> an action of the space: the largest choice, or rescaled to the bounds."""
    if isinstance(space, spaces.Discrete):
        return int(space.start + action.argmax())
    assert isinstance(space, spaces.Box)
    share = (action.reshape(space.shape) + 1) / 2
    return np.clip(space.low + share * (space.high - space.low), space.low, space.high, dtype=space.dtype)


@contextmanager
def one_sentence(name: str, doing: str, fix: str = "mend it") -> Iterator[None]:
    """Whatever an environment raises as a LudusError that says where, and what may help."""
    try:
        yield
    except LudusError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename} line {last.lineno}"
        raise LudusError(
            f"environment {name!r} fails in {doing}: {where}, {files.reason(error)}; {files.fix(error, fix)}"
        ) from error
