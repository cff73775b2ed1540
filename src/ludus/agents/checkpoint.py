"""Checkpoints: one file with everything that the next update depends on, the same whatever backend trained.

Keys: `config` (settings of the agent), `world` (name), `seed`, `total_updates`, `updates`, `online`, `target`, `acting`
(weights by name) and `optimiser`. The optimiser's state is that of one parameter which holds all weights in a row, in
the order of `online`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ludus.agents import agent_class
from ludus.agents.base import AgentSpec
from ludus.config import AgentConfig
from ludus.record import files
from ludus.types import LudusError, WorldSpec


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write all of it or nothing. Equal states make equal files."""
    with files.replacing(path) as temporary:
        torch.save(_canonical(state), temporary)


def _canonical(value: Any) -> Any:
    """The value, with equal texts in it one object and nothing else shared: pickle writes an object once, so that which of
    them are the same, as after loading a checkpoint, would show in the file."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Mapping):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    return type(value)(map(_canonical, value)) if isinstance(value, (list, tuple)) else value


def read_checkpoint(path: Path, spec: WorldSpec, mmap: bool = False) -> dict[str, Any]:
    """What `write_checkpoint` wrote, for the same kind of world (the number of objects is free).

    Args:
        mmap: read a tensor only where it is used.

    Raises:
        LudusError: no checkpoint there, a broken one, or one of another world, or of other fields or actions.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)
    except Exception as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({type(error).__name__})"
        raise LudusError(
            f"checkpoint {path} {why}; restore it from a copy, or begin the run anew in another directory (same seed, "
            "configuration and data give the same weights)"
        ) from error
    if state["world"] != spec.name:
        raise LudusError(f"checkpoint {path} is of world {state['world']!r}, not {spec.name!r}")
    _check_shapes(path, state, spec)
    return state


def _check_shapes(path: Path, state: dict[str, Any], spec: WorldSpec) -> None:
    config = AgentConfig(**state["config"])
    with torch.device("meta"):
        expected = AgentSpec(agent_class(config.name), config, spec).network().state_dict()
    acting = state["acting"]
    odd = next((n for n in {**expected, **acting} if _shape(acting, n) != _shape(expected, n)), None)
    if odd is not None:
        raise LudusError(
            f"checkpoint {path} does not fit what world {spec.name!r} shows now: {odd} is {_shape(acting, odd)}, expected "
            f"{_shape(expected, odd)}. Since its training the fields or actions of the world have changed, or how this version "
            "of ludus reads them; train anew on the same data, or go back"
        )


def _shape(weights: Mapping[str, torch.Tensor], name: str) -> str:
    return str(list(weights[name].shape)) if name in weights else "missing"
