"""What a world is: E simulated robots stepped together. Adding one is a file with this interface and a
`ludus.worlds.registry.WorldKind`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ludus.skills.library import SkillLibrary
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError, Observations, WorldSpec, unknown


class World(Protocol):
    """A batch of E simulations of one scene. Given the same seeds and actions it returns the same bits, at any number
    of threads. It never resets by itself and knows no rewards. A world that inherits from this class need not write `ended`,
    `rest`, `start_of`, `restore`, `frames` and `close`."""

    spec: WorldSpec
    n_envs: int
    vocabulary: Vocabulary
    """Objects and predicates, for expressions."""

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] = "scattered") -> Observations:
        """Start simulation i from `seeds[i]`, all from one start distribution or one each. Groups are `[E, *shape]`.

        Raises:
            LudusError: unknown start, or not E seeds.
        """
        ...

    def step(self, actions: np.ndarray) -> Observations:
        """Apply `[E, A]` actions (clipped to [-1, 1]; NaN is an error) for one control step."""
        ...

    def observe(self) -> Observations:
        """The present observations, `[E, *shape]` per group, as `spec.observation` declares; fresh arrays."""
        ...

    def ended(self) -> np.ndarray:
        """`[E]` bool: simulations in which nothing more can be done or earned, such as after a fall. Their episodes stop, and the
        learner takes what follows to be worth nothing; they are stepped on, as the others need it. Default: none."""
        return np.zeros(self.n_envs, bool)

    def rest(self, resting: np.ndarray) -> None:
        """`[E]` bool: simulations whose observations nobody reads until they are reset. A world may leave them as they are when
        it is stepped. Default: all are stepped."""

    def start_of(self, caption: str) -> str:
        """Where an episode begins that is told this first and names no start: one of `spec.starts`, by default the first. A
        world whose captions need scenes of their own says which."""
        return self.spec.starts[0]

    def snapshot(self) -> np.ndarray:
        """`[E, S]` float64: everything that the future depends on (physics, controller, domain parameters)."""
        ...

    def restore(self, snapshot: np.ndarray) -> Observations:
        """Continue from a snapshot of this world or of one with the same fingerprint; bit-exact. No command needs it.

        Raises:
            LudusError: a world that cannot.
        """
        raise LudusError(f"world {self.spec.name!r} cannot go on from a snapshot; add `restore` to its class")

    def library(self) -> SkillLibrary:
        """The skills of this world. A run begins with those that are `base`; the others can be asked for by `--skills`."""
        ...

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        """Pictures of n logged observations -> `[n, size, size, 3]` uint8. Needs no simulation state.

        Raises:
            LudusError: no OpenGL, with what to install; a world without pictures.
        """
        raise LudusError(f"world {self.spec.name!r} has no pictures; add `frames` to its class")

    def close(self) -> None:
        """Give back what the simulations hold."""


def starts_of(spec: WorldSpec, n_envs: int, seeds: Sequence[int], start: str | Sequence[str]) -> list[str]:
    """The start of each of E simulations, from the arguments of `World.reset`.

    Raises:
        LudusError: an unknown start, not E seeds or not E starts.
    """
    starts = [start] * len(seeds) if isinstance(start, str) else list(start)
    if len(seeds) != n_envs or len(starts) != n_envs:
        raise LudusError(f"{len(seeds)} seeds and {len(starts)} starts for {n_envs} simulations; give as many")
    for name in starts:
        if name not in spec.starts:
            raise unknown("start", name, spec.starts)
    return starts
