"""Recorded steps of an environment, as its world would have shown them: for datasets that were made elsewhere.

Columns are called as in `ludus.data.exchange.minari`: 'observations' or 'observations/KEY', `[T+1, ...]`; 'actions', 'rewards',
'terminations' `[T, ...]`; 'infos/KEY', `[T, ...]` or, with that of the reset, `[T+1, ...]`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces

from ludus.types import LudusError, Observations, WorldSpec
from ludus.worlds.from_gym.description import GymTask, described, layout
from ludus.worlds.from_gym.processes import is_solved
from ludus.worlds.from_gym.reading import action_size, one_sentence

HOLD_S = 1.0
"""For so long the last observation of an episode that ended by success is repeated. In the world it stays until time is up;
without it no step would say what success is worth."""

Columns = Mapping[str, np.ndarray]
logger = logging.getLogger("ludus")


def read_recorded(
    task: GymTask, spec: WorldSpec, space: tuple[spaces.Space, spaces.Space], columns: Columns
) -> tuple[Observations, np.ndarray, bool]:
    """Observations `[T+1, size]` per group and actions `[T, A]`, both float32, and whether it ended for good, by a failure.

    Args:
        space: of the dataset's observations and actions.

    Raises:
        LudusError: the dataset's spaces are not the world's, or a column is missing or of another length.
    """
    task = described(task, space[0])
    reading, observation = layout(task, space[0])
    ours, theirs = ([(g.name, g.size) for g in o.groups] for o in (spec.observation, observation))
    if ours != theirs:
        raise LudusError(
            f"its observations, {space[0]}, are read as {theirs}, the world's {ours}; give the environment that it was made in"
        )
    if action_size(space[1], task.name) != len(spec.actions):
        raise LudusError(
            f"its actions, {space[1]}, are not the world's {spec.actions}; give the environment that it was made in"
        )
    actions = _actions(space[1], _column("actions", columns))
    n = len(actions)
    parts = []
    for key in reading.keys:
        name, own = "observations", space[0]
        if key is not None:
            assert isinstance(own, spaces.Dict)
            name, own = f"observations/{key}", own[key]
        parts.append(_flat(own, name, columns))
        if len(parts[-1]) != n + 1:
            raise LudusError(f"{name!r} has {len(parts[-1])} rows for {n} actions; there must be one more than actions")
    ended = _column("terminations", columns).reshape(-1).astype(bool)
    earned, (low, high) = _column("rewards", columns).reshape(-1), task.rewards
    if len(earned) != n or len(ended) != n:
        raise LudusError(f"{len(earned)} rewards and {len(ended)} terminations for {n} actions; give one for each")
    if n and (earned.min() < low or earned.max() > high):
        _warn_clipped(task.name, task.rewards)
    infos = {name.removeprefix("infos/"): v[-n:] for name, v in columns.items() if name.startswith("infos/")}
    with one_sentence(task.name, "the success of a recorded step"):
        solved = [
            is_solved(task, float(r), bool(e), {k: v[t] for k, v in infos.items()})
            for t, (r, e) in enumerate(zip(earned, ended, strict=True))
        ]
    said = np.zeros((n + 1, 3))
    said[1:] = np.column_stack([np.clip((earned - low) / (high - low), 0, 1), solved, ended])
    rows = np.concatenate([np.concatenate(parts, axis=1)[:, reading.columns], said], axis=1).astype(np.float32)
    if n and solved[-1] and ended[-1]:
        hold = min(round(HOLD_S * spec.control_hz), max(0, spec.episode_steps - n))
        rows, actions = (np.concatenate([part, part[-1:].repeat(hold, axis=0)]) for part in (rows, actions))
    ends = np.cumsum([g.size for g in spec.observation.groups])
    split = np.split(rows, ends[:-1], axis=1)
    observations = {g.name: part.copy() for g, part in zip(spec.observation.groups, split, strict=True)}
    return observations, actions.astype(np.float32), bool(n and ended[-1] and not solved[-1])


@cache
def _warn_clipped(name: str, rewards: tuple[float, float]) -> None:
    """Once."""
    logger.warning("recorded rewards of %r lie outside of rewards=%s; such are clipped", name, rewards)


def _column(name: str, columns: Columns) -> np.ndarray:
    if name not in columns:
        raise LudusError(
            f"it has no {name!r}, only {', '.join(map(repr, columns))}; say by a --mapping FILE where things are"
        )
    return columns[name]


def _actions(space: spaces.Space, actions: np.ndarray) -> np.ndarray:
    """`[T, A]`, as `ludus.worlds.from_gym.processes` takes them: within [-1, 1], or 1 at what was chosen and -1 elsewhere."""
    if isinstance(space, spaces.Discrete):
        chosen = np.full((len(actions), int(space.n)), -1.0)
        chosen[np.arange(len(actions)), actions.reshape(-1) - space.start] = 1
        return chosen
    assert isinstance(space, spaces.Box)
    low, high = space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
    return (actions.reshape(len(actions), -1) - low) / (high - low) * 2 - 1


def _flat(space: spaces.Space, name: str, columns: Columns) -> np.ndarray:
    """`[N, n]`: rows as `spaces.flatten` makes them."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([_flat(own, f"{name}/{key}", columns) for key, own in space.spaces.items()], axis=1)
    values: Any = _column(name, columns)
    if isinstance(space, spaces.Box):
        return values.reshape(len(values), -1)
    return np.stack([spaces.flatten(space, value) for value in values])  # type: ignore[arg-type]  # of a leaf an array
