"""What a word of the task language is, and the words of one world together.

A `Predicate` is a pure, vectorised function of *logged* observations; a `Vocabulary` holds a world's objects and predicates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ludus.types import LudusError, Observations, ObservationSpec, unknown

Atom = tuple[str, tuple[str, ...]]
"""A predicate applied to objects: `('on', ('red', 'green'))`."""


@dataclass(frozen=True)
class Predicate:
    """One word. `function(spec, observations, *objects)` gives `[...]` bool, or float32 for result 'real'."""

    name: str
    parameters: tuple[Literal["object"], ...]
    result: Literal["bool", "real"]
    function: Callable[..., np.ndarray]
    meaning: str
    preconditions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """What must hold some time before it on the way, as (predicate, positions of this predicate's arguments):
    on(X, Y) needs `('above', (0, 1))`. `Vocabulary.needs` fills in the objects."""

    def __call__(self, spec: ObservationSpec, observations: Observations, *objects: str) -> np.ndarray:
        return self.function(spec, observations, *objects)

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join('XYZW'[: len(self.parameters)])})"


def word(
    result: Literal["bool", "real"], *preconditions: tuple[str, tuple[int, ...]]
) -> Callable[[Callable[..., np.ndarray]], Predicate]:
    """Turn `def name(spec, observations, x, y)` into a `Predicate`; its docstring is the meaning."""

    def make(function: Callable[..., np.ndarray]) -> Predicate:
        n_objects = len(inspect.signature(function).parameters) - 2
        meaning = " ".join((function.__doc__ or "").split())
        return Predicate(
            function.__name__.rstrip("_"), ("object",) * n_objects, result, function, meaning, preconditions
        )

    return make


@dataclass(frozen=True)
class Vocabulary:
    """The words of one world: its objects and its predicates, over its observations."""

    spec: ObservationSpec
    objects: tuple[str, ...]
    words: Sequence[Predicate]

    def __post_init__(self) -> None:
        for name in self.objects:
            if name not in self.spec.by_name:
                raise unknown("observation group for the object", name, tuple(self.spec.by_name))
        if len(self.predicates) != len(self.words):
            raise LudusError(f"two predicates share a name among {[w.name for w in self.words]}; rename one")

    @cached_property
    def predicates(self) -> dict[str, Predicate]:
        return {w.name: w for w in self.words}

    def preconditions(self, atom: Atom) -> tuple[Atom, ...]:
        """What must hold on the way to `atom`: needs(('on', ('a', 'b'))) = (('above', ('a', 'b')), ...)."""
        name, objects = atom
        return tuple((n, tuple(objects[i] for i in at)) for n, at in self.predicates[name].preconditions)

    def holds(self, atom: Atom, observations: Observations) -> np.ndarray:
        """`[...]` value of one atom."""
        name, objects = atom
        return self.predicates[name](self.spec, observations, *objects)

    def describe(self) -> str:
        """One line per word, for a person or a model that writes expressions."""
        lines = [f"objects: {', '.join(self.objects)}"]
        return "\n".join(lines + [f"{w.signature} -> {w.result}: {w.meaning}" for w in self.words])
