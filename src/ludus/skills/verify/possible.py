"""Whether a success can hold at all: in stored observations, or in one that is composed of them.

A composed observation shows a stored scene in which some objects (and perhaps the gripper) were put where they stood,
relative to another object, in another stored scene. It satisfies conditions that were met one at a time ('red on green',
'green on blue') together, if they fit together. Objects are never nearer to each other than in any stored scene; whether
they would stay there is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice, permutations

import numpy as np

from ludus.skills.expression import Expression
from ludus.skills.syntax import Node
from ludus.skills.verify.evidence import MIN_WAYS, Scores
from ludus.skills.verify.verdict import Check
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import Observations

SOURCES = 16
"""Observations of each condition that are combined with those of another."""
MAX_CONDITIONS = 12
"""Joined by 'and', that are composed; a skill with more should be split."""
RENAMINGS = 60
"""Most exchanges of objects that are tried for a condition that was never seen: all of 3 objects of 5."""
USUAL = 0.5
"""A condition that holds at this share of all observations, or more, is usual."""
BY_CHANCE = 1e-4
"""Two conditions exclude each other if one is usual and never held in any of the times that the other did, unless that happens
by chance with at least this probability."""
LASTING = 10
"""Observations that such a time has at least. What holds for a moment only, because a thing flies by, says nothing of what holds
where it comes to rest: a block on two others was still in 419 of the 422 times that this lasted so long, and in 375 of the
2,146 that did not (docs/log.md, "Growth with four blocks")."""
FASTER = 0.5
"""A skill may be given this share of the steps that the fastest stored episode took: a robot may be faster, but not much."""
MAX_DEPTH = 4
"""Of preconditions of preconditions."""


def conjuncts(condition: Expression) -> tuple[Expression, ...]:
    """The conditions that are joined by 'and'."""
    node = condition.node
    parts = node.args if node.op == "and" else (node,)
    return tuple(Expression(n, "bool", condition.vocabulary) for n in dict.fromkeys(parts))


def possible(scores: Scores) -> tuple[Check, Observations | None]:
    """The check, and up to `SOURCES` composed observations at which the success holds, if it holds at none of the evidence."""
    success, n = scores.written.success, scores.evidence.n_stored
    if problem := _too_short(scores):
        return Check("possible", False, problem), None
    seen = int(np.count_nonzero(scores.success))
    if seen:
        return Check("possible", True, f"success holds at {seen} of {len(scores.success)} observations"), None
    return feasible("possible", success, scores.evidence.together, n)


def feasible(name: str, condition: Expression, seen: Observations, n: int) -> tuple[Check, Observations | None]:
    """Whether a condition that holds nowhere in `seen` may hold elsewhere; and composed observations where it does.

    Args:
        name: of the check.
        seen: group -> `[N, size]`, of which the first `n` are stored observations.
    """
    vocabulary, parts = condition.vocabulary, conjuncts(condition)
    if len(parts) > MAX_CONDITIONS:
        problem = f"{len(parts)} conditions that never held together; at most {MAX_CONDITIONS}: split the skill"
        return Check(name, False, problem), None
    sources, trusted = {}, []
    for part in parts:
        found = _where(part, seen)
        if found is not None:
            sources[part] = found
        elif _trusted(part.node, vocabulary, seen, MAX_DEPTH):
            trusted.append(str(part))
        else:
            return Check(name, False, f"{part} held at none of {n} stored observations{_range(part, seen)}"), None
    if excluded := _excluded(parts, seen, n):
        return Check(name, False, excluded), None
    composed = _compose(sources, vocabulary, _nearest(seen, vocabulary)) if sources else None
    if sources and composed is None:
        each = f"{' and '.join(map(str, sources))}: each part occurs, but no combination of {n} stored observations"
        return Check(name, False, f"{each} meets all of them at once; leave out what contradicts the others"), None
    if trusted:
        return Check(
            name, True, f"never seen: {', '.join(trusted)}; but what leads to it was, and nothing contradicts"
        ), None
    return Check(
        name, True, f"never seen, but all {len(parts)} conditions occur, and fit together when composed"
    ), composed


def _too_short(scores: Scores) -> str:
    """Too few steps, compared with the stored episodes that came to success from their beginnings."""
    onsets = scores.reached
    if scores.written.prerequisites is not None or len(onsets) < MIN_WAYS:
        return ""
    fastest = int(min(onsets - np.array([scores.episode(t) for t in onsets])))
    if scores.written.steps >= FASTER * fastest:
        return ""
    given = f"{scores.written.steps} steps are given, the fastest of {len(onsets)} stored episodes took {fastest} to succeed"
    return f"{given}; give more, usually twice as many"


# --- where a condition held ---------------------------------------------------------------------------------------


def _where(part: Expression, seen: Observations) -> Observations | None:
    """Up to `SOURCES` observations at which a condition held; if there are none, with objects exchanged."""
    for view in (seen, *islice(_exchanged(part, seen), RENAMINGS)):
        rows = np.flatnonzero(part.evaluate(view))
        if len(rows):
            return _take(view, _spread(rows))
    return None


def _exchanged(part: Expression, seen: Observations) -> Iterator[Observations]:
    """`seen` with objects of one kind in each other's place: what happened to green and blue as if to red and green."""
    vocabulary, own = part.vocabulary, part.objects
    fields = {o: vocabulary.spec.by_name[o].fields for o in vocabulary.objects}
    for others in permutations(vocabulary.objects, len(own)) if own else ():
        swap = dict(zip(own, others, strict=True))
        if others == own or any(fields[a] != fields[b] for a, b in swap.items()):
            continue
        # The objects that were pushed out take the places that became free.
        swap |= dict(zip([o for o in others if o not in own], [o for o in own if o not in others], strict=True))
        yield seen | {a: seen[b] for a, b in swap.items()}


def _trusted(n: Node, vocabulary: Vocabulary, seen: Observations, depth: int) -> bool:
    """Whether a condition that never held is one of the vocabulary's own whose preconditions held, or are trusted."""
    predicate = vocabulary.by_name.get(n.name) if n.op == "call" else None
    if predicate is None or predicate.result != "bool" or not predicate.preconditions or depth == 0:
        return False
    atom: Atom = n.name, tuple(a.name for a in n.args)
    needs = [Expression(_node(a), "bool", vocabulary) for a in vocabulary.preconditions(atom)]
    return all(_where(e, seen) is not None or _trusted(e.node, vocabulary, seen, depth - 1) for e in needs)


def _node(atom: Atom) -> Node:
    return Node("call", tuple(Node("object", name=o) for o in atom[1]), atom[0])


def _range(part: Expression, seen: Observations) -> str:
    """What the numbers that a condition compares came to, for the author."""
    measures = [n for n in part.node.walk() if n.op == "call" and n.name in part.vocabulary.by_name]
    real = [n for n in measures if part.vocabulary.by_name[n.name].result == "real"][:3]
    values = {n.text: Expression(n, "real", part.vocabulary).evaluate(seen) for n in real}
    ranges = [f"{text} is {v.min():.3g} to {v.max():.3g}" for text, v in values.items()]
    return f" ({', '.join(ranges)})" if ranges else ""


def _excluded(parts: Sequence[Expression], seen: Observations, n: int) -> str:
    """Two conditions that the stored observations show to exclude each other, such as being high up and not being held. What
    needs only what completes a relation (away: released) can follow it, though nobody who built it ever went on."""
    held = {p: p.evaluate(seen)[:n] for p in parts}
    for (a, first), (b, second) in permutations(held.items(), 2):
        times = _lasting(first)
        usual = float(second.mean()) if n else 0.0
        never = usual >= USUAL and (1 - usual) ** times < BY_CHANCE and not (first & second).any()
        if never and not _follows(b, a):
            often = f"{b} holds at {usual:.0%} of {n} stored observations"
            return f"{often}, but never in the {times} times that {a} held for a while; drop one"
    return ""


def _lasting(held: np.ndarray) -> int:
    """How often a condition `[N]` held for `LASTING` observations or more."""
    changes = np.flatnonzero(np.diff(held, prepend=False, append=False))
    return int(np.count_nonzero(changes[1::2] - changes[::2] >= LASTING))


def _follows(later: Expression, relation: Expression) -> bool:
    """Whether a condition declares to need something, and nothing but what completes a relation."""
    needs = {need for atom in later.atoms() for need in later.vocabulary.preconditions(atom)}
    by_name, built = relation.vocabulary.by_name, relation.atoms()
    completed = {(n, tuple(o[i] for i in at)) for name, o in built for n, at in by_name[name].shaping.completed_by}
    return bool(needs) and needs <= completed


# --- composing ----------------------------------------------------------------------------------------------------


def _compose(sources: dict[Expression, Observations], words: Vocabulary, nearest: float) -> Observations | None:
    """Observations at which all parts hold, or None if none is found: beginning with each part in turn, the others are
    brought about one by one, those about most objects first.

    Args:
        sources: observations at which each part holds.
        nearest: no two objects may be nearer to each other than this, m.
    """
    parts = tuple(sources)
    for first in parts:
        rest = sorted((p for p in parts if p != first), key=lambda p: -len(p.objects))
        scene, met = sources[first], [first]
        for part in rest:
            scene = _add(part, met, scene, sources[part], words, nearest)
            if scene is None:
                break
            met.append(part)
        if scene is not None:
            return scene
    return None


def _add(
    part: Expression,
    met: Sequence[Expression],
    scene: Observations,
    source: Observations,
    words: Vocabulary,
    nearest: float,
) -> Observations | None:
    """The scenes in which `part` holds too, by moving what it is about; None if that undoes what is `met` already."""
    holds = np.flatnonzero(part.evaluate(scene))
    if len(holds):
        return _take(scene, holds)
    i, j = (a.ravel() for a in np.meshgrid(*map(np.arange, (_length(scene), _length(source))), indexing="ij"))
    scene, source = _take(scene, i), _take(source, j)
    for moved, kept in _moves(part.objects, words):
        candidate = scene | _moved(moved, kept, scene, source, words)
        good = part.evaluate(candidate) & (_distances(candidate, words) >= nearest)
        for other in met:
            good = good & other.evaluate(candidate)
        if good.any():
            return _take(candidate, _spread(np.flatnonzero(good)))
    return None


def _moves(objects: tuple[str, ...], words: Vocabulary) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """`(groups that are moved, groups whose mean position is kept)`, the smallest changes first; where none is kept, the moved
    ones stand where they stood on the table."""
    effectors = tuple(g.name for g in words.spec.of_kind("effector"))
    for hand in ((), effectors):
        for n in range(1, len(objects)):
            for moved in combinations(objects, n):
                yield (*moved, *hand), tuple(o for o in objects if o not in moved)
        for kept in ((), *((o,) for o in objects), effectors):
            yield (*objects, *hand), kept


def _moved(
    groups: Sequence[str], kept: Sequence[str], scene: Observations, source: Observations, words: Vocabulary
) -> Observations:
    """`groups` as they are in `source`, shifted by how far what is kept is from there in `scene`."""
    shifts = [scene[k][:, at] - source[k][:, at] for k in kept if (at := _position(k, words)) is not None]
    new = {}
    for group in groups:
        new[group] = source[group].copy()
        at = _position(group, words)
        if shifts and at is not None:
            new[group][:, at] += np.mean(shifts, 0)
    return new


def _distances(seen: Observations, words: Vocabulary) -> np.ndarray:
    """`[N]` m, between those two objects that are nearest to each other; infinite where there are no two."""
    at = [seen[o][:, where] for o in words.objects if (where := _position(o, words)) is not None]
    pairs = [np.linalg.norm(a - b, axis=-1) for a, b in combinations(at, 2)]
    return np.min(pairs, 0) if pairs else np.full(_length(seen), np.inf)


def _nearest(seen: Observations, words: Vocabulary) -> float:
    """How near two objects ever came, m: what is composed nearer would overlap."""
    return float(_distances(seen, words).min())


def _position(group: str, words: Vocabulary) -> slice | None:
    """Where a group's position in space stands, if it has one."""
    fields = {f.name: f for f in words.spec.by_name[group].fields}
    spatial = "position" in fields and fields["position"].shape == (3,)
    return words.spec.by_name[group].slices["position"] if spatial else None


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most `SOURCES` of the rows, evenly from first to last."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, SOURCES).astype(int))]


def _take(observations: Observations, rows: np.ndarray) -> Observations:
    return {g: a[rows] for g, a in observations.items()}


def _length(observations: Observations) -> int:
    return len(next(iter(observations.values())))
