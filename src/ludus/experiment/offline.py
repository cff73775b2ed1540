"""Training on its own, on the episodes of other runs.

As in the loop, everything is a sequence of named steps: the same training given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ludus.agents.backends import process_group
from ludus.agents.trainer import Trainer
from ludus.config import Config
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment.compose import Experiment, build
from ludus.experiment.loop import Loop, Terminal
from ludus.lab.analysis import aggregate
from ludus.record import Record
from ludus.seeding import child
from ludus.skills.library import Skill
from ludus.types import LudusError, SuccessCount, differences
from ludus.views.terminal import show_progress

SHAPING = ("name", "n_blocks", "variant")
"""Settings of a world that shape its data; the others say how much of it is simulated at once."""


@dataclass(frozen=True)
class OfflineSpec:
    """What an offline training learns from; kept in the record, so that resuming needs no arguments."""

    data: tuple[str, ...]  # run directories
    weights: tuple[float, ...] = ()  # share of the draws from each; by size if empty
    skills: tuple[str, ...] = ()  # captions or families to be taught besides those of the data's runs
    hold_out: tuple[str, ...] = ()  # captions or families that are never a label
    init: str | None = None  # run whose weights training starts from

    @classmethod
    def of(cls, record: Record) -> OfflineSpec:
        """The one that the record was begun for."""
        kept: dict[str, Any] = record.result("course")
        lists = {k: tuple(kept[k]) for k in ("data", "weights", "skills", "hold_out")}
        return cls(**lists, init=kept["init"])

    def resolved(self) -> OfflineSpec:
        """With absolute paths: the same wherever it is continued."""
        data = tuple(str(Path(d).resolve()) for d in self.data)
        return dataclasses.replace(self, data=data, init=self.init and str(Path(self.init).resolve()))


def is_training(record: Record) -> bool:
    """Whether the record is one of `ludus train`."""
    return record.done("course")


def begin(record: Record, course: OfflineSpec) -> None:
    """Write down what is to be done; a second time only to the same end.

    Raises:
        LudusError: the record is of another training, or of something else; weights that are not one per run, or not
            positive.
    """
    if course.weights and len(course.weights) != len(course.data):
        raise LudusError(f"{len(course.weights)} weights for {len(course.data)} runs of data; give one for each")
    for weight in course.weights:
        if not 0 < weight < math.inf:
            raise LudusError(f"weight {weight} must be a positive number; leave out data that is not to be drawn")
    if record.done("course"):
        kept = OfflineSpec.of(record)
        if kept.resolved() != course.resolved():
            other = differences(asdict(kept.resolved()), asdict(course.resolved()))
            raise LudusError(f"{record.directory} holds another training ({other}); choose another directory")
        return
    if record.steps():
        raise LudusError(f"{record.directory} already holds a run of another kind; choose another directory")
    with record.commit("course") as opened:
        opened.result = asdict(course)


def train(record: Record, console: Console, config: Config | None = None) -> list[SuccessCount]:
    """Carry out or continue an offline training; returns the last point of its curves, per family. `config` replaces the
    record's own: with another analyst, say.

    Raises:
        LudusError: data that is missing, empty, of another world than the configuration's, broken, or not what it was
            when the training began.
    """
    course, terminal = OfflineSpec.of(record), Terminal(console)
    with build(record, config, terminal) as parts, show_progress(console) as progress:
        terminal.progress = progress
        loop = Loop(parts, progress)
        if not record.done("end"):
            _furnish(parts, course)
            loop.begin("training offline")
            _pin(record, parts.data)
            parts.remember("skills")
            if not any("/train/" in s.name for s in record.steps()):
                _start(loop.learner, parts, course)
            loop.train("offline", 0, loop.config.training.updates)
            with record.commit("end"):
                pass
        process_group.broadcast(None)
        return aggregate(loop.latest_tallies(), parts.library)


def _pin(record: Record, data: Sequence[EpisodeStore]) -> None:
    """Remember the episodes that training began with: going on with others would be another training."""
    for store in data:
        if not len(store):
            raise LudusError(f"{store.record.directory} holds no episodes to learn from; collect some first")
        store.verify()
    found = [
        {
            "episodes": len(store),
            "checksum": hashlib.blake2b(
                "".join(s.checksum for s in store.shards()).encode(), digest_size=16
            ).hexdigest(),
        }
        for store in data
    ]
    if not record.done("data"):
        with record.commit("data") as opened:
            opened.result = {"data": found}
        return
    for store, now, then in zip(data, found, record.result("data")["data"], strict=True):
        if now != then:
            raise LudusError(
                f"{store.record.directory} holds {now['episodes']} episodes, other than the {then['episodes']} that "
                f"{record.directory} began with; train on them into a new directory"
            )


def follow(config: Config, course: OfflineSpec) -> None:
    """Do the same training as another process, which leads and keeps the record (`ludus.agents.backends.process_group`)."""
    with Record.open(course.data[0], write=False) as record, build(record, config) as parts:
        _furnish(parts, course)
        seed, spec = child(config.seed, "sampler"), parts.world.spec
        sampler = Sampler(parts.data, parts.taught, config.agent, config.sampling, seed, shares=parts.shares)
        learner = None
        while (work := process_group.receive()) is not None:
            if isinstance(work, process_group.Gather):
                assert learner is not None
                learner.gather()
                continue
            if learner is None and work.checkpoint is not None:
                learner = Trainer.load(Path(work.checkpoint), spec, config.training)
            elif learner is None:
                learner = Trainer(config.agent, spec, config.training.updates, config.seed, config.training)
                _start(learner, parts, course)
            sampler.restore(work.sampler)
            learner.total_updates = work.total_updates
            learner.fit(sampler, work.updates)


def _start(learner: Trainer, parts: Experiment, course: OfflineSpec) -> None:
    """Begin with the weights that the course says, if any."""
    if course.init is not None:
        with Record.open(course.init, write=False) as other, show_progress(Console(quiet=True)) as hidden:
            learner.start_from(Loop(dataclasses.replace(parts, record=other), hidden).checkpoint)


def _furnish(parts: Experiment, course: OfflineSpec) -> None:
    """Give the parts what the course says: data, their skills, what is held out."""
    parts.data = [EpisodeStore.open(directory, write=False) for directory in course.data]
    _check_worlds(parts)
    for store in parts.data:
        kept = [Skill(**{f: s[f] for f in Skill.__dataclass_fields__}) for s in store.record.skills()]
        parts.grow([s for s in kept if s.caption not in parts.library])
    parts.choose(course.skills)
    parts.held_out = frozenset(parts.library.matching(course.hold_out))
    if not set(parts.library.captions) - parts.held_out:
        raise LudusError("every skill is held out; leave some to be taught")
    if course.weights:
        parts.shares = {f"{i}/" if len(parts.data) > 1 else "": w for i, w in enumerate(course.weights)}


def _check_worlds(parts: Experiment) -> None:
    """Refuse data of several worlds, or of another than the configuration's."""
    worlds = [(store, store.rows()[0].world) for store in parts.data if len(store)]
    for store, world in worlds:
        first = worlds[0][0].record
        if world != worlds[0][1]:
            other = _other_world(store, first.config, f"in {first.directory}")
            raise LudusError(f"{other}; two worlds do not mix in one training: give runs of one of them")
        if world != parts.world.spec.fingerprint:
            raise LudusError(f"{_other_world(store, parts.config)}; give the world settings of the data")


def _other_world(store: EpisodeStore, config: Config, at: str = "here") -> str:
    made, here = ({k: getattr(c.world, k) for k in SHAPING} for c in (store.record.config, config))
    what = differences({"world": made}, {"world": here}, at) or "by another version of ludus"
    return f"{store.record.directory} holds episodes of another world ({what})"
