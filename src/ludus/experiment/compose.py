"""The only composition root: from a record to the parts of its experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import torch

from ludus.agents.backends import distributed
from ludus.agents.trainer import device_of
from ludus.config import ROLES, Config, ExperimenterConfig
from ludus.data.store import EpisodeStore
from ludus.experimenter import assemble, check
from ludus.experimenter.ledger import Ledger
from ludus.lab.analysis import Analysis
from ludus.lab.curriculum import Curriculum
from ludus.lab.embodiment import Embodiment
from ludus.lab.pictures import Pictures
from ludus.lab.room import Room
from ludus.record import Record
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import LudusError, unknown
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind, world_kind


def check_experimenter(config: Config, reach: bool = False) -> None:
    """Find out before a run begins whether its models can be used at all, and, with `reach`, whether their servers are there.

    Raises:
        LudusError: they can't, with what is missing.
    """
    for name in sorted({getattr(config.experimenter, role) for role in ROLES}):
        check(name, config.experimenter, config.budget, reach)


@dataclass
class Experiment:
    """An experiment, composed. A context manager, since the world holds simulators and an OpenGL context, and questions to
    models may be under way."""

    config: Config
    record: Record
    world: World
    kind: WorldKind
    library: SkillLibrary
    store: EpisodeStore
    embodiment: Embodiment
    room: Room
    curriculum: Curriculum
    analysis: Analysis
    ledger: Ledger
    data: list[EpisodeStore]
    """What training draws from: the record's own store, or those of other runs."""
    shares: dict[str, float] | None = None
    """See `Sampler`."""
    held_out: frozenset[str] = field(default_factory=frozenset)
    """Captions that are never a label in training."""

    @property
    def taught(self) -> SkillLibrary:
        """The skills that training may use as labels."""
        if not self.held_out:
            return self.library
        return SkillLibrary(self.library.vocabulary, [s for s in self.library if s.caption not in self.held_out])

    def grow(self, skills: Sequence[Skill]) -> None:
        """Let the library have more skills."""
        self.library = self.library.add(*skills)
        self.embodiment.library = self.library

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """Captions of the skills and families of skills called `names`; the library grows by those it lacks.

        Raises:
            LudusError: neither the library nor what the world has besides knows a name.
        """
        extra = self.kind.extra_skills(self.world.spec.objects)
        every = self.library.add(*[s for s in extra if s.caption not in self.library])
        captions = every.matching(names)
        self.grow([every[c] for c in captions if c not in self.library])
        return captions

    def check_starts(self, starts: Sequence[str]) -> None:
        """
        Raises:
            LudusError: the world has no start of this name.
        """
        for start in starts:
            if start not in self.world.spec.starts:
                raise unknown("start", start, self.world.spec.starts)

    def remember(self, step: str) -> None:
        """Write down the library's skills that the record lacks, as a step of this name."""
        known = {s["caption"] for s in self.record.skills()}
        new = [s for s in self.library if s.caption not in known]
        if new and not self.record.done(step):
            with self.record.commit(step):
                self.record.add_skills(new)

    def __enter__(self) -> Experiment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # whoever presses Ctrl-C does not want to wait
        self.ledger.close(0 if isinstance(error, KeyboardInterrupt) else self.config.experimenter.timeout_s)
        self.world.close()


def build(record: Record, config: Config | None = None, person: Callable[[str], str] | None = None) -> Experiment:
    """The parts of the record's experiment, the library as it stands there. `config` replaces the record's own, for a
    look at its policy in another world; `person` puts a text before somebody and gives their answer."""
    config = config or record.config
    torch.set_num_threads(config.training.threads)
    device_of(config.training)  # what cannot compute is found out before anything is collected
    distributed.check(config.training.sharded and record.writable)
    kind = world_kind(config.world.name)
    world = kind.make(config.world)
    library = world.library()
    fields = ("caption", "reward", "success", "steps", "base")
    kept = [Skill(**{f: s[f] for f in fields}) for s in record.skills()]
    kept = [s for s in kept if s.caption not in library]
    if config.world != record.config.world:  # a look into a world that may lack what some skills are about
        kept = [s for s in kept if _fits(s, library)]
    library = library.add(*kept)
    store = EpisodeStore(record)
    room = Room(record)
    ledger = _ledger(record, config)
    experimenter = assemble(
        config.experimenter if record.writable else ExperimenterConfig(),  # who only looks on asks nobody
        world.vocabulary,
        config.seed,
        ledger,
        lambda path: record.path(path).read_bytes(),
        person,
        _heard(room),
    )
    pictures = Pictures(record, world)
    return Experiment(
        config=config,
        record=record,
        world=world,
        kind=kind,
        library=library,
        store=store,
        embodiment=Embodiment(world, library),
        room=room,
        curriculum=Curriculum(
            experimenter, room, world.spec, config.seed, pictures.scene, affordance=config.experimenter.affordance
        ),
        analysis=Analysis(experimenter, room, pictures.curve),
        ledger=ledger,
        data=[store],
    )


def _ledger(record: Record, config: Config) -> Ledger:
    """The run's own calls, and those of the run that it replays."""
    replay = record.result("replay") if record.done("replay") else None
    max_concurrency = config.experimenter.max_concurrency
    if replay is None:
        return Ledger(record, config.budget, max_concurrency=max_concurrency)
    with Record.open(replay["run"], write=False) as other:
        return Ledger(record, config.budget, other.calls(), replay["strict"], max_concurrency)


def _heard(room: Room) -> Callable[[str, str], None]:
    """What a person is asked and says stands in the room too."""

    def post(question: str, answer: str) -> None:
        room.post("experimenter", "human", "question", question)
        room.post("human", "experimenter", "answer", answer or "(can't tell)")

    return post


def _fits(skill: Skill, library: SkillLibrary) -> bool:
    try:
        library.parse(skill)
    except LudusError:
        return False
    return True
