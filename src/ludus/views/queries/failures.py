"""Why a skill fails: which condition of its success was missed, how often and how narrowly. Computed from stored episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ludus.data.store import EpisodeStore
from ludus.experimenter.effects import closure
from ludus.experimenter.goals import progress_of
from ludus.record import tables
from ludus.skills.expression import Expression, atom_text, parse
from ludus.skills.library import SkillLibrary
from ludus.skills.names import LETTERS, ObjectNames
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import LudusError, Observations

MOST_SEGMENTS = 512
"""Failed attempts that are read, spread evenly over all: shares are then known to about two points."""


@dataclass(frozen=True)
class Missed:
    """A condition, over the failed attempts of a family."""

    condition: str  # with X, Y, Z for the objects of a family of several skills
    part: bool  # of the success itself; otherwise something that is needed on the way
    never: float  # share of the failures in which it held at no time of the attempt
    at_end: float  # share of the failures in which it does not hold at the end
    measure: str | None
    """How far it is from holding: the margin of a comparison, or the progress towards a predicate, 0 to 1."""
    median: float | None  # of the measure, at the ends at which the condition does not hold


@dataclass(frozen=True)
class Failures:
    """How the attempts of one phase of the run failed."""

    phase: str  # 'round/2/practice'
    attempts: int
    failed: int
    read: int  # failed attempts that the shares are over
    missed: tuple[Missed, ...]  # the parts of the success first, in their order; then what is needed on the way


@dataclass
class _Tally:
    """One condition over the failures so far."""

    part: bool
    measure: str | None
    held: list[bool] = field(default_factory=list)
    at_end: list[bool] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def failures(record_store: EpisodeStore, library: SkillLibrary, captions: Sequence[str]) -> Failures | None:
    """Failed attempts of these skills, which are one family or one skill, in the last practice that had some, or else in the last
    phase that commanded them. None where no episode did.

    Raises:
        LudusError: a shard that is missing or broken.
    """
    o = tables.outcomes.c
    rows = record_store.record.rows(tables.outcomes, o.caption.in_(captions))
    phases = list(dict.fromkeys(row["step"].rpartition("/")[0] for row in rows if row["step"]))
    if not phases:
        return None
    phase = [p for p in phases if p.endswith("/practice")][-1:] or phases[-1:]
    rows = [row for row in rows if (row["step"] or "").rpartition("/")[0] == phase[0]]
    failed = [row for row in rows if not row["success_at_end"]]
    spread = np.unique(np.linspace(0, len(failed) - 1, min(len(failed), MOST_SEGMENTS)).astype(int))
    some = [failed[i] for i in spread]
    tallies: dict[str, _Tally] = {}
    conditions = {c: _conditions(c, library, len(captions) > 1) for c in captions}
    for row in some:
        episode = record_store.load(row["episode"])
        _, first, end = episode.segment_bounds()[row["segment"]]
        _count(conditions[row["caption"]], {g: v[first : end + 1] for g, v in episode.observations.items()}, tallies)
    return Failures(phase[0], len(rows), len(failed), len(some), tuple(_missed(tallies)))


@dataclass(frozen=True)
class _Condition:
    text: str
    expression: Expression
    part: bool
    measure: Expression | None
    said: str | None  # the measure in words


def _conditions(caption: str, library: SkillLibrary, as_template: bool) -> list[_Condition]:
    """The parts of a skill's success, then what their predicates need on the way."""
    vocabulary, names = library.vocabulary, ObjectNames(library.vocabulary.objects)
    letters = {o: LETTERS[i % len(LETTERS)] for i, o in enumerate(library.mentioned(caption))} if as_template else {}
    success = library.parse(library[caption])[1]
    atoms = dict.fromkeys(need for atom in success.atoms() for need in _in_order(vocabulary, atom))
    needed = [parse(atom_text(a), vocabulary) for a in atoms if a not in success.atoms()]
    found = []
    for expression, part in [*((e, True) for e in success.parts()), *((e, False) for e in needed)]:
        measure, said = expression.margin, "margin"
        if measure is None:
            measure, said = _progress(expression), "progress"
        text = names.substitute(str(expression), letters)
        found.append(_Condition(text, expression, part, measure, said if measure is not None else None))
    return found


def _in_order(vocabulary: Vocabulary, atom: Atom) -> list[Atom]:
    """What a predicate needs on the way, the earliest first: what needs less comes earlier."""
    return sorted(closure(vocabulary, atom), key=lambda a: (len(closure(vocabulary, a)), a))


def _progress(expression: Expression) -> Expression | None:
    """How far a predicate has come, in [0, 1], where its vocabulary says."""
    atoms = expression.atoms() if expression.is_conjunction else ()
    stages = progress_of(expression.vocabulary, atoms[0]) if len(atoms) == 1 else []
    text = f"staged({', '.join(stages)})" if len(stages) > 1 else "".join(stages)
    try:
        return parse(text, expression.vocabulary) if text else None
    except LudusError:  # more stages than an expression may have
        return None


def _count(conditions: Iterable[_Condition], seen: Observations, tallies: dict[str, _Tally]) -> None:
    """Add one failed attempt, with the observations `[T + 1, size]` from its first to its last."""
    last = {g: v[-1:] for g, v in seen.items()}
    for c in conditions:
        holds = c.expression.evaluate(seen)
        tally = tallies.setdefault(c.text, _Tally(c.part, c.said))
        tally.held.append(bool(holds.any()))
        tally.at_end.append(bool(holds[-1]))
        if c.measure is not None and not holds[-1]:
            tally.values.append(float(c.measure.evaluate(last)[0]))


def _missed(tallies: Mapping[str, _Tally]) -> Iterator[Missed]:
    for text, t in sorted(tallies.items(), key=lambda item: not item[1].part):
        median = float(np.median(t.values)) if t.values else None
        yield Missed(text, t.part, 1 - float(np.mean(t.held)), 1 - float(np.mean(t.at_end)), t.measure, median)
