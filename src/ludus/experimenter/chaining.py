"""From a goal to steps: backward chaining over what predicates need and what skills achieve.

A skill achieves the atoms of its success expression; an atom needs other atoms on the way (`Vocabulary.preconditions`). There
is no list of what a skill destroys; three conventions stand in for it. The first movable object of an atom is the one that is
moved. Moving an object ends what was said of it. An atom that others pass through (held, before on) does not last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ludus.experimenter.effects import atoms, closure, denied, ended, is_lasting, lasting_relations, moved_by
from ludus.experimenter.roles import SkillStats
from ludus.skills.expression import atom_text
from ludus.skills.vocabulary import Atom, Vocabulary, is_predicate

COMPETENT = 0.6
"""A skill with at least this success rate is used directly; below, finer skills prepare what it needs."""
GAP = "bring about that"
"""How a step begins that no skill does: it explains, and is no instruction."""
AT_ONCE = "at once:"
"""Begins a task that is to be done by one skill instead of several."""
GAP_COMPETENCE = 0.05
"""Chance given to a step that no skill fits."""


@dataclass(frozen=True)
class PlanStep:
    """One step: a skill, or, where no skill does it, a description of what is to be brought about."""

    text: str
    skill: SkillStats | None
    prepares: bool = False
    """Optional: prepares a later, weak skill, which may succeed without it."""

    @property
    def competence(self) -> float:
        return GAP_COMPETENCE if self.skill is None else self.skill.competence


def feasibility(steps: Sequence[PlanStep]) -> float:
    """Estimated chance that a plan succeeds: the product of the competences of its required steps."""
    return math.prod(step.competence for step in steps if not step.prepares)


class Chainer:
    """Plans over one vocabulary and one set of skills."""

    def __init__(self, vocabulary: Vocabulary, skills: Sequence[SkillStats]) -> None:
        self.vocabulary = vocabulary
        self.skills = tuple(skills)
        self.effects: dict[str, tuple[Atom, ...]] = {}
        """What a skill brings about; what it needs, and only keeps, is none of it."""
        self.ends: dict[str, tuple[Atom, ...]] = {}
        """What a skill ends: it has something to do only where that holds."""
        self.achievers: dict[Atom, list[SkillStats]] = {}
        needs = {s.caption: atoms(s.prerequisites, vocabulary) for s in skills}
        for skill in skills:
            changed = [a for a in atoms(skill.success, vocabulary) if a not in needs[skill.caption]]
            self.effects[skill.caption] = tuple(a for a in changed if denied(a, vocabulary) is None)
            kept = ended(skill.prerequisites, vocabulary)
            self.ends[skill.caption] = tuple(a for a in ended(skill.success, vocabulary) if a not in kept)
            for atom in changed:
                self.achievers.setdefault(atom, []).append(skill)
        self.needs: Mapping[str, tuple[Atom, ...]] = {
            c: tuple(a for a in n if is_lasting(a, vocabulary) or (not is_predicate(a) and a in self.achievers))
            for c, n in needs.items()
        }
        """What must hold before a skill begins: relations, and what other skills bring about that is no predicate."""
        denials = {a: denied(a, vocabulary) for a in self.achievers}
        self.denials = {a: end for a, end in denials.items() if end}
        """What skills bring about by ending something, and what they end."""
        self._memory: dict[tuple[tuple[Atom, ...], frozenset[Atom], int], tuple[PlanStep, ...]] = {}
        self._achieved_words = {name for name, _ in self.achievers}
        lasting = lasting_relations(vocabulary)
        self.finished = {name for r in lasting for name, _ in vocabulary.by_name[r].shaping.completed_by}
        """What completes a relation: released, still."""

    def steps(self, goal: Sequence[Atom], facts: Iterable[Atom], max_steps: int) -> tuple[PlanStep, ...]:
        """Steps from `facts` to all atoms of `goal`; empty if they hold already.

        Weak skills are prepared by finer ones as deep as `max_steps` allows. May still be longer than `max_steps` if
        the goal has more parts than that.
        """
        facts, plan = frozenset(facts), ()
        key = tuple(goal), facts, max_steps
        if key in self._memory:  # scenes of one round mostly look alike
            return self._memory[key]
        for depth in range(max(max_steps, 1), -1, -1):
            plan = _Chain(self, goal, facts, depth).run()
            if len(plan) <= max_steps:
                break
        self._memory[key] = plan
        return plan

    def describe(self, atom: Atom) -> str:
        """What an atom says, with its objects' names: 'red stands on green'."""
        name, objects = atom
        if not is_predicate(atom):
            return atom_text(atom)
        letters = dict(zip("XYZW", objects, strict=False))
        meaning = self.vocabulary.by_name[name].meaning.split(":")[0].split(" (")[0].strip().rstrip(".")
        return re.sub(r"\b[XYZW]\b", lambda m: letters.get(m.group(), m.group()), meaning)

    def gap_text(self, atom: Atom) -> str:
        """The step that brings about an atom where no skill does."""
        return f"{GAP} {self.describe(atom)}"

    def order(self, goal: Sequence[Atom]) -> list[Atom]:
        """The order in which to bring about the atoms of a goal: what is built upon, or passed on the way, comes first;
        what the others would undo comes last."""
        rest, ordered = list(dict.fromkeys(goal)), []
        while rest:
            free = [a for a in rest if not any(b != a and self._before(b, a) for b in rest)]
            ordered.append(free[0] if free else rest[0])
            rest.remove(ordered[-1])
        return ordered

    def on_the_way(self, atom: Atom) -> frozenset[Atom]:
        """Every atom that `atom` needs, directly or not."""
        return closure(self.vocabulary, atom)

    def knows(self, atom: Atom) -> bool:
        """Whether anything is known of how it comes about: it is a predicate, or a skill brings it about."""
        return is_predicate(atom) or atom in self.achievers

    def _before(self, a: Atom, b: Atom) -> bool:
        if (a in self.denials) != (b in self.denials):
            return b in self.denials  # most come about with the rest
        if a in self.on_the_way(b):
            return True
        if b in self.on_the_way(a):
            return False
        if a[1][:1] and a[1][0] in b[1][1:]:
            return True
        if b[1][:1] and b[1][0] in a[1][1:]:
            return False
        passed = {name for name, _ in self.on_the_way(a)}
        return b[0] in passed and a[0] not in {name for name, _ in self.on_the_way(b)}


class _Chain:
    """One attempt to reach a goal, with preparation at most `depth` levels deep."""

    def __init__(self, chainer: Chainer, goal: Sequence[Atom], facts: frozenset[Atom], depth: int) -> None:
        self.c = chainer
        self.goal = chainer.order(goal)
        self.facts = facts
        self.denials = chainer.denials | {a: end for a in goal if (end := denied(a, chainer.vocabulary))}
        self.state = set(facts)
        self._deny()
        self.depth = depth
        self.plan: list[PlanStep] = []
        self.settled: set[Atom] = set()

    def run(self) -> tuple[PlanStep, ...]:
        whole = self._whole()
        self._clear_all(whole is not None)
        if whole is not None:
            self._prepare(whole, ())
            self._apply(whole)
        # What is only passed on the way to another part of the goal comes about with it, or is made good at the end.
        stages = {a for a in self.goal if not self._lasting(a) and any(a in self.c.on_the_way(b) for b in self.goal)}
        for atom in [a for a in self.goal if a not in stages] + [a for a in self.goal if a in stages]:
            self._achieve(atom, self.depth, ())
        return tuple(self.plan)

    def _clear_all(self, one_skill: bool) -> None:
        """Before anything is built: nothing may be put on what must still be freed. What the goal itself will have
        moved by then needs no clearing."""
        open_atoms = [a for a in self.goal if a not in self.state]
        for i, atom in enumerate(open_atoms):
            self._clear_way([atom], set() if one_skill else {self._moved(a) for a in open_atoms[:i]})

    def _whole(self) -> SkillStats | None:
        """A competent skill that alone does all that is missing."""
        missing = {a for a in self.goal if a not in self.state}
        if len({a[1] for a in missing if len(a[1]) > 1}) < 2:
            return None  # one relation: the ordinary way finds its skill
        able = [
            s
            for s in self.c.achievers.get(next(iter(missing)), ())
            if s.competence >= COMPETENT and missing <= set(self.c.effects[s.caption])
        ]
        return max(able, key=lambda s: s.competence, default=None)

    def _achieve(self, atom: Atom, depth: int, above: tuple[Atom, ...]) -> None:
        if atom in self.state or atom in above:
            return
        skill = self._choose(atom)
        if skill is None and (self._derived(atom) or atom in self.denials):
            return  # true unless something stands in the way, and then `_clear_way` says so
        # Nothing can be left out for a gap: its needs are all that is known of how to get there.
        if skill is None or (skill.competence < COMPETENT and depth > 0):
            for need in self.c.order(self.c.vocabulary.preconditions(atom)):
                preparer = self._choose(need)
                helps = skill is None or (preparer is not None and preparer.competence >= skill.competence)
                if helps or self._lasting(need):
                    first = len(self.plan)
                    self._achieve(need, depth - 1, (*above, atom))
                    if not self._lasting(need):
                        self.plan[first:] = [replace(s, prepares=True) for s in self.plan[first:]]
        if skill is not None:
            self._prepare(skill, (*above, atom))
        self._clear_way([atom])
        if skill is None:
            self._add(PlanStep(self.c.gap_text(atom), None), [atom])
        else:
            self._apply(skill)

    def _prepare(self, skill: SkillStats, above: tuple[Atom, ...]) -> None:
        """What a skill is built on, however well it goes without it."""
        for need in self.c.order(self.c.needs[skill.caption]):
            self._achieve(need, self.depth, above)

    def _choose(self, atom: Atom) -> SkillStats | None:
        """The skill for one atom: serves the open goal most, brings along least, succeeds most often."""
        wanted = {a for a in self.goal if a not in self.state or a[1][:1] == atom[1][:1]} | {atom}

        def merit(skill: SkillStats) -> tuple[float, ...]:
            effects = set(self.c.effects[skill.caption])
            others = {a[1] for a in effects if len(a[1]) > 1} - {atom[1]}
            # A skill that does several relations at once is used only where it is competent (`_whole`).
            able, needs = skill.competence >= COMPETENT, set(self.c.needs[skill.caption])
            kept, open_needs = len(needs & set(self.goal)), len(needs - self.state)
            ends = len(effects & wanted), -len(effects - wanted)
            return -len(others), -open_needs, able, *ends, kept, skill.competence

        # a relation is worth another try; what follows one (away) is not worth undoing it
        built = [] if self._lasting(atom) else [a for a in self.goal if a in self.state and self._lasting(a)]

        def is_able(skill: SkillStats) -> bool:
            effects = self.c.effects[skill.caption]
            moved = {self._moved(a) for a in effects if self._lasting(a)}
            undoes = any(self._moved(a) in moved and a not in effects for a in built)
            return not undoes and self.state.issuperset(self.c.ends[skill.caption])

        return max(filter(is_able, self.c.achievers.get(atom, ())), key=merit, default=None)

    def _clear_way(self, goal: Sequence[Atom], moved_later: Set[str | None] = frozenset()) -> None:
        """Move aside what stands in the way: where a need that no skill is about does not hold (clear), the fact that
        itself needed it took it (on), by another object. Objects in `moved_later` go away by themselves."""
        for need in sorted({n for a in goal for n in self.c.on_the_way(a) if n[1]}):
            if need in self.facts or not self._derived(need) or need in self.settled:
                continue
            built = [a for a in sorted(self.state) if self._lasting(a) and a not in self.goal]
            for upper in (self._moved(a) for a in built if need in self.c.vocabulary.preconditions(a)):
                if upper is None or upper in moved_later or upper in need[1]:
                    continue
                self.settled.add(need)
                self._move_aside(upper, need[1][0], {o for a in self.goal for o in a[1]})

    def _move_aside(self, upper: str, below: str, involved: set[str]) -> None:
        """By the best skill that ends it, or that puts `upper` somewhere without taking a place that the goal involves."""
        ending = {a for a in self.state if a[1][:1] == (upper,) and below in a[1][1:] and self._lasting(a)}
        options = [s for s in self.c.skills if ending & set(self.c.ends[s.caption])]
        for atom, skills in self.c.achievers.items():
            if self._moved(atom) != upper or not self._lasting(atom):
                continue
            needed = {o for n in self.c.vocabulary.preconditions(atom) if self._derived(n) for o in n[1]}
            places = (needed if is_predicate(atom) else {*atom[1]}) - {upper}
            if not places & (involved | {below}):
                options += [s for s in skills if len({a[1] for a in self.c.effects[s.caption] if len(a[1]) > 1}) == 1]
        best = max(options, key=lambda s: (s.competence, -len(self.c.effects[s.caption])), default=None)
        if best is None:
            self._add(PlanStep(aside_text(upper, below), None), [], moved=upper)
        else:
            self._apply(best)

    def _derived(self, atom: Atom) -> bool:
        """A predicate that no skill achieves directly (clear, still) and that says of no way to it: it follows from others."""
        return (
            is_predicate(atom)
            and atom[0] not in self.c._achieved_words
            and len(atom[1]) < 2
            and not self.c.vocabulary.by_name[atom[0]].preconditions
        )

    def _lasting(self, atom: Atom) -> bool:
        return is_lasting(atom, self.c.vocabulary)

    def _moved(self, atom: Atom) -> str | None:
        return moved_by(atom, self.c.vocabulary)

    def _apply(self, skill: SkillStats) -> None:
        self._add(PlanStep(skill.caption, skill), self.c.effects[skill.caption])
        self.state -= set(self.c.ends[skill.caption])
        self._deny()

    def _add(self, step: PlanStep, effects: Sequence[Atom], moved: str | None = None) -> None:
        self.plan.append(step)
        lasting, finished = lasting_relations(self.c.vocabulary), self.c.finished
        # What follows once an object was let go of (away) neither moves it nor undoes anything.
        acts = [a for a in effects if not any(n[0] in finished and n[1] == a[1] for n in self.c.on_the_way(a))]
        moved_objects = {moved, *map(self._moved, acts)}
        passed = {name for a in acts for name, _ in self.c.on_the_way(a)} & self.c._achieved_words
        self.state = {
            a
            for a in self.state
            if (self._derived(a) or not moved_objects & set(a[1])) and (a[0] not in passed or a[0] in lasting)
        }
        self.state |= set(effects)
        self._deny()

    def _deny(self) -> None:
        """A denial holds where what it denies is not known to hold."""
        self.state -= {a for a, end in self.denials.items() if end in self.state}
        self.state |= {a for a, end in self.denials.items() if end not in self.state}


def aside_text(upper: str, below: str) -> str:
    """The step that frees an object where no skill does."""
    return f"move {upper} off {below} and put it aside"
