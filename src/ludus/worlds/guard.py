"""The boundary to a world of one's own: what its code raises becomes one sentence with file and line, and so does what it returns
other than its `WorldSpec` declares. The worlds that come with ludus do not pass through here.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.skills.library import SkillLibrary
from ludus.types import Group, LudusError, Observations, WorldSpec
from ludus.worlds.base import World
from ludus.worlds.files import reason


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
        return LudusError(f"the world's code fails in `{what}`: {where}, {reason(error)}; {fix}")


class GuardedWorld(World):
    """A world of one's own behind the boundary. What else it has is found as its own attributes are."""

    def __init__(self, world: World, boundary: Boundary) -> None:
        self._world, self._boundary = world, boundary
        self.spec, self.n_envs, self.vocabulary = world.spec, world.n_envs, world.vocabulary
        self._groups = {g.name: (g, (self.n_envs, *g.shape), np.dtype(g.dtype)) for g in self.spec.observation.groups}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
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
        return self._array("ended", self._boundary.call("ended", self._world.ended), (self.n_envs,), "bool")

    def snapshot(self) -> np.ndarray:
        found = self._boundary.call("snapshot", self._world.snapshot)
        size = found.size // self.n_envs if isinstance(found, np.ndarray) else 0
        return self._array("snapshot", found, (self.n_envs, size), "float64")

    def restore(self, snapshot: np.ndarray) -> Observations:
        return self._checked("restore", self._boundary.call("restore", self._world.restore, snapshot))

    def library(self) -> SkillLibrary:
        return self._boundary.call("library", self._world.library)

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        return self._boundary.call("frames", self._world.frames, observations, camera, size)

    def close(self) -> None:
        self._boundary.call("close", self._world.close)

    # --- what it shows -----------------------------------------------------------------------------------------

    def _checked(self, what: str, seen: Any) -> Observations:
        if not isinstance(seen, dict) or seen.keys() != self._groups.keys():
            raise self._other_groups(what, seen)
        for group, shape, dtype in self._groups.values():
            array = seen[group.name]
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
                raise self._other(what, f"group {group.name!r}", array, shape, dtype)
            if dtype.kind == "f" and not np.isfinite(array).all():
                raise self._not_finite(what, group, array)
        return seen

    def _array(self, what: str, found: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != dtype:
            raise self._other(what, "what it returns", found, shape, np.dtype(dtype))
        return found

    def _other_groups(self, what: str, seen: Any) -> LudusError:
        wrong = f"world {self.spec.name!r}: `{what}` returns"
        if not isinstance(seen, dict):
            return LudusError(f"{wrong} a {type(seen).__name__}; return a dict, group name -> [E, size] array")
        if missing := [g for g in self._groups if g not in seen]:
            return LudusError(f"{wrong} no group {missing[0]!r}; add it, or leave it out of the ObservationSpec")
        more = next(g for g in seen if g not in self._groups)
        return LudusError(f"{wrong} a group {more!r} that its ObservationSpec lacks; declare it, or leave it out")

    def _other(self, what: str, part: str, found: Any, shape: tuple[int, ...], dtype: np.dtype) -> LudusError:
        wrong = f"world {self.spec.name!r}: in `{what}`, {part} is"
        if not isinstance(found, np.ndarray):
            return LudusError(f"{wrong} a {type(found).__name__}; return a {dtype} array {shape}")
        fix = f"reshape it; the first axis is E = {self.n_envs} simulations"
        if found.shape == shape:
            fix = f"return it .astype(np.{dtype})"
        return LudusError(f"{wrong} {found.dtype} {found.shape}, not {dtype} {shape}; {fix}")

    def _not_finite(self, what: str, group: Group, array: np.ndarray) -> LudusError:
        simulation, *at = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        name = next(n for n, s in group.slices.items() if at[-1] in range(*s.indices(array.shape[-1])))
        return LudusError(
            f"world {self.spec.name!r}: in `{what}`, field {name!r} of group {group.name!r} is "
            f"{array[(simulation, *at)]} in simulation {simulation}; show finite numbers, also where one blew up"
        )


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
        actions = self._boundary.call("act", self._teacher.act, observations, captions, fix=fix)
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
