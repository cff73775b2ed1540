"""What expressions demand and what skills bring about, need and end: the data of planning.

An atom is a predicate applied to objects, or any other condition by its text (`Expression.conditions`). Two conventions: the
first movable object of an atom is the one that is moved, and a `not` holds where what it denies is not known to hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ludus.experimenter.roles import SkillStats
from ludus.skills.expression import parse
from ludus.skills.library import Skill
from ludus.skills.vocabulary import Atom, Vocabulary, is_predicate

DENIAL = re.compile(r"not (\w+)\([^()]*\)")


def atoms(text: str | None, vocabulary: Vocabulary) -> tuple[Atom, ...]:
    """The conditions that an expression demands; empty for none.

    Raises:
        LudusError: malformed.
    """
    return parse(text, vocabulary).conditions() if text else ()


def denied(atom: Atom, vocabulary: Vocabulary) -> Atom | None:
    """Of `not on(red, green)`: on(red, green); None for what is no denial of a predicate."""
    found = DENIAL.fullmatch(atom[0])
    return (found[1], atom[1]) if found and found[1] in vocabulary.by_name else None


def ended(text: str | None, vocabulary: Vocabulary) -> tuple[Atom, ...]:
    """The atoms that an expression demands not to hold: of `not on(red, green) and held(red)` it is on(red, green).

    Raises:
        LudusError: malformed.
    """
    found = (denied(a, vocabulary) for a in atoms(text, vocabulary))
    return tuple(a for a in found if a is not None)


def left_by(skill: SkillStats | Skill, vocabulary: Vocabulary) -> frozenset[Atom]:
    """The relations that stand after a skill: those it brings about, and those it needs and keeps."""
    return relations((*atoms(skill.success, vocabulary), *atoms(skill.prerequisites, vocabulary)))


def relations(found: Iterable[Atom]) -> frozenset[Atom]:
    """The predicates among them on two or more objects. A comparison beside one says more of it, and is none of its own."""
    return frozenset(a for a in found if len(a[1]) > 1 and is_predicate(a))


def moved_by(atom: Atom, vocabulary: Vocabulary) -> str | None:
    """The object that is moved to bring an atom about; None where none is."""
    if not is_predicate(atom) and not _moves(atom[0], vocabulary):
        return None
    return next((o for o in atom[1] if o in vocabulary.movable), None)


def is_lasting(atom: Atom, vocabulary: Vocabulary) -> bool:
    """Whether it is a part of what is built, not a stage of moving something."""
    if len(atom[1]) < 2:
        return False
    if is_predicate(atom):
        return atom[0] in lasting_relations(vocabulary)
    return denied(atom, vocabulary) is None and moved_by(atom, vocabulary) is not None


def lasting_relations(vocabulary: Vocabulary) -> frozenset[str]:
    """Relations worth building: conditions on two or more objects that no other predicate passes through while moving the
    same object (above, on the way to on, is such a stage; beside, under on_both, is a part)."""
    conditions = (p for p in vocabulary.predicates if p.result == "bool")
    return _relations(tuple((p.name, p.preconditions, len(p.parameters)) for p in conditions))


def closure(vocabulary: Vocabulary, atom: Atom) -> frozenset[Atom]:
    """Every atom that `atom` needs, directly or not."""
    found: set[Atom] = set()
    open_atoms = [atom]
    while open_atoms:
        for need in vocabulary.preconditions(open_atoms.pop()):
            if need not in found:
                found.add(need)
                open_atoms.append(need)
    return frozenset(found)


@lru_cache(maxsize=64)
def _relations(words: tuple[tuple[str, tuple[tuple[str, tuple[int, ...]], ...], int], ...]) -> frozenset[str]:
    stages = {need for _, preconditions, _ in words for need, at in preconditions if at[:1] == (0,)}
    return frozenset(name for name, _, n in words if n > 1 and name not in stages)


def _moves(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a condition reads something of an object that changes only by moving it, as far as is declared."""
    read = (vocabulary.by_name[n] for n in re.findall(r"\w+(?=\()", text) if n in vocabulary.by_name)
    return any(p.parameters and (p.result == "bool" or not p.shaping.from_anywhere) for p in read)
