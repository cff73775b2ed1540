"""The boundary to a world of one's own: what its code raises becomes one sentence with file and line, and so does what it returns
other than its `WorldSpec` declares. The worlds that come with ludus do not pass through here.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ludus.skills.expression import atom_text
from ludus.skills.library import SkillLibrary
from ludus.skills.vocabulary import Predicate, Vocabulary
from ludus.types import LudusError, Observations, ObservationSpec, WorldSpec
from ludus.worlds import files
from ludus.worlds.base import World

NUMBERS = {"bool": "b", "real": "fiu"}
"""Kinds of dtypes that a predicate's result may have."""


@dataclass(frozen=True)
class Boundary:
    """Calls the code of a world."""

    file: str
    """The world's file, or the one in which its package makes it."""

    def call(self, what: str, function: Callable[..., Any], *args: Any, fix: str = "mend it there") -> Any:
        """`function(*args)`.

        Raises:
            LudusError: whatever it raises, as a sentence.
        """
        try:
            return function(*args)
        except (LudusError, MemoryError):
            raise
        except Exception as error:
            raise self._explained(what, error, fix) from error

    def each(self, what: str, made: Callable[..., Iterator[Any]], *args: Any) -> Iterator[Any]:
        """As `call`, of a generator."""
        items, end = iter(self.call(what, made, *args)), object()
        while (item := self.call(what, next, items, end)) is not end:
            yield item

    def wrap(self, what: str, function: Callable[..., Any] | None) -> Any:
        """The function behind this boundary; None stays None."""
        return None if function is None else lambda *args: self.call(what, function, *args)

    def _explained(self, what: str, error: Exception, fix: str) -> LudusError:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename == self.file]
        own = own or [f for f in frames if f.filename.startswith(os.path.dirname(self.file) + os.sep)]
        where = f"{own[-1].filename} line {own[-1].lineno}" if own else self.file
        return LudusError(
            f"the world's code fails in `{what}`: {where}, {files.reason(error)}; {files.fix(error, fix)}"
        )


class GuardedWorld(World):
    """A world of one's own behind the boundary. What else it has is found as its own attributes are."""

    def __init__(self, world: World, boundary: Boundary) -> None:
        self._world, self._boundary = world, boundary
        self.spec, self.n_envs = world.spec, world.n_envs
        if self.spec.encoder is not None:
            self.spec = replace(self.spec, encoder=GuardedEncoders(self.spec.encoder, boundary))
        self.vocabulary = _guarded_words(world.vocabulary, boundary)

    def __getattr__(self, name: str) -> Any:
        if name == "_world":  # there is none yet
            raise AttributeError(name)
        return getattr(self._world, name)

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] | None = None) -> Observations:
        given = (seeds,) if start is None else (seeds, start)
        return self._checked("reset", self._boundary.call("reset", self._world.reset, *given))

    def step(self, actions: np.ndarray) -> Observations:
        return self._checked("step", self._boundary.call("step", self._world.step, actions))

    def observe(self) -> Observations:
        return self._checked("observe", self._boundary.call("observe", self._world.observe))

    def ended(self) -> np.ndarray:
        found = self._boundary.call("ended", self._world.ended)
        return _checked_array(f"world {self.spec.name!r}: what `ended` returns", found, (self.n_envs,), "bool")

    def rest(self, resting: np.ndarray) -> None:
        self._boundary.call("rest", self._world.rest, resting)

    def start_of(self, caption: str) -> str:
        found = self._boundary.call("start_of", self._world.start_of, caption)
        if found not in self.spec.starts:
            raise LudusError(
                f"world {self.spec.name!r}: `start_of({caption!r})` returns {found!r}; return one of its starts, "
                f"{self.spec.starts}"
            )
        return found

    def snapshot(self) -> np.ndarray:
        found = self._boundary.call("snapshot", self._world.snapshot)
        size = found.size // self.n_envs if isinstance(found, np.ndarray) else 0
        return _checked_array(
            f"world {self.spec.name!r}: what `snapshot` returns", found, (self.n_envs, size), "float64"
        )

    def restore(self, snapshot: np.ndarray) -> Observations:
        return self._checked("restore", self._boundary.call("restore", self._world.restore, snapshot))

    def library(self) -> SkillLibrary:
        found = self._boundary.call("library", self._world.library)
        if not isinstance(found, SkillLibrary):
            raise LudusError(
                f"world {self.spec.name!r}: `library` returns a {type(found).__name__}; return SkillLibrary(vocabulary, skills)"
            )
        return SkillLibrary(_guarded_words(found.vocabulary, self._boundary), found)

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        return self._boundary.call("frames", self._world.frames, observations, camera, size)

    def close(self) -> None:
        self._boundary.call("close", self._world.close)

    def _checked(self, what: str, seen: Any) -> Observations:
        return checked_observations(seen, self.spec, self.n_envs, what)


class GuardedTeacher:
    """A teacher of one's own behind the boundary."""

    def __init__(self, teacher: Any, spec: WorldSpec, boundary: Boundary) -> None:
        self._teacher, self._spec, self._boundary = teacher, spec, boundary
        if hasattr(teacher, "obeys"):
            self.obeys = boundary.wrap("obeys", teacher.obeys)

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray) -> None:
        self._boundary.call("begin", self._teacher.begin, seeds, noise, random_mask)

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        fix = "mend it, or let the teacher say by obeys(caption) what it obeys"
        actions = self._boundary.call(
            "act", lambda: np.asarray(self._teacher.act(observations, captions), np.float32), fix=fix
        )
        wanted, found = (len(captions), len(self._spec.actions)), np.shape(actions)
        if found != wanted:
            raise LudusError(
                f"the teacher of world {self._spec.name!r} returns actions {found}, not {wanted}; reshape them"
            )
        if not np.isfinite(actions).all():
            caption = captions[int(np.argwhere(~np.isfinite(actions))[0][0])]
            raise LudusError(
                f"the teacher of world {self._spec.name!r} returns an action that is no number under {caption!r}; mend it"
            )
        return actions


@dataclass(frozen=True)
class GuardedPredicate:
    """The function of a predicate of one's own, behind the boundary. Pickles where the predicate does."""

    predicate: Predicate
    boundary: Boundary

    def __call__(self, spec: ObservationSpec, observations: Observations, *objects: str) -> np.ndarray:
        text, result = atom_text((self.predicate.name, objects)), self.predicate.result
        found = self.boundary.call(text, lambda: np.asarray(self.predicate(spec, observations, *objects)))
        lead = spec.lead(observations)
        if found.shape != lead or found.dtype.kind not in NUMBERS[result]:
            wanted = "bool" if result == "bool" else "float32"
            raise LudusError(
                f"predicate {text} is {found.dtype} of shape {found.shape}, it must be {wanted} of shape {lead}, one value per "
                f"observation; mend it in {self.boundary.file}"
            )
        if np.isnan(found).any():
            raise LudusError(
                f"predicate {text} is no number at {np.isnan(found).sum()} of {found.size} observations; mend it in "
                f"{self.boundary.file}, e.g. a division by 0"
            )
        return found


def _guarded_words(words: Vocabulary, boundary: Boundary) -> Vocabulary:
    return replace(
        words, predicates=tuple(replace(p, function=GuardedPredicate(p, boundary)) for p in words.predicates)
    )


@dataclass(frozen=True)
class GuardedEncoders:
    """The function `WorldSpec.encoder` of a world of one's own, and what it makes, behind the boundary. Pickles where it does."""

    make: Callable[[WorldSpec], Any]
    boundary: Boundary

    def __call__(self, spec: WorldSpec) -> GuardedEncoder:
        return GuardedEncoder(self.boundary.call("encoder", self.make, spec), spec, self.boundary)


class GuardedEncoder:
    """An `ludus.agents.encoders.ObservationEncoder` of one's own behind the boundary."""

    def __init__(self, encoder: Any, spec: WorldSpec, boundary: Boundary) -> None:
        self._encoder, self._spec, self._boundary = encoder, spec, boundary
        self.task_size, self.object_size = boundary.call(
            "encoder", lambda: (int(encoder.task_size), int(encoder.object_size))
        )
        self.image_shapes: tuple[tuple[int, int, int], ...] = getattr(encoder, "image_shapes", ())

    def pack(self, observations: Observations) -> Any:
        packed = self._boundary.call("pack", self._encoder.pack, observations)
        return self._checked("packed observations", packed, (*self._spec.observation.lead(observations), None))

    def __call__(self, packed: Any, object_slots: Any) -> tuple[Any, ...]:
        n = len(packed)
        parts = {"task rows": (n, self.task_size), "object rows": (n, None, self.object_size)}
        parts |= {f"images {i}": (n, *shape) for i, shape in enumerate(self.image_shapes)}
        found = self._boundary.call("encoder", lambda: (*self._encoder(packed, object_slots),))
        if len(found) != len(parts):
            raise LudusError(
                f"the encoder of world {self._spec.name!r} gives {len(found)} arrays, not {len(parts)}: {', '.join(parts)}; mend "
                f"it in {self._boundary.file}"
            )
        return tuple(
            self._checked(part, array, shape) for (part, shape), array in zip(parts.items(), found, strict=True)
        )

    def _checked(self, part: str, found: Any, shape: tuple[int | None, ...]) -> Any:
        """A tensor, known by what it has: nothing here imports torch."""
        whose = f"the encoder of world {self._spec.name!r} gives"
        seen = tuple(getattr(found, "shape", ()))
        wrong = len(seen) != len(shape) or any(n not in (None, m) for n, m in zip(shape, seen, strict=True))
        if wrong or not hasattr(found, "isfinite"):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise LudusError(
                f"{whose} {part} that are a {type(found).__name__} of shape {seen}, not a tensor of shape ({wanted}); mend it in "
                f"{self._boundary.file}"
            )
        if not found.isfinite().all():
            raise LudusError(f"{whose} {part} with a value that is no number; mend it in {self._boundary.file}")
        return found


# --- what is returned ------------------------------------------------------------------------------------------------


def checked_observations(seen: Any, spec: WorldSpec, n_envs: int, what: str) -> Observations:
    """As `declared`, and finite.

    Raises:
        LudusError: as `declared`; a number that is not finite.
    """
    for name, array in declared(seen, spec, n_envs, what).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            simulation, *at = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
            slices = spec.observation.by_name[name].slices
            field = next(n for n, s in slices.items() if at[-1] in range(*s.indices(array.shape[-1])))
            raise LudusError(
                f"world {spec.name!r}: in `{what}`, field {field!r} of group {name!r} is {array[(simulation, *at)]} in "
                f"simulation {simulation}; show finite numbers, also where one blew up"
            )
    return seen


def declared(seen: Any, spec: WorldSpec, n_envs: int, what: str) -> Observations:
    """Observations of `n_envs` simulations, if they are of the groups, shapes and dtypes that the spec declares.

    Args:
        what: the method that returned them.

    Raises:
        LudusError: they are not.
    """
    groups, whose = spec.observation.by_name, f"world {spec.name!r}: "
    if not isinstance(seen, dict):
        raise LudusError(
            f"{whose}`{what}` returns a {type(seen).__name__}; return a dict, group name -> [E, size] array"
        )
    if seen.keys() != groups.keys():
        if missing := [g for g in groups if g not in seen]:
            raise LudusError(f"{whose}`{what}` returns no group {missing[0]!r}; add it, or do not declare it")
        more = next(g for g in seen if g not in groups)
        raise LudusError(f"{whose}`{what}` returns a group {more!r} that is not declared; declare it, or leave it out")
    for name, group in groups.items():
        _checked_array(f"{whose}in `{what}`, group {name!r}", seen[name], (n_envs, *group.shape), group.dtype)
    return seen


def _checked_array(part: str, found: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if isinstance(found, np.ndarray) and found.shape == shape and found.dtype == dtype:
        return found
    if not isinstance(found, np.ndarray):
        raise LudusError(f"{part} is a {type(found).__name__}; return a {dtype} array of shape {shape}")
    fix = f"return it .astype(np.{dtype})" if found.shape == shape else f"the first axis is E = {shape[0]} simulations"
    raise LudusError(f"{part} is {found.dtype} of shape {found.shape}, it must be {dtype} of shape {shape}; {fix}")
