"""Selects the skills that a capability gap adds to the library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ludus.skills.expression import condition
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import Plan


def fill_gaps(plans: Sequence[Plan], library: SkillLibrary, candidates: Sequence[Skill]) -> list[Skill]:
    """Which of `candidates` the gaps of these plans ask for.

    For each part of a goal that no skill of the library achieves: the simplest candidate that does, and all candidates
    of its template, because a skill for one pair of objects is likely to work for others.
    Those with fewer relations come first, then those asked for more often.
    """
    vocabulary = library.vocabulary
    known = {atom for skill in library for atom in library.parse(skill)[1].atoms()}
    offers = {s.caption: library.parse(s)[1].atoms() for s in candidates if s.caption not in library}
    n_relations = {caption: sum(len(a[1]) > 1 for a in atoms) for caption, atoms in offers.items()}

    asked: Counter[str] = Counter()
    for plan in plans:
        goal = condition(plan.proposal.goal, vocabulary) if plan.gaps else None
        for atom in goal.atoms() if goal is not None else ():
            able = [c for c, atoms in offers.items() if atom in atoms]
            if atom not in known and len(atom[1]) > 1 and able:
                asked[library.template(min(able, key=lambda c: n_relations[c]))] += 1
    wanted = [s for s in candidates if s.caption in offers and library.template(s.caption) in asked]
    return sorted(wanted, key=lambda s: (n_relations[s.caption], -asked[library.template(s.caption)]))
