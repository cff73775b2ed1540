"""The predicates for tasks with a gripper and blocks: measures, conditions and shaped terms on logged observations.

`block_vocabulary` fits any world with one effector group (`position`, `width`, `command`) and object groups (`position`,
`velocity`, `size`, `touch_left`, `touch_right`) over a table at height 0, see `ludus.types.ObservationSpec`. Predicates
know no simulator.

Arrays are `[...]` for observations `[..., size]`. Conditions use only + - * / sqrt and comparisons, which IEEE 754
rounds exactly, so that a batch and its rows one by one give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from ludus.skills.predicates.conditions import CONDITIONS
from ludus.skills.predicates.measures import MEASURES
from ludus.skills.predicates.shaped import SHAPED, shape
from ludus.skills.vocabulary import Atom, Predicate, Vocabulary, predicate
from ludus.types import ObservationSpec

__all__ = ["Atom", "Predicate", "Vocabulary", "block_predicates", "block_vocabulary", "predicate", "shape"]


def block_predicates() -> tuple[Predicate, ...]:
    """The predicates for worlds with one gripper and movable blocks on a table at height 0."""
    return MEASURES + CONDITIONS + SHAPED


def block_vocabulary(spec: ObservationSpec, objects: Sequence[str] | None = None) -> Vocabulary:
    """`block_predicates` over the objects of `spec`."""
    names = tuple(objects) if objects is not None else tuple(g.name for g in spec.of_kind("object"))
    return Vocabulary(spec, names, block_predicates())
