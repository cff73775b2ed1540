"""Stored observations that written skills are judged on: one file per world, `data/stored-<world>.npz`.

A file has what the world's predicates read, rounded to 0.2 mm (widths and sizes 0.5 mm) and 5 mm/s, and the description of these
groups; no simulator is needed. `benchmarks/exam_write.py` makes the files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from ludus.skills.predicates import block_vocabulary
from ludus.skills.verify import Evidence
from ludus.skills.vocabulary import Vocabulary
from ludus.types import Field, Group, LudusError, Observations, ObservationSpec

FOLDER = files("ludus.exam") / "data"
UNITS = {
    "position": 2e-4, "width": 5e-4, "size": 5e-4, "velocity": 5e-3, "command": 0.1, "touch_left": 1.0, "touch_right": 1.0,
}  # fmt: skip
"""Fields that predicates read, and the size of a stored integer: m, m/s, 1."""


@dataclass(frozen=True)
class Stored:
    """One world as far as written skills need it."""

    vocabulary: Vocabulary
    evidence: Evidence
    episode_steps: int
    skill_steps: int


def reduced(spec: ObservationSpec) -> ObservationSpec:
    """The groups and fields that predicates read."""
    kept = [(g, tuple(f for f in g.fields if f.name in UNITS)) for g in spec.groups if g.kind in ("effector", "object")]
    return ObservationSpec(tuple(Group(g.name, g.kind, fields) for g, fields in kept if fields))


def pack(seen: Observations, spec: ObservationSpec, small: ObservationSpec) -> np.ndarray:
    """`[N, columns]` int16 of observations of `spec`."""
    columns = [(g.name, f.name) for g in small.groups for f in g.fields]
    return np.concatenate([np.round(spec.get(seen, g, f) / UNITS[f]).astype(np.int16) for g, f in columns], axis=1)


def save(world: str, small: ObservationSpec, episodes: Sequence[np.ndarray], starts: np.ndarray, **about: Any) -> None:
    """Write the file of a world. `about`: objects, episode_steps, skill_steps."""
    groups = [[g.name, g.kind, [[f.name, f.size] for f in g.fields]] for g in small.groups]
    np.savez_compressed(
        str(FOLDER / f"stored-{world}.npz"),
        # differences in time, column by column, compress best: most things stand still
        changes=np.ascontiguousarray(np.diff(np.concatenate(episodes), axis=0, prepend=0).T.astype(np.int16)),
        ends=np.cumsum([len(e) for e in episodes]),
        starts=starts,
        about=json.dumps({"groups": groups, **about}),
    )


@cache
def load(world: str) -> Stored:
    """The world of this name.

    Raises:
        LudusError: there is none.
    """
    path = FOLDER / f"stored-{world}.npz"
    if not path.is_file():
        raise LudusError(f"{path} is missing; make it with: python benchmarks/exam_write.py")
    with path.open("rb") as file, np.load(file) as data:
        changes, ends, starts, about = data["changes"], data["ends"], data["starts"], json.loads(str(data["about"]))
    kept = np.cumsum(changes.T, axis=0, dtype=np.int16)
    groups = tuple(
        Group(name, kind, tuple(Field(f, size, "m", f) for f, size in fields)) for name, kind, fields in about["groups"]
    )
    spec = ObservationSpec(groups)
    episodes = tuple(_unpack(part, spec) for part in np.split(kept, ends[:-1]))
    return Stored(
        block_vocabulary(spec, about["objects"]),
        Evidence(episodes, _unpack(starts, spec)),
        about["episode_steps"],
        about["skill_steps"],
    )


def _unpack(kept: np.ndarray, spec: ObservationSpec) -> Observations:
    units = np.concatenate([np.full(f.size, UNITS[f.name]) for g in spec.groups for f in g.fields])
    values, edges = (kept * units).astype(np.float32), np.cumsum([g.size for g in spec.groups])
    return {g.name: part for g, part in zip(spec.groups, np.split(values, edges[:-1], axis=1), strict=True)}
