"""What stands in a shard: the arrays of episodes, as one safetensors file.

Arrays of a shard with n episodes of T_i steps, concatenated over its episodes in order:

    observations/<group>   [sum(T_i + 1), *shape]  of the group's dtype, float32 unless declared otherwise
    actions                [sum(T_i), A]           float32
    snapshots              [n, S]                  float64; S is 0 where no simulator is known (imported episodes)

In a record the rest of an episode is a row of the database. A shard that travels between processes (`pack`) has these rows and
the outcomes in its header, as JSON, so that one checksum covers all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ludus.types import Episode, LudusError, Observations, Outcome, Segment

PREFIX = "observations/"
FORMAT = "ludus-episodes/1"


@dataclass(frozen=True)
class EpisodeRow:
    """An episode without its arrays."""

    id: str
    step: str  # the step that collected it, e.g. 'seed-data/3'
    shard: str
    place: int  # 0, 1, ... within its shard
    n_steps: int
    segments: tuple[Segment, ...]
    actor: str
    world: str
    seed: int
    start: str
    ended: Any
    info: dict[str, Any]
    first_action: int  # row of its first action in the shard's actions; its first observation is this + place


def tensors(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """The arrays of a shard."""
    found = {
        PREFIX + g: np.concatenate([e.observations[g] for e in episodes]) for g in sorted(episodes[0].observations)
    }
    found["actions"] = np.concatenate([e.actions for e in episodes])
    found["snapshots"] = np.stack([e.snapshot for e in episodes])
    return {k: np.ascontiguousarray(v) for k, v in found.items()}


def row_of(e: Episode, shard: str, place: int) -> dict[str, Any]:
    """What the database keeps of an episode."""
    return {
        "id": e.id,
        "shard": shard,
        "place": place,
        "steps": e.n_steps,
        "segments": [[s.start, s.caption, s.skill, *([True] if s.reset else [])] for s in e.segments],
        "actor": e.actor,
        "world": e.world,
        "seed": int(e.seed),
        "start": e.start,
        "ended": e.ended,
        "info": dict(e.info),
    }


def indexed(row: dict[str, Any], first_action: int) -> EpisodeRow:
    """The row of an episode whose first action is this one of its shard."""
    same = ("id", "shard", "place", "actor", "world", "seed", "start", "ended", "info")
    segments = tuple(Segment(*s) for s in row["segments"])
    return EpisodeRow(
        **{k: row[k] for k in same},
        step=row["step"],
        n_steps=row["steps"],
        segments=segments,
        first_action=first_action,
    )


def episode_of(row: EpisodeRow, observations: Observations, actions: np.ndarray, snapshot: np.ndarray) -> Episode:
    """The episode of a row and of its part of the arrays."""
    same = ("id", "segments", "actor", "world", "seed", "start", "ended", "info")
    return Episode(observations=observations, actions=actions, snapshot=snapshot, **{k: getattr(row, k) for k in same})


# --- between processes -------------------------------------------------------------------------------------------


def pack(episodes: Sequence[Episode], outcomes: Sequence[Outcome]) -> bytes:
    """A shard with everything about its episodes."""
    rows = [row_of(e, "", place) for place, e in enumerate(episodes)]
    about = {"episodes": _json(rows), "outcomes": _json([asdict(o) for o in outcomes])}
    return save(tensors(episodes), metadata={"format": FORMAT, **about})


def unpack(data: bytes) -> tuple[list[Episode], list[Outcome]]:
    """Inverse of `pack`.

    Raises:
        LudusError: these are other bytes.
    """
    try:
        arrays = load(data)
        about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        rows, outcomes = json.loads(about["episodes"]), json.loads(about["outcomes"])
        return list(_episodes(rows, arrays)), [Outcome(**o) for o in outcomes]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise LudusError(f"{len(data)} bytes are no shard of episodes: {error}") from error


def _episodes(rows: Sequence[dict[str, Any]], arrays: dict[str, np.ndarray]) -> Iterator[Episode]:
    first = 0
    for row in rows:
        about = indexed(row | {"step": ""}, first)
        o, end = first + about.place, first + about.n_steps
        seen = {k.removeprefix(PREFIX): v[o : end + about.place + 1] for k, v in arrays.items() if k.startswith(PREFIX)}
        yield episode_of(about, seen, arrays["actions"][first:end], arrays["snapshots"][about.place])
        first = end


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} does not fit into JSON")
