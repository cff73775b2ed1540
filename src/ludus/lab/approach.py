"""From where a skill is tried: where its prerequisites hold, to which known skills lead.

Else 'put red on both green and blue' would be judged from starts at which the two do not even stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ludus.experimenter.chaining import Chainer
from ludus.experimenter.roles import SkillStats
from ludus.lab.context import achieved
from ludus.lab.program import Do, If, Program
from ludus.skills.expression import condition
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, WorldSpec

MASTERED = 1000, 1000
"""Tries and successes of skills that are used directly, not after finer ones that would make up for their failures."""


@dataclass(frozen=True)
class Approach:
    """What is done before a skill is tried."""

    prerequisites: str  # an expression
    captions: tuple[str, ...]  # of known skills, carried out where it does not hold yet

    def program(self, caption: str) -> Program:
        """The approach, and then the skill."""
        return If(self.prerequisites, (), tuple(map(Do, self.captions))), Do(caption)

    def led_to(self, caption: str, episode: Episode, library: SkillLibrary) -> bool:
        """Whether the prerequisites held when the skill was told."""
        last, ready = episode.segments[-1], condition(self.prerequisites, library.vocabulary)
        if last.caption != caption or ready is None:
            return False
        return bool(ready.evaluate({g: a[last.start] for g, a in episode.observations.items()}))


Approaches = Mapping[str, Approach]
"""By caption; skills that can be tried from any start have none."""


def find_approaches(library: SkillLibrary, spec: WorldSpec) -> Approaches:
    """Approaches of the skills whose prerequisites other skills bring about."""
    found, reached = dict[str, Approach](), achieved(library)
    for skill in library:
        caption, text = skill.caption, skill.prerequisites
        expression = condition(text, library.vocabulary) if text else None
        goal = [a for a in expression.conditions() if a in reached] if expression is not None else []
        if not goal:
            continue
        template, room = library.template(caption), (spec.episode_steps - skill.steps) // spec.skill_steps
        others = (s for s in library if library.template(s.caption) != template)
        known = tuple(SkillStats(s.caption, s.success, *MASTERED, prerequisites=s.prerequisites) for s in others)
        steps = Chainer(library.vocabulary, known).steps(goal, (), room) if room > 0 else ()
        captions = tuple(s.skill.caption for s in steps if s.skill is not None)
        if 0 < len(captions) == len(steps) <= room:
            found[caption] = Approach(text, captions)
    return found
