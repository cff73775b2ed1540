"""Collecting episodes: by a teacher, a learned policy, chance, or the world's own way of making data.

Everything is a sequence of named steps: the same request given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
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
from ludus.lab.collector import Collector, collect_tasks
from ludus.lab.interventions import UNWATCHED, NullOverseer, Overseer
from ludus.lab.rollout import RolloutSpec
from ludus.record import Record
from ludus.record.progress import Progress, Show
from ludus.scale import make_collector
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount, WorldSpec, differences, unknown
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, world_kind

PLAY_EPISODES = 40
"""Episodes of play per committed step."""
ACTORS = ("teacher", "random", "policy", "play", "play-hindsight")


# --- the driver: collectors make episodes, only this commits them ------------------------------------------------------


@dataclass(frozen=True)
class Driver:
    """Commits what a collector, or the world itself, makes: each batch of episodes is a step."""

    record: Record
    store: EpisodeStore
    config: WorldConfig
    world: World
    collector: Collector
    progress: Progress
    overseer: Overseer | NullOverseer = UNWATCHED

    def collect(self, name: str, rollouts: Sequence[RolloutSpec], actor: ActorSpec, library: SkillLibrary) -> None:
        """Run the rollouts in steps called `<name>/000` ...; committed ones are skipped."""
        tasks = collect_tasks(name, rollouts, actor, library, self.config, self.world.spec)
        left = [t for t in tasks if not self.record.done(t.step)]
        if not left:
            return
        total = sum(t.n_steps(self.world.spec) for t in left)
        title = f"{name.replace('/', ' ')}: {len(rollouts)} episodes"
        with self.progress.stage(title, total) as advance:
            results = self.collector.map(left, advance, self.overseer.admitted)
            for task in left:
                self.overseer.before(task.step)
                with self.record.commit(task.step):  # opened before the robots move: its time is theirs
                    result = next(results)
                    self.store.append(result.episodes)
                    self.record.add_outcomes(result.outcomes)

    def play(self, name: str, kind: WorldKind, library: SkillLibrary, seeds: Sequence[int], hindsight: bool) -> None:
        """As `collect`, where the world itself makes the episodes, see `WorldKind.play`."""
        assert kind.play is not None
        parts = [seeds[first : first + PLAY_EPISODES] for first in range(0, len(seeds), PLAY_EPISODES)]
        left = [(f"{name}/{k:03d}", p) for k, p in enumerate(parts) if not self.record.done(f"{name}/{k:03d}")]
        if not left:
            return
        title = f"{name.replace('/', ' ')}: {len(seeds)} episodes"
        with self.progress.stage(title, sum(len(p) for _, p in left)) as advance:
            for step, part in left:
                self.overseer.before(step)
                with self.record.commit(step):
                    made, episodes = set(), []
                    for episode in kind.play(self.config, library, part, step.replace("/", "-"), hindsight):
                        episodes.append(episode)
                        advance(int(episode.seed not in made))
                        made.add(episode.seed)
                    self.store.append(episodes)
                    self.record.add_outcomes(outcomes(library, episodes))


# --- the first episodes of a run ---------------------------------------------------------------------------------------


def seed_actor(kind: WorldKind, config: Config) -> str:
    """Who makes the first episodes: what `seed_data.actor` says, or, for 'auto', the first of teacher, play and random that the
    world has."""
    if config.seed_data.actor != "auto":
        return config.seed_data.actor
    return "teacher" if kind.teacher else "play" if kind.play else "random"


def check_actor(kind: WorldKind, spec: WorldSpec, actor: str) -> None:
    """
    Raises:
        LudusError: the world has no such actor.
    """
    if actor == "teacher":
        kind.make_teacher(spec)
    if actor.startswith("play") and kind.play is None:
        others = "teacher" if kind.teacher else "random"
        raise LudusError(
            f"world {spec.name!r} has no play data of its own; collect with --actor {others}, or let a run begin with "
            f"seed_data.actor={others}"
        )


def collect_seed_data(driver: Driver, kind: WorldKind, actor: str, config: Config, library: SkillLibrary) -> None:
    """The episodes that a run begins with, in steps called `seed-data/000` ...

    Raises:
        LudusError: the teacher obeys none of the library's skills.
    """
    spec, n = driver.world.spec, config.seed_data.episodes
    if actor.startswith("play"):
        seeds = [child(config.seed, "seed-data", "play", i) for i in range(n)]
        driver.play("seed-data", kind, library, seeds, actor == "play-hindsight")
        return
    captions = shown_captions(kind, spec, library.captions) if actor == "teacher" else library.captions
    rollouts = seed_rollouts(library, config.seed_data, config.seed, captions=captions)
    if actor == "random":
        driver.collect("seed-data", _all_by(rollouts, {"actor": actor}), ActorSpec("random"), library)
    else:
        driver.collect("seed-data", rollouts, ActorSpec("teacher"), library)


def _all_by(rollouts: Sequence[RolloutSpec], info: Mapping[str, Any]) -> list[RolloutSpec]:
    """The rollouts without the teacher's noise, by whoever acts."""
    return [dataclasses.replace(r, actor=None, info=info) for r in rollouts]


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
        config: the record's own but for `seed_data`, `experiment.temperature`, and where and by how many threads it is done.

    Raises:
        LudusError: an actor that the world does not have; a skill that its teacher does not obey; unknown skill or start; a
            policy of no run; noise levels or shares out of range; a name under which something else was asked for; a record
            that is not one of collected episodes.
    """
    spec.check()
    torch.set_num_threads(config.training.threads)  # a policy's bits depend on it
    kind = world_kind(config.world)
    with closing(kind.make(config.world)) as world, closing(make_collector(record, config, world)) as collector:
        check_actor(kind, world.spec, spec.actor)  # before anything is written
        check_starts(world.spec, [] if spec.start is None else [spec.start])
        library, captions = choose(recorded_library(record, world), kind, world, spec.skills)
        captions = captions or library.captions
        if spec.actor == "teacher":
            asked, captions = captions, shown_captions(kind, world.spec, captions)
            if spec.skills and asked != captions:
                other = next(c for c in asked if c not in captions)
                raise LudusError(
                    f"the teacher of world {world.spec.name!r} does not obey {other!r}; choose other --skills"
                )
        seed = child(config.seed, "collect", spec.name)
        rollouts = seed_rollouts(library, config.seed_data, seed, spec.start, captions)
        actor, acting = _actor(spec, config)
        request = {"actor": spec.actor, "captions": captions, "start": spec.start, "seed": config.seed}
        noise = {k: v for k, v in asdict(config.seed_data).items() if k != "actor"}
        request |= {"seed_data": noise} | acting
        if not asked_before(record, spec.name, request):
            with record.commit(f"collect/{spec.name}/request") as opened:
                opened.result = request
        begin(record, world, library, "collecting")
        record_skills(record, library, f"collect/{spec.name}/skills")
        driver = Driver(record, EpisodeStore(record), config.world, world, collector, Progress(record, show))
        if spec.plays:
            seeds = [child(seed, "play", i) for i in range(config.seed_data.episodes)]
            driver.play(f"collect/{spec.name}", kind, library, seeds, spec.actor == "play-hindsight")
        else:
            if spec.actor != "teacher":
                rollouts = _all_by(rollouts, {"actor": spec.actor, **acting})
            driver.collect(f"collect/{spec.name}", rollouts, actor, library)
        return aggregate(record.success_counts(f"collect/{spec.name}/"), library)


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


def asked_before(record: Record, name: str, request: Mapping[str, Any]) -> bool:
    """Whether this was asked for under `name`: the episodes of two requests would mix unseen.

    Raises:
        LudusError: something else was, or the record is not one of collected episodes.
    """
    if {s.name for s in record.steps()} - {FILE_STEP} and not is_collection(record):
        raise LudusError(f"{record.directory} holds a run of another kind; collect into another directory")
    step, request = f"collect/{name}/request", json.loads(json.dumps(request))
    if not record.done(step):
        return any(s.name.startswith(f"collect/{name}/") for s in record.steps())  # of an older version
    kept = record.result(step)
    if request != kept:
        raise LudusError(
            f"{record.directory} has episodes under the name {name!r} with other settings "
            f"({differences(kept, request)}); collect further ones with --name, e.g. --name {name}-2"
        )
    return True
