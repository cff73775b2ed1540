"""The questions of the part *write*: gaps described in words, each with a reference skill written by hand (`data/write.json`).

`{x}`, `{y}`, `{z}` in the file are objects of the question's world; which they are goes round with the line. `{gx}` is the goal
of x.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Any

from ludus.exam.stored import FOLDER, Stored, load
from ludus.experimenter.roles import Scene, WriteQuestion
from ludus.lab.context import facts
from ludus.skills.candidate import Candidate
from ludus.skills.expression import parse
from ludus.skills.library import SkillLibrary
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.ogbench.skills import base_skills as put_skills

EARLY = ("open the gripper", "reach X", "grasp X", "lift X")
LIBRARIES: dict[str, tuple[str, ...]] = {
    "first": EARLY[:3],
    "early": EARLY,
    "arm": EARLY,
    "no leave": (*EARLY, "hover X above Y", "stack X on Y"),
    "base": (*EARLY, "hover X above Y", "stack X on Y", "stack X on Y and leave"),
    "pairs": (*EARLY, "hover X above Y", "stack X on Y", "stack X on Y and leave", "put X beside Y"),
    "put": ("put X at Y",),
}
"""Templates of the skills that the robot has when the question is put."""


@dataclass(frozen=True)
class WriteItem:
    """Which skill is missing?"""

    world: str
    """Name of the stored observations, see `ludus.exam.stored`."""
    kind: str
    """Name of the reference."""
    library: str
    missing: str
    task: str
    goal: str
    shown: bool
    """Whether the question has the goal's expression; otherwise only words."""
    reference: Candidate
    shows: tuple[str, ...]
    """Captions with which the blocks world's teacher reaches it; none where there is no teacher."""

    @property
    def stored(self) -> Stored:
        return load(self.world)

    @property
    def skills(self) -> SkillLibrary:
        """What the robot has."""
        return library(self.world, self.library)

    def question(self, key: str) -> WriteQuestion:
        """As an experimenter is asked, in a start where the reference would begin."""
        stored = self.stored
        return WriteQuestion(
            key,
            self.missing,
            self.task,
            self.goal if self.shown else None,
            Scene(stored.vocabulary.objects, _facts_before(self.world, self.reference)),
            tuple(self.skills),
            stored.episode_steps,
            stored.skill_steps,
        )


def write_items() -> tuple[WriteItem, ...]:
    """All of them, in the order of the file."""
    data = json.loads((FOLDER / "write.json").read_text())
    return tuple(_item(i, data["references"], *row) for i, row in enumerate(data["questions"]))


def _item(i: int, references: dict[str, Any], world: str, name: str, shown: bool, words: str) -> WriteItem:
    row, named = references[name], _objects(i, objects_of(world))

    def text(template: str) -> str:
        """Names with a space are quoted in expressions only."""
        return template.format(**named)

    def expression(template: str) -> str:
        return template.format(**{k: repr(v) if " " in v else v for k, v in named.items()})

    reference = Candidate(
        text(row["caption"]), expression(row["reward"]), expression(row["success"]), row["steps"],
        expression(row["prerequisites"]), "a reference",
    )  # fmt: skip
    shows = tuple(map(text, row["shows"]))
    goal = expression(row["goal"])
    return WriteItem(world, name, row["library"], text(words), text(row["task"]), goal, shown, reference, shows)


def objects_of(world: str) -> tuple[str, ...]:
    """Of the world with this name."""
    return load(world).vocabulary.objects


def _objects(i: int, objects: Sequence[str]) -> dict[str, str]:
    movable = [o for o in objects if not o.endswith(" goal")]
    orders = list(permutations(movable, min(3, len(movable))))
    named = dict(zip("xyz", orders[7 * i % len(orders)], strict=False))
    return {"z": "", **named, "gx": f"{named['x']} goal"}


@cache
def library(world: str, name: str) -> SkillLibrary:
    """The skills of `LIBRARIES` over a world's objects."""
    words = load(world).vocabulary
    movable = [o for o in words.objects if not o.endswith(" goal")]
    known = base_skills(movable) + extra_skills(movable)
    if len(movable) < len(words.objects):
        known += put_skills(movable)
    everything = SkillLibrary(words, known)
    wanted = [s for s in known if everything.template(s.caption) in LIBRARIES[name]]
    return SkillLibrary(words, wanted)


@cache
def _facts_before(world: str, reference: Candidate) -> tuple[str, ...]:
    """What holds in the first stored start at which the reference would begin, or else an observation, or the first start."""
    stored = load(world)
    before = f"not ({reference.success})"
    if reference.prerequisites:
        before += f" and {reference.prerequisites}"
    waits = parse(before, stored.vocabulary)
    for seen in (stored.evidence.starts, stored.evidence.together):
        found = waits.evaluate(seen)
        if found.any():
            i = int(found.argmax())
            return facts(stored.vocabulary, {g: a[i : i + 1] for g, a in seen.items()})[0]
    return facts(stored.vocabulary, {g: a[:1] for g, a in stored.evidence.starts.items()})[0]
