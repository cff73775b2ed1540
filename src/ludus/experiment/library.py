"""The skill library of a record: what it was begun with, what joined, what a command asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from ludus.agents.captions import CaptionEncoder
from ludus.lab.growth import grown
from ludus.lab.room import Room
from ludus.lab.rules import Rules, allowed
from ludus.record import Record
from ludus.record.reader import Reader
from ludus.skills import files
from ludus.skills.candidate import Candidate, members
from ludus.skills.files import FiledSkill
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError, WorldSpec, unknown
from ludus.worlds.base import World
from ludus.worlds.registry import WorldKind

FILE_STEP = "library"
"""Step of a record that was begun from a library file: its result keeps the file's skills."""


# --- library files -----------------------------------------------------------------------------------------------


def library_step(skills: Sequence[FiledSkill] | None) -> dict[str, dict[str, Any]]:
    """The step that a record is made with which begins from these skills in place of the world's base skills; with None,
    no step. See `Record.create`."""
    return {} if skills is None else {FILE_STEP: {"skills": [asdict(s) for s in skills]}}


def check_library(record: Reader, skills: Sequence[FiledSkill] | None) -> None:
    """
    Raises:
        LudusError: the record was begun from other skills than these; None is never wrong.
    """
    if skills is not None and tuple(skills) != kept_library(record):
        raise LudusError(f"{record.directory} was begun from other skills; give its file, or choose another directory")


def kept_library(record: Reader) -> tuple[FiledSkill, ...] | None:
    """The skills of the file that the record was begun from, None where it was begun from its world's base skills."""
    if not record.done(FILE_STEP):
        return None
    return tuple(FiledSkill(**row | {"parents": tuple(row["parents"])}) for row in record.result(FILE_STEP)["skills"])


def shown_captions(kind: WorldKind, spec: WorldSpec, captions: Sequence[str]) -> tuple[str, ...]:
    """Those that the world's teacher obeys: a library may have skills that it was never written for.

    Raises:
        LudusError: it obeys none of them, or there is no teacher.
    """
    obeys = getattr(kind.make_teacher(spec), "obeys", None)
    shown = tuple(c for c in captions if obeys is None or obeys(c))
    if not shown:
        such = f", such as {captions[0]!r}" if captions else ""
        raise LudusError(
            f"the teacher of world {spec.name!r} obeys none of {len(captions)} skills{such}, so nothing can be shown to a "
            "new policy; give skills that it obeys, or begin with seed_data.actor=random"
        )
    return shown


# --- the library of a record -------------------------------------------------------------------------------------


def recorded_skills(record: Record, vocabulary: Vocabulary) -> list[Skill]:
    """All skills that the record knows, in the order in which they joined."""
    names, needed = ("caption", "reward", "success", "steps", "base"), _prerequisites(record, vocabulary)
    return [
        Skill(**{name: row[name] for name in names}, prerequisites=needed.get(row["caption"], ""))
        for row in record.skills()
    ]


def recorded_library(record: Record, world: World, *, lenient: bool = False) -> SkillLibrary:
    """The skills that the record begins from, the world's base skills or those of a library file, without those that its rules
    forbid; and those that joined.

    Args:
        lenient: leave out skills that cannot be read here, for another world than the record's, which may lack objects.

    Raises:
        LudusError: a skill that cannot be read; without `lenient`; rules that leave no skill.
    """
    rules = Rules(record.config.oversight.forbid, world.vocabulary)
    library = allowed(base_library(kept_library(record), world, lenient=lenient), rules)
    if rules and not len(library):
        raise LudusError(f"oversight.forbid={record.config.oversight.forbid!r} forbids every skill to begin with")
    joined = [s for s in recorded_skills(record, world.vocabulary) if s.caption not in library]
    return library.add(*[s for s in joined if not lenient or _fits(s, library)])


def _prerequisites(record: Reader, vocabulary: Vocabulary) -> dict[str, str]:
    """Caption -> prerequisites of the skills that were filed, or written in the run; without those about objects that this
    world lacks."""
    found = {s.caption: s.prerequisites for s in kept_library(record) or ()}
    for gap in (gap for result in grown(record) for gap in result["gaps"] if gap["joined"]):
        written = {f.name: gap["tried"][-1][f.name] for f in fields(Candidate)}
        try:
            family = members(Candidate(**written), vocabulary)
        except LudusError:
            continue
        found |= {c.caption: c.prerequisites for c in family if c.caption in gap["joined"]}
    return found


def base_library(kept: Sequence[FiledSkill] | None, world: World, *, lenient: bool = False) -> SkillLibrary:
    """The library that a run begins from: of a file's skills, or, with None, the world's own base skills.

    Args:
        lenient: leave out skills that cannot be read in this world.

    Raises:
        LudusError: a skill that cannot be read; without `lenient`; a world without base skills.
    """
    if kept is None:
        whole = world.library()
        if not whole.base.captions:
            raise LudusError(
                f"world {world.spec.name!r} has {len(whole)} skills and none to begin with; leave base=False out of one, or give "
                "--library FILE"
            )
        return whole.base
    empty = SkillLibrary(world.vocabulary, ())
    return files.check([s for s in kept if not lenient or _fits(s.skill, empty)], world.vocabulary)


def choose(
    library: SkillLibrary, kind: WorldKind, world: World, names: Sequence[str]
) -> tuple[SkillLibrary, tuple[str, ...]]:
    """Captions of the skills and templates called `names`, and the library with those that it lacked.

    Raises:
        LudusError: neither the library nor the world's further skills have a name.
    """
    further = [s for s in world.library() if not s.base] + list(kind.extra_skills(library.vocabulary.objects))
    every = library.add(*[s for s in further if s.caption not in library])
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
        filed = {f.caption: f for f in kept_library(record) or ()}
        for skill in library:
            f = filed.get(skill.caption, FiledSkill(skill.caption, skill.reward, skill.success, base=skill.base))
            record.add_skills([skill], 0, f.author or None, f.parents, f.status or None)
        spec = world.spec
        things = f" with {', '.join(spec.objects)}" if spec.objects else ""
        text = f"World {spec.name!r}{things}; {len(library)} skills; seed {record.seed}; {intent}."
        Room(record).post("loop", "all", "note", text)
        if record.config.oversight.forbid:
            base = base_library(kept_library(record), world)
            left_out = [c for c in base.captions if c not in library]
            text = f"Left out, since rules forbid them: {', '.join(map(repr, left_out)) or 'no skill'}."
            Room(record).post("oversight", "all", "note", text)


def _fits(skill: Skill, library: SkillLibrary) -> bool:
    try:
        library.parse(skill)
    except LudusError:
        return False
    return True
