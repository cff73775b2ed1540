"""Exporting: the episodes of a run as datasets of other projects.

Rewards and success are those of the skill that the robot was told, after each action. `importing.py` makes equal episodes of
what is written here.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ludus.data.exchange.lerobot import Frames, write_lerobot
from ludus.data.exchange.minari import write_minari
from ludus.data.store import EpisodeStore
from ludus.experiment.library import recorded_library
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Group, LudusError, Observations
from ludus.worlds.base import World

STATE, ENVIRONMENT = "observation.state", "observation.environment_state"
"""LeRobot's names for what belongs to the robot and for what does not."""


def export_lerobot(record: Record, world: World, directory: Path) -> int:
    """Write the run's episodes to a new or empty folder as a LeRobot dataset; returns how many they are.

    Frames have the observations (those of the objects apart), `action`, `next.reward`, `next.success` as a number, `next.done`,
    and as texts `subtask`, the skill's caption, and `plan`, the captions of the whole episode. The task of an episode is that of
    its plan, if it carried one out, else its captions.

    Raises:
        LudusError: no episodes, a folder that holds something, or pyarrow is not installed.
    """
    if directory.exists() and any(directory.iterdir()):
        raise LudusError(f"{directory} is not empty; choose a new folder")
    store, library = _store(record), recorded_library(record, world)
    groups = world.spec.observation.groups
    parts = {
        name: own
        for name, own in (
            (STATE, [g for g in groups if g.kind != "object"]),
            (ENVIRONMENT, [g for g in groups if g.kind == "object"]),
        )
        if own
    }
    names: dict[str, list[str] | None] = {name: [e for g in own for e in _entries(g)] for name, own in parts.items()}
    names |= {"action": list(world.spec.actions), "next.reward": ["reward"], "next.success": ["success"]}
    names |= {"next.done": None, "subtask": None, "plan": None}
    tasks = {plan.id: plan.proposal.task for _, plan in record.plans()}
    return write_lerobot(directory, world.spec.control_hz, names, (_frames(e, library, parts, tasks) for e in store))


def export_minari(record: Record, world: World, name: str) -> tuple[int, Path]:
    """Write the run's episodes to Minari's folder as the dataset of this id; returns how many they are, and where they lie.

    Observations are a Dict of groups, each a Dict of fields, and the caption as 'mission'.

    Raises:
        LudusError: no episodes, an id that is taken or malformed, or minari is not installed.
    """
    store, library = _store(record), recorded_library(record, world)
    groups = world.spec.observation.groups
    layout = {g.name: {f.name: f.size for f in g.fields} for g in groups}
    shards = ([_buffer(store.load(row.id), library, groups) for row in shard.episodes] for shard in store.shards())
    return len(store), write_minari(name, layout, len(world.spec.actions), shards)


# --- inside --------------------------------------------------------------------------------------------------------


def _store(record: Record) -> EpisodeStore:
    store = EpisodeStore(record)
    if not len(store):
        raise LudusError(f"{record.directory} holds no episodes to export; collect some first")
    return store


def _entries(group: Group) -> list[str]:
    """'red.position.0', 'red.position.1', ..., 'red.size' of one entry."""
    return [f"{group.name}.{f.name}" + (f".{i}" if f.size > 1 else "") for f in group.fields for i in range(f.size)]


def _frames(episode: Episode, library: SkillLibrary, parts: dict[str, list[Group]], tasks: dict[str, str]) -> Frames:
    n = episode.n_steps
    seen = {name: np.concatenate([episode.observations[g.name] for g in own], axis=1) for name, own in parts.items()}
    reward, success = _scores(episode, library)
    plan = "; ".join(s.caption for s in episode.segments)
    columns = {name: rows[:n] for name, rows in seen.items()} | {
        "action": episode.actions,
        "next.reward": reward,
        "next.success": success.astype(np.float32),
        "next.done": np.arange(n) == n - 1,
    }
    texts = {"subtask": _captions(episode), "plan": [plan] * n}
    last = {name: rows[n] for name, rows in seen.items()}
    return Frames({**columns, **texts}, tasks.get(episode.info.get("plan", ""), plan), last, _kept(episode))


def _buffer(episode: Episode, library: SkillLibrary, groups: tuple[Group, ...]) -> dict[str, Any]:
    captions, (reward, success) = _captions(episode), _scores(episode, library)
    last = np.arange(episode.n_steps) == episode.n_steps - 1
    is_terminal = episode.ended == "terminal"
    return {
        "observations": {
            g.name: {name: episode.observations[g.name][:, at] for name, at in g.slices.items()} for g in groups
        },
        "mission": [*captions, captions[-1]],
        "actions": episode.actions,
        "rewards": reward,
        "success": success,
        "terminations": last & is_terminal,
        "truncations": last & (not is_terminal),
        "seed": episode.seed,
        "kept": json.dumps(_kept(episode)),
    }


def _captions(episode: Episode) -> list[str]:
    """What the robot was told in each step."""
    return [segment.caption for segment, first, end in episode.segment_bounds() for _ in range(first, end)]


def _scores(episode: Episode, library: SkillLibrary) -> tuple[np.ndarray, np.ndarray]:
    """Reward `[T]` float32 and success `[T]` bool after each action."""
    reward, success = np.zeros(episode.n_steps, np.float32), np.zeros(episode.n_steps, bool)
    for segment, first, end in episode.segment_bounds():
        seen: Observations = {g: rows[first + 1 : end + 1] for g, rows in episode.observations.items()}
        reward[first:end], success[first:end] = library.rewards(segment.caption, seen)
    return reward, success


def _kept(episode: Episode) -> dict[str, Any]:
    """What of an episode neither format has a place for. See `ludus.data.exchange.dataset.Recorded`."""
    same = {name: getattr(episode, name) for name in ("id", "actor", "world", "start", "ended")}
    segments = [list(asdict(s).values()) for s in episode.segments]
    numbers = {"seed": int(episode.seed), "snapshot": episode.snapshot.tolist()}
    return same | numbers | {"segments": segments, "info": dict(episode.info)}
