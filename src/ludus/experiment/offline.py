"""Training on its own, on the episodes of other runs.

Everything is a sequence of named steps: the same training given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from ludus.agents.backends import process_group
from ludus.agents.trainer import Trainer
from ludus.config import Config
from ludus.config.limits import Positive, check_numbers
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment import checkpoints
from ludus.experiment.compose import compose
from ludus.experiment.learning import Learning, TrainingData
from ludus.experiment.library import base_library, choose, record_skills, recorded_library, recorded_skills
from ludus.experiment.library import begin as begin_record
from ludus.lab.analysis import aggregate, latest_counts
from ludus.record import Record
from ludus.record.location import BESIDE, found, way
from ludus.record.progress import Show
from ludus.seeding import child
from ludus.skills.files import FiledSkill
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount, differences
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, bound, world_kind

COURSE_STEP = "course"
"""Step of a record of offline training: its result is the `OfflineSpec`."""
WORLD_SETTINGS = ("name", "n_blocks", "variant", "options", "version")
"""Settings of a world that shape its data; the others say how much of it is simulated at once."""
logger = logging.getLogger("ludus")


@dataclass(frozen=True)
class OfflineSpec:
    """What an offline training learns from; kept in the record, so that resuming needs no arguments. The record also keeps
    where each directory lies from its own, in case that all of them are moved.

    Raises:
        LudusError: weights that are not one per run, or not positive.
    """

    data: tuple[str, ...]  # run directories
    weights: tuple[Positive, ...] = ()  # share of the draws from each; by size if empty
    skills: tuple[str, ...] = ()  # captions or templates to be taught besides those of the data's runs
    hold_out: tuple[str, ...] = ()  # captions or templates that are never a label
    init: str | None = None  # run whose weights training starts from

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.data):
            raise LudusError(f"{len(self.weights)} weights for {len(self.data)} runs of data; give one for each")
        check_numbers(self)

    @classmethod
    def of(cls, record: Record) -> OfflineSpec:
        """The one that the record was begun for."""
        kept: dict[str, Any] = record.result(COURSE_STEP)
        lists = {k: tuple(kept[k]) for k in ("weights", "skills", "hold_out")}
        *data, init = (
            whole and found(whole, beside, record.directory)
            for whole, beside in zip_longest((*kept["data"], kept["init"]), kept.get(BESIDE, ()))
        )
        return cls(tuple(data), **lists, init=init)

    def step(self, directory: Path) -> dict[str, dict[str, Any]]:
        """The step that the record in `directory` is made with. See `Record.create`."""
        beside = [whole and way(whole, directory) for whole in (*self.data, self.init)]
        return {COURSE_STEP: asdict(self.resolved()) | {BESIDE: beside}}

    def resolved(self) -> OfflineSpec:
        """With absolute paths: the same wherever it is continued."""
        data = tuple(str(Path(d).resolve()) for d in self.data)
        return dataclasses.replace(self, data=data, init=self.init and str(Path(self.init).resolve()))


def is_training(record: Record) -> bool:
    """Whether the record is one of `ludus train`."""
    return record.done(COURSE_STEP)


def check_same(record: Record, spec: OfflineSpec) -> None:
    """
    Raises:
        LudusError: the record is of another training, or of something else.
    """
    if not is_training(record):
        raise LudusError(f"{record.directory} already holds a run of another kind; choose another directory")
    kept, new = OfflineSpec.of(record), spec.resolved()
    if record.result(COURSE_STEP).get(BESIDE) == new.step(record.directory)[COURSE_STEP][BESIDE]:
        kept = dataclasses.replace(kept, data=new.data, init=new.init)  # a copy of all, next to the originals
    if kept != new:
        other = differences(asdict(kept), asdict(new))
        raise LudusError(f"{record.directory} holds another training ({other}); choose another directory")


def train(
    record: Record,
    config: Config | None = None,
    person: Callable[[str], str] | None = None,
    show: Show | None = None,
) -> list[SuccessCount]:
    """Carry out or continue an offline training; returns the last point of its curves, per template.

    Args:
        config: replaces the record's own, with another analyst, say.

    Raises:
        LudusError: data that is missing, empty, of another world than the configuration's, broken, or not what it was
            when the training began.
    """
    spec = OfflineSpec.of(record)
    with compose(record, config, person, show) as experiment:
        world = experiment.world
        library = recorded_library(record, world)
        if not record.done("end"):
            library, data = attach_data(spec, experiment.config, library, experiment.kind, world)
            learning = Learning(record, experiment.config, world, experiment.analysis, experiment.progress, data)
            begin_record(record, world, library, "training offline")
            check_unchanged(record, data.stores)
            record_skills(record, library, "skills")
            if not checkpoints.training_steps(record):
                start_from(learning.trainer, spec)
            learning.train("offline", 0, experiment.config.training.updates, library)
            with record.commit("end"):
                pass
        process_group.broadcast(None)
        return aggregate(latest_counts(record.evaluations("curve")), library)


def run_worker(config: Config, spec: OfflineSpec, skills: Sequence[FiledSkill] | None = None) -> None:
    """Do the same training as another process, which leads and keeps the record, until it says that there is no more.

    Args:
        skills: of the library file that the training was given, if any.
    """
    torch.set_num_threads(config.training.threads)
    process_group.check(config.training.sharded)
    kind = world_kind(config.world)
    world = kind.make(config.world)
    try:
        library, data = attach_data(spec, config, base_library(skills, world), kind, world)
        seed, agent = child(config.seed, "sampler"), config.agent.per_step(world.spec.control_hz)
        sampler = Sampler(data.stores, data.labels(library), agent, config.sampling, seed, shares=data.shares)
        trainer = None
        while (command := process_group.receive()) is not None:
            if isinstance(command, process_group.Make):
                if command.checkpoint is not None:
                    trainer = Trainer.load(Path(command.checkpoint), world.spec, config.training)
                else:
                    trainer = Trainer(config.agent, world.spec, config.training.updates, config.seed, config.training)
                    start_from(trainer, spec)
                continue
            assert trainer is not None
            if isinstance(command, process_group.Gather):
                trainer.gather()
                continue
            sampler.restore(command.sampler)
            trainer.cycle_start, trainer.total_updates = command.cycle_start, command.total_updates
            trainer.fit(sampler, command.updates)
    finally:
        world.close()


def start_from(trainer: Trainer, spec: OfflineSpec) -> None:
    """Begin with the weights that `spec.init` names, if any."""
    if spec.init is not None:
        with Record.open(spec.init, write=False) as other:
            trainer.start_from(checkpoints.best(other))


# --- the data ------------------------------------------------------------------------------------------------------


def attach_data(
    spec: OfflineSpec, config: Config, library: SkillLibrary, kind: WorldKind, world: World
) -> tuple[SkillLibrary, TrainingData]:
    """The stores of the data's runs, and the library with their skills and those of `spec.skills`."""
    stores = tuple(EpisodeStore.open(directory, write=False) for directory in spec.data)
    check_worlds(stores, config, world)
    for store in stores:
        library = library.add(
            *[s for s in recorded_skills(store.record, library.vocabulary) if s.caption not in library]
        )
    library, _ = choose(library, kind, world, spec.skills)
    held_out = frozenset(library.matching(spec.hold_out))
    if not set(library.captions) - held_out:
        raise LudusError("every skill is held out; leave some to be taught")
    shares = {f"{i}/" if len(stores) > 1 else "": w for i, w in enumerate(spec.weights)}
    return library, TrainingData(stores, shares or None, held_out)


def check_unchanged(record: Record, stores: Sequence[EpisodeStore]) -> None:
    """Remember the episodes that training begins with; refuse to go on with others, which would be another training."""
    for store in stores:
        if not len(store):
            raise LudusError(f"{store.record.directory} holds no episodes to learn from; collect some first")
        store.verify()
    found = [{"episodes": len(store), "checksum": fingerprint(store)} for store in stores]
    if not record.done("data"):
        with record.commit("data") as opened:
            opened.result = {"data": found}
        return
    for store, now, then in zip(stores, found, record.result("data")["data"], strict=True):
        if now != then:
            raise LudusError(
                f"{store.record.directory} holds {now['episodes']} episodes, other than the {then['episodes']} that "
                f"{record.directory} began with; train on them into a new directory"
            )


def fingerprint(store: EpisodeStore) -> str:
    """Of all shards of a store, in order."""
    checksums = "".join(s.checksum for s in store.shards())
    return hashlib.blake2b(checksums.encode(), digest_size=16).hexdigest()


def check_worlds(stores: Sequence[EpisodeStore], config: Config, world: World) -> None:
    """Refuse data of several worlds, or of another than the configuration's."""
    worlds = [(store, store.rows()[0].world) for store in stores if len(store)]
    for store, made_in in worlds:
        first = worlds[0][0].record
        if made_in != worlds[0][1]:
            other = _other_world(store, first.config, f"in {first.directory}")
            raise LudusError(f"{other}; two worlds do not mix in one training: give runs of one of them")
        if made_in != world.spec.fingerprint:
            raise LudusError(f"{_other_world(store, config)}; give the world settings of the data")
        theirs, ours = store.record.config.world.version, bound(config).world.version
        if theirs != ours:
            logger.warning(
                "%s holds episodes of version %s of the world, which is %s now; by its fingerprint they are alike",
                *(store.record.directory, theirs, ours),
            )


def _other_world(store: EpisodeStore, config: Config, at: str = "here") -> str:
    theirs, ours = store.record.config.world, bound(config).world
    settings = WORLD_SETTINGS if theirs.name == ours.name else ("name",)
    made, here = ({k: getattr(world, k) for k in settings} for world in (theirs, ours))
    what = differences({"world": made}, {"world": here}, at) or "by another version of ludus"
    return f"{store.record.directory} holds episodes of another world ({what})"
