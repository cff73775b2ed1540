"""Scripted controllers for the skills of `blocks`, with noise: seed data of mixed quality.

The clean action is a function of the present observations and the caption alone. Nothing is remembered between steps,
so a slipped block, a burst of noise or a new caption needs no recovery code: the next step sees another situation.
It knows no rewards; the skill library decides whether it succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ludus.skills.names import ObjectNames
from ludus.types import LudusError, Observations, WorldSpec, unknown
from ludus.worlds.blocks.motion import move
from ludus.worlds.blocks.noise import Noise
from ludus.worlds.blocks.perception import BlockState
from ludus.worlds.blocks.subgoals import subgoal

# What a caption asks for, with '#' for each block it names.
VERBS = {
    "open the gripper": "open",
    "reach #": "reach",
    "grasp #": "grasp",
    "lift #": "lift",
    "hover # above #": "hover",
    "stack # on #": "stack",
    "stack # on # and leave": "leave",
    "put # beside #": "beside",
    "tower # on # on #": "tower",
    "pyramid # on # and #": "pyramid",
}


class Teacher:
    """Acts for E simulations of one world, each under its own caption and noise level."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self._names = ObjectNames(spec.objects)
        self._parse = lru_cache(maxsize=None)(self._read)
        self._noise: Noise | None = None

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray | None = None) -> None:
        """Start E episodes: draws each one's noise from its own seed, so neighbours in the batch do not matter.

        Args:
            seeds: E episode seeds.
            noise: `[E]` levels; 0 is clean, about 0.6 ruins most stacking.
            random_mask: `[E]` bool; these ignore their caption and act at random, correlated over a few steps.
        """
        levels = np.broadcast_to(np.asarray(noise, np.float64), (len(seeds),))
        mask = np.zeros(len(seeds), bool) if random_mask is None else np.asarray(random_mask, bool)
        self._noise = Noise(seeds, levels, mask, self.spec.episode_steps, len(self.spec.actions))

    def obeys(self, caption: str) -> bool:
        """Whether a controller is written for this caption."""
        try:
            self._parse(caption)
        except LudusError:
            return False
        return True

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """The next `[E, 5]` float32 action in [-1, 1] under `captions` (E of them).

        Raises:
            LudusError: a caption that no controller is written for, or that names a block twice.
        """
        action = self.clean(observations, captions)
        return (action if self._noise is None else self._noise.disturb(action)).astype(np.float32)

    def clean(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """The `[E, 5]` action without noise: a pure function."""
        programs = [self._parse(c) for c in captions]
        verb = np.array([p[0] for p in programs])
        blocks = np.array([p[1] for p in programs])
        state = BlockState.from_observation(self.spec, observations)
        return move(state, subgoal(state, verb, blocks))

    def _read(self, caption: str) -> tuple[str, tuple[int, int, int]]:
        named = [self.spec.objects.index(name) for name in self._names.mentions(caption)]
        pattern = " ".join(self._names.replace(caption, "#").lower().split())
        if pattern not in VERBS or pattern.count("#") != len(named):
            raise unknown("caption for the teacher", caption, [*VERBS])
        if len(set(named)) < len(named):
            raise LudusError(f"caption {caption!r} names a block twice; name different blocks")
        x, y, z = (*named, *[-1] * (3 - len(named)))
        return VERBS[pattern], (x, y, z)
