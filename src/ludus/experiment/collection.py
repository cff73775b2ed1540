"""Collecting episodes on its own: by the teacher, a learned policy, chance, or the world's own way of making data.

As in the loop, everything is a sequence of named steps: the same request given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ludus.config import Config
from ludus.data.relabel import outcomes
from ludus.experiment.compose import Experiment, build
from ludus.experiment.loop import Loop, behaviour_policy
from ludus.lab.actors import RandomActor, SeedActor, seed_rollouts
from ludus.lab.analysis import aggregate
from ludus.record import Record
from ludus.seeding import child
from ludus.types import LudusError, SuccessCount, differences, unknown
from ludus.views.terminal import show_progress

PLAY_SHARD = 40
"""Episodes of play per committed step."""
ACTORS = ("teacher", "random", "policy", "play", "play-hindsight")


def collect(
    record: Record,
    config: Config,
    actor: str,
    name: str,
    skills: Sequence[str],
    start: str | None,
    policy: Path | None,
    console: Console,
) -> list[SuccessCount]:
    """`config.seed_data.episodes` episodes in steps called `collect/<name>/000` ...; returns how the commands of all of
    them ended, per family. What was asked for stands in `collect/<name>/request`: asked for again, collecting goes on where
    it stopped.

    Args:
        config: the record's own but for `seed_data`, `experiment.temperature` and how many threads work.
        actor: 'teacher' (noisy as `config.seed_data` says), 'random', 'policy', the latest of the run in `policy`, or
            'play', the world's own way of making data (ogbench), or 'play-hindsight', the same with the commands forgotten
            and others found in what happened.
        skills: captions or families; the base library if empty.

    Raises:
        LudusError: unknown actor, skill or start; a policy of no run; noise levels or shares out of range; a name under
            which something else was asked for; a record that is not one of collected episodes.
    """
    if actor not in ACTORS:
        raise unknown("actor", actor, ACTORS)
    if actor == "policy" and policy is None:
        raise LudusError("--actor policy needs --policy RUN, the run whose policy acts")
    if actor != "policy" and policy is not None:
        raise LudusError(f"--actor {actor} needs no --policy; leave it out, or give --actor policy")
    if actor.startswith("play") and (skills or start):
        raise LudusError(f"--actor {actor} chooses its own goals and starts; leave out --skills and --start")
    with (
        build(record, dataclasses.replace(record.config, world=config.world)) as parts,
        show_progress(console) as progress,
    ):
        spec = parts.world.spec
        if actor.startswith("play") and parts.kind.play is None:
            raise LudusError(f"world {spec.name!r} has no play data of its own; use --actor teacher")
        parts.check_starts([] if start is None else [start])
        captions = parts.choose(skills) or parts.library.captions
        loop = Loop(parts, progress)
        seed = child(config.seed, "collect", name)
        rollouts = seed_rollouts(parts.library, config.seed_data, seed, start, captions)
        request = {"actor": actor, "captions": captions, "start": start, "seed": config.seed}
        request |= {"seed_data": asdict(config.seed_data)}
        if policy is not None:
            with Record.open(policy, write=False) as other:
                learner = Loop(dataclasses.replace(parts, record=other), progress).learner
            who: Any = behaviour_policy(learner, config.experiment)
            how = {k: getattr(config.experiment, k) for k in ("temperature", "exploration")}
            acting = {"policy": policy.resolve().name, "updates": learner.updates} | how
        else:
            who = SeedActor(parts.kind.teacher(spec)) if actor == "teacher" else RandomActor(spec)
            acting = {}
        _claim(record, name, request | acting)
        loop.begin("collecting")
        parts.remember(f"collect/{name}/skills")
        if actor.startswith("play"):
            _play(parts, loop, config.seed_data.episodes, seed, name, hindsight=actor == "play-hindsight")
        else:
            if actor != "teacher":
                rollouts = [dataclasses.replace(j, actor=None, info={"actor": actor, **acting}) for j in rollouts]
            loop.collect(f"collect/{name}", rollouts, who)
        return aggregate(record.success_counts(f"collect/{name}/"), parts.library)


def is_collection(record: Record) -> bool:
    """Whether the record is one of `ludus collect`."""
    return any(s.name.startswith("collect/") for s in record.steps())


def _claim(record: Record, name: str, request: Mapping[str, Any]) -> None:
    """Write down what is asked for under `name`, which never changes: the waves of two requests would mix unseen."""
    if record.steps() and not is_collection(record):
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


def _play(parts: Experiment, loop: Loop, n: int, seed: int, name: str, hindsight: bool) -> None:
    """Like `Loop.collect`, where the world itself makes the episodes."""
    assert parts.kind.play is not None
    shards = [range(first, min(first + PLAY_SHARD, n)) for first in range(0, n, PLAY_SHARD)]
    left = [(k, s) for k, s in enumerate(shards) if not parts.record.done(f"collect/{name}/{k:03d}")]
    with loop.doing(f"collect {name}: {n} episodes", sum(len(s) for _, s in left)) as advance:
        for k, shard in left:
            with parts.record.commit(f"collect/{name}/{k:03d}"):
                seeds = [child(seed, "play", i) for i in shard]
                label, made, episodes = f"collect-{name}-{k:03d}", set(), []
                for episode in parts.kind.play(parts.config.world, parts.library, seeds, label, hindsight):
                    episodes.append(episode)
                    advance(int(episode.seed not in made))
                    made.add(episode.seed)
                parts.store.append(episodes)
                parts.record.add_outcomes(outcomes(parts.library, episodes))
