"""The skill library of a record: what it was begun with, what joined, what a command asks for."""

from __future__ import annotations

from collections.abc import Sequence

from ludus.agents.captions import CaptionEncoder
from ludus.lab.room import Room
from ludus.record import Record
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import LudusError, WorldSpec, unknown
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind


def recorded_skills(record: Record) -> list[Skill]:
    """All skills that the record knows, in the order in which they joined."""
    return [Skill(**{name: row[name] for name in Skill.__dataclass_fields__}) for row in record.skills()]


def recorded_library(record: Record, world: World, *, lenient: bool = False) -> SkillLibrary:
    """The world's base skills and those that joined the record's library.

    Args:
        lenient: leave out skills that cannot be read here, for another world than the record's, which may lack objects.

    Raises:
        LudusError: a skill that cannot be read; without `lenient`.
    """
    library = world.library()
    joined = [s for s in recorded_skills(record) if s.caption not in library]
    return library.add(*[s for s in joined if not lenient or _fits(s, library)])


def choose(library: SkillLibrary, kind: WorldKind, names: Sequence[str]) -> tuple[SkillLibrary, tuple[str, ...]]:
    """Captions of the skills and templates called `names`, and the library with those that it lacked.

    Raises:
        LudusError: neither the library nor the world's extra skills have a name.
    """
    extra = kind.extra_skills(library.vocabulary.objects)
    every = library.add(*[s for s in extra if s.caption not in library])
    captions = every.matching(names)
    return library.add(*[every[c] for c in captions if c not in library]), captions


def check_starts(spec: WorldSpec, starts: Sequence[str]) -> None:
    """
    Raises:
        LudusError: the world has no start of this name.
    """
    for start in starts:
        if start not in spec.starts:
            raise unknown("start", start, spec.starts)


def record_skills(record: Record, library: SkillLibrary, step: str) -> None:
    """Add the library's skills that the record lacks, as a step of this name."""
    known = {s["caption"] for s in record.skills()}
    new = [s for s in library if s.caption not in known]
    if new and not record.done(step):
        with record.commit(step):
            record.add_skills(new)


def begin(record: Record, world: World, library: SkillLibrary, intent: str) -> None:
    """The record's first step: the skills that there are, and a note of what is to be done.

    Raises:
        LudusError: a caption that a policy cannot read.
    """
    CaptionEncoder(world.spec.objects).check(library.captions)
    if record.done("begin"):
        return
    with record.commit("begin"):
        record.add_skills(library)
        spec = world.spec
        text = (
            f"World {spec.name!r} with {', '.join(spec.objects)}; {len(library)} skills; seed {record.seed}; {intent}."
        )
        Room(record).post("loop", "all", "note", text)


def _fits(skill: Skill, library: SkillLibrary) -> bool:
    try:
        library.parse(skill)
    except LudusError:
        return False
    return True
