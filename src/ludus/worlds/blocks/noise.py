"""Noise on a teacher's clean actions: white noise and a slow bias, gripper flips, bursts of random actions.

All of an episode's randomness is drawn from its own seed before it starts, so its neighbours in the batch do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ludus.seeding import rng

SCALE = 0.6
"""Of white noise and bias at level 1: levels 0.2, 0.4, 0.7 leave 71, 9, 0 % of stacks (docs/method.md, section 4: 65, 8, 0)."""
MEMORY = 0.95
"""Share of the bias that is left a control step later: it forgets in about a second."""
FLIPS = 0.05
"""Gripper flips per control step at level 1."""
BURSTS = 0.02
"""Bursts of random actions per control step at level 1."""
BURST_STEPS = (5, 15)
"""Shortest and longest burst, control steps."""
FRESH = 0.25
"""Chance per control step that a random action is drawn anew: held actions cover distance, independent ones cancel out."""


class Noise:
    """Disturbs the clean actions of E episodes of T steps; what an episode gets depends on its seed and level alone.

    Args:
        seeds: E.
        levels: `[E]`; 0 is clean.
        random: `[E]` bool, episodes of random actions only.
        steps: T; after that the same draws come again.
        n_actions: A; the last one is the gripper's, which is flipped instead of shifted.
    """

    def __init__(
        self, seeds: Sequence[int], levels: np.ndarray, random: np.ndarray, steps: int, n_actions: int
    ) -> None:
        shape, n, generators = (steps, n_actions), len(seeds), [rng(s, "teacher") for s in seeds]
        bias = np.stack([g.standard_normal(shape) for g in generators])  # [E, T, A]
        white = np.stack([g.standard_normal(shape) for g in generators])
        self._uniform = np.stack([g.uniform(-1, 1, shape) for g in generators])
        flips, bursts, fresh = np.stack([g.uniform(size=(3, steps)) for g in generators], 1)  # [E, T] each
        lengths = np.stack([g.integers(BURST_STEPS[0], BURST_STEPS[1] + 1, steps) for g in generators])

        for t in range(1, steps):  # a stationary random walk of unit variance
            bias[:, t] = MEMORY * bias[:, t - 1] + np.sqrt(1 - MEMORY**2) * bias[:, t]
        self._shift = SCALE * levels[:, None, None] * (white + bias)
        self._flip = flips < FLIPS * levels[:, None]
        clock = np.arange(steps)
        ends = np.where(bursts < BURSTS * levels[:, None], clock + lengths, 0)
        self._random = (clock < np.maximum.accumulate(ends, axis=1)) | random[:, None]
        drawn = np.maximum.accumulate(np.where(fresh < FRESH, clock, 0), axis=1)
        self._uniform = self._uniform[np.arange(n)[:, None], drawn]
        self._t = 0

    def disturb(self, action: np.ndarray) -> np.ndarray:
        """The next step's `[E, A]` clean actions -> `[E, A]` in [-1, 1]."""
        t = self._t % self._random.shape[1]
        self._t += 1
        noisy = action + self._shift[:, t]
        noisy[:, -1] = np.where(self._flip[:, t], -action[:, -1], action[:, -1])
        return np.clip(np.where(self._random[:, t, None], self._uniform[:, t], noisy), -1, 1)
