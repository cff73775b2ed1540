"""Takes a goal apart into parts, in the order in which they are to be done, each with its stages and what completes it.

A goal is a conjunction of predicates, of `not` predicates and of comparisons. Nothing here knows a world: predicates say what
they need (`Predicate.preconditions`), how far they have come and what completes them (`Shaping`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ludus.experimenter import phrasing
from ludus.experimenter.chaining import Chainer
from ludus.experimenter.effects import closure, lasting_relations
from ludus.experimenter.phrasing import fill
from ludus.skills.expression import MAX_ARGUMENTS, atom_text
from ludus.skills.syntax import COMPARISONS, Node, quote
from ludus.skills.vocabulary import Atom, Predicate, Shaping, Vocabulary
from ludus.types import LudusError

DEFAULT_SCALE = 1.0
"""A large difference of a measure of which no scale is known."""
NEAR = 1 / 3
"""Share of a measure's scale within which an object need not be lifted any more."""


@dataclass(frozen=True)
class Form:
    """How much of what is known goes into a skill; other attempts at the same goal take less."""

    prerequisites: bool = True
    thorough: bool = True
    """Whether what completes a relation (released, still) is demanded where the goal does not say so."""
    all_stages: bool = True
    """False: only the first and the last stage of each part."""
    last_only: bool = False
    """Whether only the last relation is to be made and the earlier ones, which must stand before, are to be kept."""


@dataclass
class Part:
    """One thing that a goal asks for."""

    conditions: list[str]
    """What must hold, as expressions."""
    says: str
    """How a robot is told to do it."""
    stages: list[str] = field(default_factory=list)
    completions: list[Atom] = field(default_factory=list)
    moved: str | None = None
    prerequisites: list[str] = field(default_factory=list)
    is_kept: bool = False
    """It stands before, and is not to be undone."""


class Goal:
    """One goal over one vocabulary. `facts`: what holds in the scene; tells what stands in the way."""

    def __init__(self, vocabulary: Vocabulary, goal: Node, facts: frozenset[Atom], form: Form) -> None:
        conjuncts = goal.args if goal.op == "and" else (goal,)
        self.v, self.facts, self.form = vocabulary, facts, form
        self.chainer = Chainer(vocabulary, ())
        self.lasting = lasting_relations(vocabulary)
        self.atoms = self.chainer.order([a for n in conjuncts if (a := self.atom(n)) is not None])
        self.ended = [a for n in conjuncts if n.op == "not" and (a := self.atom(n.args[0])) is not None]
        self.compared = [n for n in conjuncts if n.op in COMPARISONS]
        understood = {id(n) for n in self.compared}
        self.others = [n for n in conjuncts if self.atom(n) is None and id(n) not in understood and not self._ends(n)]

    def parts(self) -> list[Part]:
        """At least one."""
        built = [self._built(a) for a in self.atoms if self._shaping(a).completed_by]
        rest = [a for a in self.atoms if not self._shaping(a).completed_by]
        if self.form.last_only:
            self._keep(built)
        blocked = [a for a in rest if self._takers(a)]
        first: list[Part] = []
        for atom in self.ended:
            self._end(atom, built, first)
        for atom in blocked:
            self._free(atom, built, first)
        parts = first + built
        for node in self.compared:
            self._compare(node, parts)
        for atom in (a for a in rest if a not in blocked):
            self._rest(atom, rest, parts)
        parts += [Part([n.text if n.op != "or" else f"({n.text})"], "") for n in self.others]
        if not self.form.all_stages:
            for part in parts:
                del part.stages[1:]
        if not any(p.says for p in parts):
            raise LudusError("no words for this goal; write it with predicates joined by 'and'")
        return parts

    def atom(self, node: Node) -> Atom | None:
        known = self.v.by_name.get(node.name) if node.op == "call" else None
        return (node.name, tuple(a.name for a in node.args)) if known and known.result == "bool" else None

    def _ends(self, node: Node) -> bool:
        return node.op == "not" and self.atom(node.args[0]) is not None

    def _shaping(self, atom: Atom) -> Shaping:
        return self.v.by_name[atom[0]].shaping

    def _built(self, atom: Atom) -> Part:
        """A relation, done as thoroughly as it can be, unless the goal itself wants it otherwise."""
        self._check_movable(atom)
        complete = _related(self._shaping(atom).completed_by, atom) if self.form.thorough else []
        if any(end in self.atoms for c in complete for end in ended_by(self.v, c)):
            complete = []
        passed = closure(self.v, atom)
        conditions = [atom, *(c for c in complete if c in passed)]
        later = [c for c in complete if c not in passed]
        says, moved = phrasing.phrase(self.v, atom), next(iter(atom[1]), None)
        return Part([*map(atom_text, conditions)], says, self._stages(atom), later, moved, self._needs(atom))

    def _check_movable(self, atom: Atom) -> None:
        moved, can = atom[1][:1], ", ".join(sorted(self.v.movable)) or "nothing"
        if len(atom[1]) > 1 and not self.v.movable.issuperset(moved):
            raise LudusError(
                f"{atom_text(atom)} is about moving {moved[0]!r}, which cannot be moved; name one of: {can}"
            )

    def _keep(self, built: Sequence[Part]) -> None:
        """All relations but the last, where none of their objects is moved by it."""
        earlier = [a for a in self.atoms if self._shaping(a).completed_by][:-1]
        if any(built[-1].moved in objects for _, objects in earlier):
            return
        for part, atom in zip(built, earlier, strict=False):
            part.is_kept, part.says = True, phrasing.keeping(atom)
            part.prerequisites = [*part.conditions, *map(atom_text, part.completions)]

    def _stages(self, atom: Atom) -> list[str]:
        """How far it has come, from any state on."""
        shaping, own = self._shaping(atom), progress_of(self.v, atom)
        if own and shaping.from_anywhere:
            return own
        before: dict[str, None] = {}
        for need in self.chainer.order(self.v.preconditions(atom)):
            if need[0] not in self.lasting:
                before |= dict.fromkeys(self._stages(need))
        return [*before, *own]

    def _needs(self, atom: Atom) -> list[str]:
        """Conditions on the way of which nobody says how they come about, and relations that are not this skill's to make."""
        found: dict[str, None] = {}
        for need in self.v.preconditions(atom):
            if need[0] in self.lasting:
                if need not in self.atoms:
                    found[atom_text(need)] = None
            elif not self._shaping(need).progress:
                found[atom_text(need)] = None
            else:
                found |= dict.fromkeys(self._needs(need))
        return list(found)

    # --- what is to end -------------------------------------------------------------------------------------------

    def _end(self, atom: Atom, built: Sequence[Part], first: list[Part]) -> Part:
        """`not atom`: the object that it moved is moved again; to the place that the goal names, or to any."""
        text, says = f"not {atom_text(atom)}", phrasing.undoing(self.v, atom)
        moved = atom[1][0] if atom[1] else None
        part = next((p for p in (*built, *first) if p.moved is not None and p.moved == moved), None)
        if part is None and len(atom[1]) < 2:
            ending = next((p for p in self.v.predicates for n, at in p.shaping.ends if n == atom[0]), None)
            if ending is not None:
                says = phrasing.phrase(self.v, (ending.name, atom[1]))
            first.append(Part([text], says, progress_of(self.v, (ending.name, atom[1])) if ending else []))
            return first[-1]
        if part is None:
            self._check_movable(atom)
            assert moved is not None
            place = self._place if self.form.thorough else None
            part = self._built((place.name, (moved,))) if place else Part([], says, self._carrying(moved), [], moved)
            first.append(part)
        part.conditions.insert(0, text)
        part.prerequisites = list(dict.fromkeys([atom_text(atom), *part.prerequisites]))
        part.says = says
        return part

    def _free(self, atom: Atom, built: Sequence[Part], first: list[Part]) -> None:
        """A condition that relations take away (clear): by ending those that do, where the scene shows them."""
        taking = [a for a in self._takers(atom) if a in self.facts and a not in self.atoms]
        for taker in taking:
            part = self._end(taker, built, first)
            part.conditions = list(dict.fromkeys([atom_text(atom), *part.conditions]))
        if taking:
            return
        # Any object may be the one to move; without its stages the skill reads only what its caption names.
        takers = self._takers(atom)[:MAX_ARGUMENTS] if self.form.all_stages else []
        each = [(t, self._carrying(t[1][0])) for t in takers]
        rows = list(zip(*(stages for _, stages in each), strict=False))
        stages = [_most([f"{atom_text(t)} * {s}" for (t, _), s in zip(each, row, strict=True)]) for row in rows[:1]]
        stages += [_most(list(row)) for row in rows[1:]]
        first.append(Part([atom_text(atom)], phrasing.phrase(self.v, atom), stages, [], atom[1][0]))

    def _takers(self, atom: Atom) -> list[Atom]:
        """Relations of two that need the atom and end it; none if something is known of how far it has come."""
        if self._shaping(atom).progress or len(atom[1]) != 1:
            return []
        others = [o for o in self.v.objects if o in self.v.movable and o not in atom[1]]
        pairs = ((name, (o, *atom[1])) for name in sorted(self.lasting) for o in others)
        pairs = (a for a in pairs if len(self.v.by_name[a[0]].parameters) == len(a[1]))
        return [a for a in pairs if atom in self.v.preconditions(a)]

    @cached_property
    def _place(self) -> Predicate | None:
        """Where an object can be put without a relation to another one."""
        places = (p for p in self.v.predicates if p.shaping.completed_by and len(p.parameters) == 1)
        return next(places, None)

    # --- measures -------------------------------------------------------------------------------------------------

    def _compare(self, node: Node, parts: list[Part]) -> None:
        """a <= c: the nearer the better; where it takes moving an object, that object is taken and lifted first."""
        calls = [n for n in node.walk() if n.op == "call" and n.name in self.v.by_name]
        scale = max((self.v.by_name[n.name].shaping.scale for n in calls), default=0.0) or DEFAULT_SCALE
        moving = [n for n in calls if n.args and not self.v.by_name[n.name].shaping.from_anywhere]
        objects = [a.name for n in moving for a in n.args if a.name in self.v.movable] if self._carried else []
        moved = objects[0] if objects else None
        part = next((p for p in parts if p.moved is not None and p.moved == moved), None)
        if part is not None:
            part.conditions.append(node.text)
            return
        low, high = node.args if node.op in ("<", "<=") else node.args[::-1]
        excess = f"max({low.text} - ({high.text}), 0)"
        part = Part([node.text], phrasing.measuring(node), [f"shape({excess}, {scale:g})"], [], moved)
        if moved is not None and self._carried:
            carried: Atom = (self._carried, (moved,))
            held = [n for n in self.v.preconditions(carried) if progress_of(self.v, n)]
            near = [f"{atom_text(n)} * shape({excess}, {scale * NEAR:.3g})" for n in held[:1]]
            part.stages = [*self._carrying(moved), f"{atom_text(carried)} * {part.stages[0]}", *near]
            part.prerequisites = self._needs(carried)
        parts.append(part)

    @cached_property
    def _carried(self) -> str | None:
        """The furthest stage of moving one object that relations pass through: lifted."""
        found: dict[Atom, None] = {}
        for p in self.v.predicates:
            if p.name in self.lasting:
                found |= dict.fromkeys(a for a in closure(self.v, (p.name, tuple("XYZW"[: len(p.parameters)]))))
        stages = [a for a in found if a[1] == ("X",) and progress_of(self.v, a)]
        furthest = [a for a in stages if not any(a in closure(self.v, b) for b in stages)]
        return min(furthest)[0] if furthest else None

    def _carrying(self, moved: str) -> list[str]:
        return self._stages((self._carried, (moved,))) if self._carried else []

    # --- the rest -------------------------------------------------------------------------------------------------

    def _rest(self, atom: Atom, rest: Sequence[Atom], parts: list[Part]) -> None:
        """A condition that belongs to a part, or is one of its own."""
        completing = {name for p in self.v.predicates for name, _ in p.shaping.completed_by}
        if any(atom in p.completions or atom_text(atom) in p.conditions for p in parts):
            return
        carried: Atom = (self._carried or "", atom[1])
        on_the_way = {carried, *closure(self.v, carried)} if self._carried and len(atom[1]) == 1 else set()
        for part in parts:
            passed = any(atom_text(a) in part.conditions and atom in closure(self.v, a) for a in self.atoms)
            if passed or (atom[1] == (part.moved,) and atom in on_the_way):
                part.conditions.append(atom_text(atom))
                return
            if atom[0] in completing and atom[1] == (part.moved,):
                part.completions.append(atom)
                return
        wider = [b for b in rest if b != atom and atom in closure(self.v, b)]
        if wider:  # it is passed on the way to another one, and must hold at its end
            self._rest(wider[-1], [b for b in rest if b not in (atom, *wider[:-1])], parts)
            self._rest(atom, [], parts)
            return
        says = phrasing.phrase(self.v, atom)
        if parts and parts[-1].moved is not None and says.split()[-1:] == [parts[-1].moved]:
            says = " ".join(says.split()[:-1])  # 'put red on green and leave'
        stages = self._stages(atom)
        moved = atom[1][0] if len(stages) > 1 else None
        parts.append(Part([atom_text(atom)], says, stages, [], moved, self._needs(atom)))


def _most(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"


def progress_of(vocabulary: Vocabulary, atom: Atom) -> list[str]:
    name, objects = atom
    return [fill(text, [*map(quote, objects)]) for text in vocabulary.by_name[name].shaping.progress]


def ended_by(vocabulary: Vocabulary, atom: Atom) -> list[Atom]:
    return _related(vocabulary.by_name[atom[0]].shaping.ends, atom)


def _related(pairs: Iterable[tuple[str, tuple[int, ...]]], atom: Atom) -> list[Atom]:
    return [(name, tuple(atom[1][i] for i in at)) for name, at in pairs]
