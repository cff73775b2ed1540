"""What a predicate of the task language is, and the predicates of one world together.

A `Predicate` is a pure, vectorised function of *logged* observations; a `Vocabulary` holds a world's objects and predicates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module
from operator import attrgetter
from typing import Any, Literal

import numpy as np

from ludus.types import LudusError, Observations, ObservationSpec, unknown

Atom = tuple[str, tuple[str, ...]]
"""A predicate applied to objects: `('on', ('red', 'green'))`. Any other condition is named by its text, with {0}, {1}, ... for
its objects: `('distance({0}, {1}) <= 0.05', ('red', 'green'))`."""


def is_predicate(atom: Atom) -> bool:
    """Whether it is a predicate of the vocabulary, and no condition named by its text."""
    return atom[0].isidentifier()


@dataclass(frozen=True)
class Shaping:
    """What the writer of a skill may know of a predicate. Texts are expressions over the predicate's arguments X, Y, Z."""

    progress: tuple[str, ...] = ()
    """Stages on the way to it, each in [0, 1] and rising towards it: `('lift(X)',)`. Empty: it is
    only known whether it holds."""
    from_anywhere: bool = False
    """Whether the first stage rises from any state. If not, it is 0 until what the predicate needs was brought about. Of a
    measure: whether it changes without moving an object."""
    completed_by: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """What also holds once it is done thoroughly, as (predicate, positions of arguments): on(X, Y) is complete when X is
    released."""
    ends: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """What cannot hold together with it: released(X) ends held(X)."""
    scale: float = 0.0
    """Of a measure, in its unit: a difference that is large. 0: not known."""
    phrase: str = ""
    """How a robot is told to bring it about: 'put X on Y'."""
    undo: str = ""
    """How it is told to end it: 'take X off Y'."""


@dataclass(frozen=True)
class Predicate:
    """One predicate. `function(spec, observations, *objects)` gives `[...]` bool, or float32 for result 'real'.

    One that stands at the top level of a module pickles, as its name there.
    """

    name: str
    parameters: tuple[Literal["object"], ...]
    result: Literal["bool", "real"]
    function: Callable[..., np.ndarray]
    meaning: str
    preconditions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """What must hold some time before it on the way, as (predicate, positions of this predicate's arguments):
    on(X, Y) needs `('above', (0, 1))`. `Vocabulary.preconditions` fills in the objects."""
    shaping: Shaping = Shaping()

    def __call__(self, spec: ObservationSpec, observations: Observations, *objects: str) -> np.ndarray:
        return self.function(spec, observations, *objects)

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join('XYZW'[: len(self.parameters)])})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The decorator puts the predicate where pickle looks for the function, so pickle alone would refuse it.
        try:
            place = self.function.__module__, self.function.__qualname__
            if _at(*place) is self:
                return _at, place
        except (ImportError, AttributeError):  # made within a function, or the function is no `def`
            pass
        return Predicate, tuple(getattr(self, f.name) for f in fields(self))


def _at(module: str, name: str) -> Any:
    return attrgetter(name)(import_module(module))


def predicate(
    result: Literal["bool", "real"], *preconditions: tuple[str, tuple[int, ...]], shaping: Shaping | None = None
) -> Callable[[Callable[..., np.ndarray]], Predicate]:
    """Turn `def name(spec, observations, x, y)` into a `Predicate`; its docstring is the meaning."""

    def make(function: Callable[..., np.ndarray]) -> Predicate:
        n_objects = len(inspect.signature(function).parameters) - 2
        meaning = " ".join((function.__doc__ or "").split())
        name, known = function.__name__.rstrip("_"), shaping or Shaping()
        return Predicate(name, ("object",) * n_objects, result, function, meaning, preconditions, known)

    return make


@dataclass(frozen=True)
class Vocabulary:
    """The objects and predicates of one world, over its observations.

    Raises:
        LudusError: an object without an observation group, or two predicates of one name.
    """

    spec: ObservationSpec
    objects: tuple[str, ...]
    predicates: tuple[Predicate, ...]

    def __post_init__(self) -> None:
        for name in self.objects:
            if name not in self.spec.by_name:
                raise unknown("observation group for the object", name, tuple(self.spec.by_name))
        if len(self.by_name) != len(self.predicates):
            raise LudusError(f"two predicates share a name among {[p.name for p in self.predicates]}; rename one")

    @cached_property
    def by_name(self) -> Mapping[str, Predicate]:
        return {p.name: p for p in self.predicates}

    @cached_property
    def movable(self) -> frozenset[str]:
        """The objects that can be moved, see `ludus.types.Group.movable`."""
        return frozenset(o for o in self.objects if self.spec.by_name[o].movable)

    def preconditions(self, atom: Atom) -> tuple[Atom, ...]:
        """What must hold on the way to `atom`: of ('on', ('a', 'b')) it is (('above', ('a', 'b')), ...). Of what is no
        predicate nothing is known."""
        name, objects = atom
        if not is_predicate(atom):
            return ()
        return tuple((n, tuple(objects[i] for i in at)) for n, at in self.by_name[name].preconditions)

    def holds(self, atom: Atom, observations: Observations) -> np.ndarray:
        """`[...]` value of one atom."""
        name, objects = atom
        return self.by_name[name](self.spec, observations, *objects)
