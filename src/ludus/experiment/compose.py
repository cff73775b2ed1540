"""The only composition root: from a record to the parts of its experiment. Nothing is added to them later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ludus.agents import agent_class
from ludus.agents.backends import process_group
from ludus.agents.trainer import device_of
from ludus.config import ROLES, Config
from ludus.experimenter import assemble
from ludus.experimenter import check as check_player
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Ledger
from ludus.lab.analysis import Analysis
from ludus.lab.collector import Collector
from ludus.lab.curriculum import Curriculum
from ludus.lab.interventions import Overseer, Recorded, recorded, unread
from ludus.lab.mailbox import RoomMailbox
from ludus.lab.oversight import LAST_STEP, REPLAY_STEP
from ludus.lab.pictures import Pictures
from ludus.lab.room import Room, shown_remarks
from ludus.lab.rules import Rules
from ludus.record import Record, holds_run
from ludus.record.location import BESIDE, found, way
from ludus.record.progress import Progress, Show
from ludus.scale import check as check_collection
from ludus.scale import make_collector
from ludus.types import LudusError
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, world_kind


@dataclass(frozen=True)
class Experiment:
    """An experiment, composed. A context manager: the world holds simulators and an OpenGL context, and questions to
    models may be under way. What grows during a run (library, policy) is passed along, not kept here."""

    config: Config
    record: Record
    kind: WorldKind
    world: World
    collector: Collector
    curriculum: Curriculum
    analysis: Analysis
    ledger: Ledger
    progress: Progress
    overseer: Overseer
    replayed_remarks: Mapping[int, tuple[str, ...]] | None = None
    """See `Planning`."""

    def __enter__(self) -> Experiment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # On Ctrl-C nobody waits for answers under way.
        self.ledger.close(0 if isinstance(error, KeyboardInterrupt) else self.config.experimenter.timeout_s)
        self.collector.close()
        self.world.close()


def compose(
    record: Record,
    config: Config | None = None,
    person: Callable[[str], str] | None = None,
    show: Show | None = None,
) -> Experiment:
    """The parts of the record's experiment.

    Args:
        config: replaces the record's own, with another budget, say.
        person: puts a text before somebody at a terminal and returns the answer, for the experimenter 'human'; None: whoever
            answers in the room is asked, see `ludus.lab.mailbox`.
        show: is told of every stage's progress.

    Raises:
        LudusError: unknown world or experimenter; no such device; sharding without `torchrun`.
    """
    config = config or record.config
    torch.set_num_threads(config.training.threads)
    device_of(config.training)  # what cannot compute is found out before anything is collected
    process_group.check(config.training.sharded)
    kind = world_kind(config.world)
    world = kind.make(config.world)
    room, pictures = Room(record), Pictures(record, world)
    rules = Rules(config.oversight.forbid, world.vocabulary, world.spec.control_hz)
    progress, (ledger, replayed) = Progress(record, show), _ledger(record, config)
    overseer = Overseer(record, config, world.vocabulary, rules, progress, replayed.commands)
    experimenter = assemble(
        RoleContext(
            world.vocabulary,
            config.seed,
            config.experimenter,
            ledger,
            lambda path: record.file(path).read_bytes(),
            person,
            _post_answers(room),
            mailbox=RoomMailbox(record, progress, config.experimenter.answer_s, overseer.while_waiting),
            listen=overseer.while_waiting,
        )
    )
    return Experiment(
        config=config,
        record=record,
        kind=kind,
        world=world,
        collector=make_collector(record, config, world),
        curriculum=Curriculum(
            experimenter, room, world.spec, config.seed, pictures.scene, affordance=config.experimenter.affordance
        ),
        analysis=Analysis(experimenter, room, pictures.curve if experimenter.analyst_sees else None),
        ledger=ledger,
        progress=progress,
        overseer=overseer,
        replayed_remarks=replayed.remarks,
    )


def replay_step(recording: Path, strict: bool, directory: Path) -> dict[str, dict[str, Any]]:
    """The step that a run in `directory` is made with which replays the answers of the one in `recording`. See
    `Record.create`.

    Args:
        strict: a question without a recorded answer is an error.
    """
    return {REPLAY_STEP: {"run": str(recording.resolve()), "strict": strict, BESIDE: way(recording, directory)}}


def check(config: Config, reach: bool = False) -> list[str]:
    """Find out before a run begins whether its world, its agent and what collects exist and its models can be used; with
    `reach`, also whether their servers answer.

    Returns:
        Sentences on what was chosen for models.

    Raises:
        LudusError: they cannot, with what is missing.
    """
    world_kind(config.world)
    agent_class(config.agent.name).read_options(config.agent)
    check_collection(config.collection)
    players = sorted({getattr(config.experimenter, role) for role in ROLES})
    said = (check_player(name, config.experimenter, config.budget, reach) for name in players)
    return [sentence for sentence in said if sentence]


# --- inside --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replayed:
    """What people said in the run that is replayed."""

    remarks: Mapping[int, tuple[str, ...]] | None = None
    commands: Recorded | None = None


def _ledger(record: Record, config: Config) -> tuple[Ledger, Replayed]:
    """The run's own calls, and those of the run that it replays, unless nothing is left to ask; with what people said in
    that run, since its answers are to questions that showed it."""
    limit = config.experimenter.max_concurrency
    nothing_left = record.done(LAST_STEP) and not unread(record)
    if not record.done(REPLAY_STEP) or nothing_left:
        return Ledger(record, config.budget, max_concurrency=limit), Replayed()
    replay = record.result(REPLAY_STEP)
    recording = found(replay["run"], replay.get(BESIDE), record.directory)
    if not holds_run(recording):
        raise LudusError(
            f"{record.directory} replays the answers of {recording}, which holds no run any more; put that one back, or move "
            "both together"
        )
    with Record.open(recording, write=False) as other:
        said = Replayed(shown_remarks(other), recorded(other))
        return Ledger(record, config.budget, other.calls(), replay["strict"], limit), said


def _post_answers(room: Room) -> Callable[[str, str], None]:
    """What a person is asked and answers is posted to the room."""

    def post(question: str, answer: str) -> None:
        room.post("experimenter", "human", "question", question)
        room.post("human", "experimenter", "answer", answer or "(can't tell)")

    return post
