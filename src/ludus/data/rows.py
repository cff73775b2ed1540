"""Everything that can be drawn, one row per observation, in memory or in mapped files; rows and skills are appended."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ludus.config import SamplingConfig
from ludus.data.labels import mixed_reward, steps_to_success
from ludus.data.relabel import Relabeller
from ludus.data.store import EpisodeStore, Shard
from ludus.record import filesystem
from ludus.types import LudusError, Observations

RESERVE = 0.25
"""Arrays in memory have room for this share of rows more. Unwritten pages take no physical memory. New
rows that fit into this room need no copy. (Growing by realloc needs none either, but it loses the huge pages, and drawing then
takes a tenth longer.)"""
PIECE = 1 << 18
"""Values moved at a time when an array in a file becomes wider."""
ALIGNED = 8
"""Bytes at whose multiples the groups of a row of bytes begin, so that any dtype can be read there."""


@dataclass(frozen=True)
class Columns:
    """Where a group lies in `Rows.observations`, and what its array is."""

    at: slice
    dtype: np.dtype
    shape: tuple[int, ...]  # of one observation


@dataclass
class Rows:
    """Rows of an episode are adjacent, in time. Arrays may be longer than what they hold, see `RowTable.n`."""

    observations: np.ndarray  # [N, D], groups side by side: float32 numbers, or bytes where a group is no flat float32
    actions: np.ndarray  # [N, A] float32; the last row of an episode has no action, zeros stand there
    command: np.ndarray  # [N] int32: index into `RowTable.commands`; -1 in last rows of episodes
    source: np.ndarray  # [N] int16: index into `RowTable.sources`
    segment_end: np.ndarray  # [N] int32: row of the last observation of the segment
    trajectory_end: np.ndarray  # [N] int32: row of the last observation that follows from this one
    terminal: np.ndarray  # [N] bool: nothing follows from this one, see `Episode.ended`
    reward: np.ndarray  # [S, N] float32, dense and sparse mixed
    steps_to_success: np.ndarray  # [N, S] uint16, see `ludus.data.labels`


class RowTable:
    """Takes in shards and skills. Memory has spare room; when it is full, the arrays are copied into larger ones, one at a time,
    so that at most one of them exists twice. Files grow in place.

    Args:
        sampling: `sparse`, the reward's mix, and `memory`.
        folder: where mapped files lie.
    """

    def __init__(self, sampling: SamplingConfig, folder: Path):
        self.n = 0
        """Rows held."""
        self.commands: list[str] = []
        """Captions in the order in which they were first told."""
        self.sources: list[str] = []
        """Names of the steps that collected the rows."""
        self._groups: dict[str, Columns] = {}
        self._sparse, self._mapped, self._folder = sampling.sparse, sampling.memory == "mapped", folder
        self._files: dict[str, IO[bytes]] = {}
        self._rows: Rows | None = None

    @property
    def rows(self) -> Rows:
        """The rows; there must be some."""
        assert self._rows is not None
        return self._rows

    def observations(self, rows: np.ndarray) -> Observations:
        """Group -> `[n, *shape]` of these n rows, copied."""
        taken = self.rows.observations.take(rows, axis=0)
        return {g: taken[:, c.at].view(c.dtype).reshape(-1, *c.shape) for g, c in self._groups.items()}

    def extend(self, store: EpisodeStore, shard: Shard, relabeller: Relabeller, prefix: str, room: int) -> None:
        """Take in a shard's rows, under the skills of the relabeller's library.

        Args:
            prefix: stands before the step's name in the name of the source.
            room: rows that this shard and those after it need together; allocated at once.

        Raises:
            LudusError: a value that is not finite, no room for mapped files.
        """
        observations, actions = store.observations(shard), store.actions(shard)
        _check_finite(store, shard, {**observations, "actions": actions})
        self._reserve(room, observations, actions.shape[1], len(relabeller.library))
        first, last = self.n, self.n + shard.n_steps + len(shard.episodes)
        rows, here = self.rows, slice(first, last)
        for group, columns in self._groups.items():
            flat = observations[group].reshape(last - first, -1)
            rows.observations[here, columns.at] = flat.view(rows.observations.dtype)
        rows.actions[here], rows.command[here], rows.terminal[here] = 0, -1, False
        for e in shard.episodes:
            o = first + e.first_action + e.place
            end = o + e.n_steps
            rows.actions[o:end] = actions[e.first_action : e.first_action + e.n_steps]
            rows.source[o : end + 1] = _index(self.sources, prefix + e.step)
            rows.segment_end[end] = rows.trajectory_end[o : end + 1] = end
            rows.terminal[end] = e.ended == "terminal"
            ends = [s.start for s in e.segments[1:]] + [e.n_steps]
            for segment, segment_end in zip(e.segments, ends, strict=True):
                rows.command[o + segment.start : o + segment_end] = _index(self.commands, segment.caption)
                rows.segment_end[o + segment.start : o + segment_end] = o + segment_end
                if segment.reset:
                    before = rows.trajectory_end[o : o + segment.start]
                    np.minimum(before, o + segment.start, out=before)
        del observations, actions  # scoring reads its own
        self._label(here, slice(None), relabeller.columns(shard))
        self.n = last

    def add_skills(self, columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Label all rows under further skills.

        Args:
            columns: reward and success `[S', N_i]` of each shard that was taken in, in the order of the shards.
        """
        old = len(self.rows.reward)
        n_skills, capacity = old + len(columns[0][0]), self.rows.reward.shape[1]
        self._grow("reward", (n_skills, capacity))
        self._grow("steps_to_success", (capacity, n_skills))
        first = 0
        for reward, success in columns:
            self._label(slice(first, first + reward.shape[1]), slice(old, None), (reward, success))
            first += reward.shape[1]

    def _label(self, rows: slice, skills: slice, columns: tuple[np.ndarray, np.ndarray]) -> None:
        reward, success = columns
        self.rows.reward[skills, rows] = mixed_reward(reward, success, self._sparse)
        end = self.rows.trajectory_end[rows] - rows.start
        self.rows.steps_to_success[rows, skills] = steps_to_success(success, end)

    # --- memory ------------------------------------------------------------------------------------------------

    def _reserve(self, n: int, observations: Observations, n_actions: int, n_skills: int) -> None:
        """Make room for n more rows."""
        n += self.n
        if self._rows is not None:
            if n > len(self._rows.command):
                n = self._with_reserve(n)
                for name, array in list(vars(self._rows).items()):
                    self._grow(name, (n_skills, n) if name == "reward" else (n, *array.shape[1:]))
            return
        n, start = self._with_reserve(n), 0
        is_flat = all(a.dtype == np.float32 and a.ndim == 2 for a in observations.values())
        dtype = np.dtype(np.float32 if is_flat else np.uint8)
        for name, array in observations.items():
            width = math.prod(array.shape[1:]) * array.itemsize // dtype.itemsize
            self._groups[name] = Columns(slice(start, start + width), array.dtype, array.shape[1:])
            start += width if is_flat else -(-width // ALIGNED) * ALIGNED
        columns: dict[str, tuple[tuple[int, ...], Any]] = {
            "observations": ((n, start), dtype),
            "actions": ((n, n_actions), np.float32),
            "command": ((n,), np.int32),
            "source": ((n,), np.int16),
            "segment_end": ((n,), np.int32),
            "trajectory_end": ((n,), np.int32),
            "terminal": ((n,), np.bool_),
            "reward": ((n_skills, n), np.float32),
            "steps_to_success": ((n, n_skills), np.uint16),
        }
        make = self._map if self._mapped else _empty
        self._rows = Rows(**{name: make(name, *column) for name, column in columns.items()})

    def _with_reserve(self, n: int) -> int:
        return n if self._mapped else n + int(RESERVE * n)

    def _grow(self, name: str, shape: tuple[int, ...]) -> None:
        """Give an array more room; what it holds keeps its indices."""
        old = getattr(self.rows, name)
        if self._mapped:
            new = self._map(name, shape, old.dtype)
            if new.ndim == 2 and shape[1] != old.shape[1]:
                _widen(new.reshape(-1), old.shape, shape[1])
        else:
            new = _empty(name, shape, old.dtype)
            if name == "reward":
                new[: len(old), : self.n] = old[:, : self.n]
            else:
                held = new[: self.n] if new.ndim == 1 else new[: self.n, : old.shape[1]]
                held[:] = old[: self.n]
        setattr(self.rows, name, new)

    def _map(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """The column's file, made or grown to hold `shape`. Mapped again, its bytes are the same."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  lives as long as the table
            if hasattr(os, "posix_fallocate"):  # a map that cannot be written kills the process
                os.posix_fallocate(self._files[name].fileno(), 0, max(1, size))
            filesystem.check(self._folder, filesystem.SHARED_MAPS)
        except OSError as error:
            raise LudusError(
                f"no room for {size / 1e6:,.0f} MB of mapped transitions in {self._folder} ({error.strerror}); free some "
                "space there, or give sampling.memory=ram"
            ) from error
        return np.memmap(self._files[name], dtype, "r+", shape=shape)


def _empty(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.empty(shape, dtype)


def _widen(flat: np.ndarray, shape: tuple[int, int], width: int) -> None:
    """Move an array of `shape` at the beginning of `flat` apart, to rows of `width`. From the end, so that nothing is
    written over before it was moved."""
    n, old = shape
    piece = max(1, PIECE // old)
    for first in range((n - 1) // piece * piece, -1, -piece):
        last = min(first + piece, n)
        moved = flat[first * old : last * old].reshape(-1, old).copy()
        flat[first * width : last * width].reshape(-1, width)[:, :old] = moved


def _check_finite(store: EpisodeStore, shard: Shard, arrays: dict[str, np.ndarray]) -> None:
    for group, array in arrays.items():
        finite = np.isfinite(array.reshape(len(array), -1)).all(1)
        if not finite.all():
            lasts = np.cumsum([e.n_steps + (group != "actions") for e in shard.episodes])
            episode = shard.episodes[int(np.searchsorted(lasts, int(np.argmin(finite)), side="right"))]
            raise LudusError(
                f"episode {episode.id!r} of {store.record.directory} has a value of {group} that is no number; "
                f"its world is broken: collect it again (shard {shard.name})"
            )


def _index(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)
