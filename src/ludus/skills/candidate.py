"""A skill that somebody wrote for a capability gap, before it is known to be any good."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from ludus.skills.expression import parse
from ludus.skills.library import Skill
from ludus.skills.names import ObjectNames
from ludus.skills.syntax import read
from ludus.skills.vocabulary import Vocabulary


@dataclass(frozen=True)
class Candidate:
    """Text only, as a model, a person or the planner wrote it; nothing of it has been checked."""

    caption: str
    reward: str
    """Expression; a good one is in [0, 1] and rises on the way to success."""
    success: str
    """Expression, a condition."""
    steps: int
    """Control steps that the skill is given."""
    prerequisites: str = ""
    """Expression, a condition that should hold before the skill begins; empty for none."""
    why: str = ""

    @property
    def skill(self) -> Skill:
        return Skill(self.caption, self.reward, self.success, self.steps, base=False, prerequisites=self.prerequisites)


def members(candidate: Candidate, vocabulary: Vocabulary) -> tuple[Candidate, ...]:
    """The same skill about every choice of different objects ('put X beside Y'), the candidate itself first.

    The objects that the caption names are exchanged; others that the expressions name make room for them. What can be moved
    is exchanged for what can be moved only. Objects that differ in other ways may give members that make no sense; the checks
    on candidates are there to find them.

    Raises:
        LudusError: an expression is outside the language.
    """
    objects = vocabulary.objects
    names = ObjectNames(objects)
    own = names.find(candidate.caption)
    texts = (candidate.reward, candidate.success, candidate.prerequisites)
    for text in filter(None, texts):
        parse(text, vocabulary)
    found = [candidate]
    is_movable = vocabulary.movable.__contains__
    for others in permutations(objects, len(own)) if own else ():
        if others == own or [*map(is_movable, others)] != [*map(is_movable, own)]:
            continue
        left, free = ([o for o in objects if o not in named] for named in (own, others))
        rest = zip(sorted(left, key=is_movable), sorted(free, key=is_movable), strict=True)
        swap = {**dict(zip(own, others, strict=True)), **dict(rest)}
        reward, success, prerequisites = (_renamed(text, swap) for text in texts)
        caption = names.substitute(candidate.caption, swap)
        found.append(Candidate(caption, reward, success, candidate.steps, prerequisites, candidate.why))
    return tuple(found)


def _renamed(text: str, swap: dict[str, str]) -> str:
    """The expression with its objects exchanged; objects that are not in `swap` stay."""
    return read(text).renamed(swap).text if text else text
