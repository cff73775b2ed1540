"""Append-only episodes: one safetensors shard per appended batch, indexed in the record by the commit of its step.

A shard is written under a temporary name, flushed and renamed *before* the commit; an episode exists once the commit
returned. A writer that is killed in between leaves a file that no row names: it is ignored, and overwritten when the step is
redone.

What a shard holds: `ludus.data.shards`. The store knows nothing of a world but its fingerprint, and refuses to mix episodes of
different fingerprints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ludus.config import Config
from ludus.data.shards import FORMAT, PREFIX, EpisodeRow, episode_of, indexed, row_of, tensors
from ludus.record import Record, files, tables
from ludus.types import Episode, LudusError, Observations, unknown


@dataclass(frozen=True)
class Shard:
    """All episodes of one append."""

    name: str
    checksum: str  # of the file
    episodes: tuple[EpisodeRow, ...]

    @property
    def n_steps(self) -> int:
        return sum(e.n_steps for e in self.episodes)


class EpisodeStore:
    """The episodes of a record. Cheap to make; each process may have its own.

    `EpisodeStore.create(directory, config)` and `.open(directory)` also make or open the record.
    """

    def __init__(self, record: Record):
        self.record = record
        self._folder = record.path("shards")
        self._shards: list[Shard] = []
        self._by_id: dict[str, EpisodeRow] = {}
        self._read_up_to = {"shards": 0, "episodes": 0}
        if record.writable:
            for leftover in self._folder.glob("*.tmp"):
                files.remove(leftover)
        self._read_index()

    @classmethod
    def create(cls, directory: str | Path, config: Config) -> EpisodeStore:
        return cls(Record.create(directory, config))

    @classmethod
    def open(cls, directory: str | Path, *, write: bool = True) -> EpisodeStore:
        return cls(Record.open(directory, write=write))

    # --- writing -----------------------------------------------------------------------------------------------

    def append(self, episodes: Sequence[Episode], step: str | None = None) -> None:
        """Store `episodes` as one shard. Inside an open step of the record they exist once it commits; outside of one
        give `step`, which is then committed here.

        Raises:
            LudusError: NaN, wrong shapes, an id already there, episodes of another world, a full disk.
        """
        if not episodes:
            return
        opened = self.record.open_step
        if opened is None and step is None:
            raise LudusError(
                "append needs an open step of the record, or the name of one: append(..., step='collect/1')"
            )
        with self.record.commit(step) if opened is None and step is not None else nullcontext(opened) as current:
            assert current is not None
            self._read_index()
            self._check(episodes, [r for t, rows in current.rows if t is tables.episodes for r in rows])
            count = current.count("shard")
            # A step name has no dots, so no two steps share a file name.
            name = current.name.replace("/", ".") + (f".{count}" if count else "") + ".safetensors"
            data = save(tensors(episodes), metadata={"format": FORMAT})
            self.record.write_file(f"shards/{name}", data)
            checksum = hashlib.blake2b(data, digest_size=16).hexdigest()
            n_steps = sum(e.n_steps for e in episodes)
            shard = {"name": name, "episodes": len(episodes), "transitions": n_steps, "checksum": checksum}
            self.record.add_rows(tables.shards, [shard])
            self.record.add_rows(tables.episodes, [row_of(e, name, place) for place, e in enumerate(episodes)])

    def _check(self, episodes: Sequence[Episode], pending: list[dict[str, Any]]) -> None:
        first = episodes[0]
        world = (
            next(iter(self._by_id.values())).world if self._by_id else pending[0]["world"] if pending else first.world
        )
        layout = self._layout(self._shards[0]) if self._shards else _layout(first)
        if 0 in (layout["snapshots"].shape[1], len(first.snapshot)):
            layout["snapshots"] = first.snapshot[None][:0]
        seen = {r["id"] for r in pending}
        for e in episodes:
            if e.world != world:
                raise LudusError(
                    f"episode {e.id!r} is of world {e.world}, {self.record.directory} holds episodes of world {world}; "
                    f"two worlds do not mix: use another directory"
                )
            if e.id in self._by_id or e.id in seen:
                raise LudusError(f"episode {e.id!r} is already in the store; ids must be unique")
            seen.add(e.id)
            _check_episode(e, layout)

    # --- reading -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        self._read_index()
        return len(self._by_id)

    def ids(self) -> list[str]:
        """Ids in the order of the commits."""
        self._read_index()
        return list(self._by_id)

    @property
    def n_steps(self) -> int:
        """Transitions in all episodes."""
        return sum(s.n_steps for s in self.shards())

    def shards(self) -> list[Shard]:
        """The shards in the order of the commits; a shard never changes."""
        self._read_index()
        return list(self._shards)

    def rows(self) -> list[EpisodeRow]:
        """The index of all episodes, in the order of the commits."""
        self._read_index()
        return list(self._by_id.values())

    def load(self, id: str) -> Episode:
        """One episode with its arrays, read from its part of the shard.

        Raises:
            LudusError: no such episode, or its shard is missing or broken.
        """
        if id not in self._by_id:
            self._read_index()
        if id not in self._by_id:
            raise unknown("episode", id, list(self._by_id))
        row = self._by_id[id]
        with self._opened(row.shard) as shard:
            a, o = row.first_action, row.first_action + row.place
            return episode_of(
                row,
                {g: shard.get_slice(PREFIX + g)[o : o + row.n_steps + 1] for g in _groups(shard)},
                shard.get_slice("actions")[a : a + row.n_steps],
                shard.get_slice("snapshots")[row.place : row.place + 1][0],
            )

    def __iter__(self) -> Iterator[Episode]:
        for shard in self.shards():
            observations, actions = self.observations(shard), self.actions(shard)
            with self._opened(shard.name) as opened:
                snapshots = opened.get_tensor("snapshots")
            for row in shard.episodes:
                a, o = row.first_action, row.first_action + row.place
                parts = {g: v[o : o + row.n_steps + 1] for g, v in observations.items()}
                yield episode_of(row, parts, actions[a : a + row.n_steps], snapshots[row.place])

    def observations(self, shard: Shard) -> Observations:
        """Group -> `[sum(T_i + 1), *shape]` of all episodes of a shard, one after the other."""
        with self._opened(shard.name) as opened:
            return {g: opened.get_tensor(PREFIX + g) for g in _groups(opened)}

    def actions(self, shard: Shard) -> np.ndarray:
        """`[sum(T_i), A]` float32 of all episodes of a shard, one after the other."""
        with self._opened(shard.name) as opened:
            return opened.get_tensor("actions")

    def verify(self) -> None:
        """Read every shard through and compare it with the checksum of its commit.

        Raises:
            LudusError: a shard is missing or differs.
        """
        for shard in self.shards():
            path = self._path(shard.name)
            if not path.is_file():
                raise self._broken(shard.name, "it is missing")
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            if found != shard.checksum:
                raise self._broken(shard.name, f"its checksum is {found}, committed was {shard.checksum}")

    # --- index and files --------------------------------------------------------------------------------------

    def _read_index(self) -> None:
        """Read the index of episodes that were committed since the last call."""
        t = tables.shards
        new = self.record.rows(t, t.c.number > self._read_up_to["shards"])
        if not new:
            return
        t = tables.episodes
        rows: dict[str, list[dict[str, Any]]] = {s["name"]: [] for s in new}
        for row in self.record.rows(t, t.c.number > self._read_up_to["episodes"]):
            if row["shard"] in rows:
                rows[row["shard"]].append(row)
                self._read_up_to["episodes"] = max(self._read_up_to["episodes"], row["number"])
        for shard in new:
            episodes, first = [], 0
            for row in sorted(rows[shard["name"]], key=lambda r: r["place"]):
                episodes.append(indexed(row, first))
                first += row["steps"]
            self._shards.append(Shard(shard["name"], shard["checksum"], tuple(episodes)))
            self._by_id.update((e.id, e) for e in episodes)
            self._read_up_to["shards"] = shard["number"]

    def _opened(self, name: str) -> Any:
        path = self._path(name)
        try:
            return safe_open(path, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise self._broken(name, str(error)) from error

    def _path(self, name: str) -> Path:
        return self.record.file(f"shards/{name}")

    def _broken(self, name: str, how: str) -> LudusError:
        return LudusError(
            f"shard {self._folder / name} cannot be read: {how}; restore it from a copy, or begin the run anew "
            f"(same seed and configuration give the same episodes)"
        )

    def _layout(self, shard: Shard) -> dict[str, np.ndarray]:
        with self._opened(shard.name) as opened:
            return {k: opened.get_slice(k)[:0] for k in opened.keys()}  # noqa: SIM118


def _arrays(e: Episode) -> dict[str, np.ndarray]:
    return {PREFIX + g: v for g, v in e.observations.items()} | {"actions": e.actions, "snapshots": e.snapshot}


def _layout(e: Episode) -> dict[str, np.ndarray]:
    """An array without rows for each, of its dtype and shape."""
    return {k: v[:0] for k, v in _arrays(replace(e, snapshot=e.snapshot[None])).items()}


def _check_episode(e: Episode, layout: dict[str, np.ndarray]) -> None:
    arrays = _arrays(e)
    if arrays.keys() != layout.keys():
        raise LudusError(f"episode {e.id!r} has arrays {sorted(arrays)}, the store holds {sorted(layout)}")
    for name, array in arrays.items():
        rows = {"actions": (e.n_steps,), "snapshots": ()}.get(name, (e.n_steps + 1,))
        dtype = {"actions": np.dtype(np.float32), "snapshots": np.dtype(np.float64)}.get(name, layout[name].dtype)
        shape = (*rows, *layout[name].shape[1:])
        if array.shape != shape or array.dtype != dtype:
            raise LudusError(f"episode {e.id!r}: {name} is {array.dtype} {array.shape}, expected {dtype} {shape}")
        if not np.isfinite(array).all():
            step = np.argwhere(~np.isfinite(array))[0][0]
            raise LudusError(f"episode {e.id!r}: {name} is not finite at row {step}; the simulation blew up there")
    starts = [s.start for s in e.segments]
    if e.n_steps < 1 or not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= e.n_steps:
        raise LudusError(f"episode {e.id!r}: segments start at {starts}; they rise from 0 and stay below {e.n_steps}")


def _groups(shard: Any) -> list[str]:
    return [k.removeprefix(PREFIX) for k in shard.keys() if k.startswith(PREFIX)]  # noqa: SIM118
