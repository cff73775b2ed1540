"""Collecting episodes: by a teacher, a learned policy, chance, or the world's own way of making data.

Everything is a sequence of named steps: the same request given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ludus.config import Config, WorldConfig
from ludus.data.relabel import outcomes
from ludus.data.store import EpisodeStore
from ludus.experiment import checkpoints
from ludus.experiment.library import (
    FILE_STEP,
    begin,
    check_starts,
    choose,
    record_skills,
    recorded_library,
    shown_captions,
)
from ludus.lab.actors import ActorSpec, seed_rollouts
from ludus.lab.analysis import aggregate
from ludus.lab.collector import Collector, LocalCollector, collect_tasks
from ludus.lab.rollout import RolloutSpec
from ludus.record import Record
from ludus.record.progress import Progress, Show
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount, differences, unknown
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, world_kind

PLAY_EPISODES = 40
"""Episodes of play per committed step."""
ACTORS = ("teacher", "random", "policy", "play", "play-hindsight")


# --- the driver: collectors make episodes, only this commits them ------------------------------------------------------


@dataclass(frozen=True)
class Driver:
    """Commits what a collector returns: each batch of rollouts is a step."""

    record: Record
    store: EpisodeStore
    config: WorldConfig
    world: World
    collector: Collector
    progress: Progress

    def collect(self, name: str, rollouts: Sequence[RolloutSpec], actor: ActorSpec, library: SkillLibrary) -> None:
        """Run the rollouts in steps called `<name>/000` ...; committed ones are skipped."""
        tasks = collect_tasks(name, rollouts, actor, library, self.config, self.world.spec)
        left = [t for t in tasks if not self.record.done(t.step)]
        if not left:
            return
        total = sum(t.n_steps(self.world.spec) for t in left)
        title = f"{name.replace('/', ' ')}: {len(rollouts)} episodes"
        with self.progress.stage(title, total) as advance:
            results = self.collector.map(left, advance)
            for task in left:
                with self.record.commit(task.step):  # opened before the robots move: its time is theirs
                    result = next(results)
                    self.store.append(result.episodes)
                    self.record.add_outcomes(result.outcomes)


# --- collecting on its own ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CollectSpec:
    """What `ludus collect` is asked for, besides the configuration's `seed_data` and `experiment.temperature`."""

    actor: str
    """'teacher' (noisy as `seed_data` says), 'random', 'policy' (the best of the run in `policy`), 'play' (the world's
    own way of making data) or 'play-hindsight' (the same, with the commands forgotten and others found in what happened)."""
    name: str
    """Names the collection within its record."""
    skills: tuple[str, ...] = ()
    """Captions or templates; the base library if empty."""
    start: str | None = None
    policy: Path | None = None

    def check(self) -> None:
        """
        Raises:
            LudusError: unknown actor, or options that contradict it.
        """
        if self.actor not in ACTORS:
            raise unknown("actor", self.actor, ACTORS)
        if self.actor == "policy" and self.policy is None:
            raise LudusError("--actor policy needs --policy RUN, the run whose policy acts")
        if self.actor != "policy" and self.policy is not None:
            raise LudusError(f"--actor {self.actor} needs no --policy; leave it out, or give --actor policy")
        if self.plays and (self.skills or self.start):
            raise LudusError(f"--actor {self.actor} chooses its own goals and starts; leave out --skills and --start")

    @property
    def plays(self) -> bool:
        return self.actor.startswith("play")


def collect(record: Record, config: Config, spec: CollectSpec, show: Show | None = None) -> list[SuccessCount]:
    """`config.seed_data.episodes` episodes in steps called `collect/<name>/000` ...; returns how the commands of all of
    them ended, per template. The step `collect/<name>/request` keeps what was asked for: asked for again, collecting goes
    on where it stopped.

    Args:
        config: the record's own but for `seed_data`, `experiment.temperature` and how many threads work.

    Raises:
        LudusError: unknown actor, skill or start; a policy of no run; noise levels or shares out of range; a name under
            which something else was asked for; a record that is not one of collected episodes.
    """
    spec.check()
    torch.set_num_threads(config.training.threads)  # a policy's bits depend on it
    kind = world_kind(config.world)
    world = kind.make(config.world)
    try:
        if spec.plays and kind.play is None:
            raise LudusError(f"world {world.spec.name!r} has no play data of its own; use --actor teacher")
        check_starts(world.spec, [] if spec.start is None else [spec.start])
        library, captions = choose(recorded_library(record, world), kind, spec.skills)
        if not captions:
            shown = spec.actor == "teacher"
            captions = shown_captions(record, kind, world, library) if shown else library.captions
        seed = child(config.seed, "collect", spec.name)
        rollouts = seed_rollouts(library, config.seed_data, seed, spec.start, captions)
        actor, acting = _actor(spec, config)
        if actor.kind == "teacher":
            kind.teacher(world.spec)  # a world without one says so before anything is written
        request = {"actor": spec.actor, "captions": captions, "start": spec.start, "seed": config.seed}
        _claim(record, spec.name, request | {"seed_data": asdict(config.seed_data)} | acting)
        begin(record, world, library, "collecting")
        record_skills(record, library, f"collect/{spec.name}/skills")
        progress = Progress(record, show)
        if spec.plays:
            _play(record, config, spec, kind, library, progress)
        else:
            if spec.actor != "teacher":
                info = {"actor": spec.actor, **acting}
                rollouts = [dataclasses.replace(r, actor=None, info=info) for r in rollouts]
            driver = Driver(record, EpisodeStore(record), config.world, world, LocalCollector(world), progress)
            driver.collect(f"collect/{spec.name}", rollouts, actor, library)
        return aggregate(record.success_counts(f"collect/{spec.name}/"), library)
    finally:
        world.close()


def is_collection(record: Record) -> bool:
    """Whether the record is one of `ludus collect`."""
    return any(s.name.startswith("collect/") for s in record.steps())


def _actor(spec: CollectSpec, config: Config) -> tuple[ActorSpec, dict[str, Any]]:
    """Who acts, and what the request and the episodes say about a policy."""
    if spec.policy is None:
        return ActorSpec("teacher" if spec.actor == "teacher" else "random"), {}
    with Record.open(spec.policy, write=False) as other:
        path, result = checkpoints.best(other), other.result(checkpoints.best_step(other))
    how = {k: getattr(config.experiment, k) for k in ("temperature", "exploration")}
    about = {"policy": spec.policy.resolve().name, "updates": result["updates"]}
    return ActorSpec("policy", str(path), **how), about | how


def _claim(record: Record, name: str, request: Mapping[str, Any]) -> None:
    """Write down what is asked for under `name`, which never changes: the episodes of two requests would mix unseen."""
    if {s.name for s in record.steps()} - {FILE_STEP} and not is_collection(record):
        raise LudusError(f"{record.directory} holds a run of another kind; collect into another directory")
    step, request = f"collect/{name}/request", json.loads(json.dumps(request))
    if record.done(step):
        kept = record.result(step)
        if request != kept:
            raise LudusError(
                f"{record.directory} has episodes under the name {name!r} with other settings "
                f"({differences(kept, request)}); collect further ones with --name, e.g. --name {name}-2"
            )
    elif not any(s.name.startswith(f"collect/{name}/") for s in record.steps()):
        with record.commit(step) as opened:
            opened.result = request


def _play(
    record: Record, config: Config, spec: CollectSpec, kind: WorldKind, library: SkillLibrary, progress: Progress
) -> None:
    """As `Driver.collect`, where the world itself makes the episodes."""
    assert kind.play is not None
    name, n, seed = spec.name, config.seed_data.episodes, child(config.seed, "collect", spec.name)
    parts = [range(first, min(first + PLAY_EPISODES, n)) for first in range(0, n, PLAY_EPISODES)]
    left = [(k, p) for k, p in enumerate(parts) if not record.done(f"collect/{name}/{k:03d}")]
    store = EpisodeStore(record)
    with progress.stage(f"collect {name}: {n} episodes", sum(len(p) for _, p in left)) as advance:
        for k, part in left:
            with record.commit(f"collect/{name}/{k:03d}"):
                seeds = [child(seed, "play", i) for i in part]
                label, made, episodes = f"collect-{name}-{k:03d}", set(), []
                for episode in kind.play(config.world, library, seeds, label, spec.actor == "play-hindsight"):
                    episodes.append(episode)
                    advance(int(episode.seed not in made))
                    made.add(episode.seed)
                store.append(episodes)
                record.add_outcomes(outcomes(library, episodes))
