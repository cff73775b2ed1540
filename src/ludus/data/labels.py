"""What a row is labelled with: the reward under every skill, how far each skill's next success is, and the skill that a drawn
row is trained under. Labels found in hindsight: Andrychowicz et al. 2017, arXiv 1707.01495; docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ludus.config import SamplingConfig

FAR = 0x7FFF
"""Distance of a success that never comes; longer distances are cut to it."""
SUCCEEDED_NOW = 0x8000
"""Bit of `steps_to_success` that says: the skill succeeds at this very observation."""


@dataclass(frozen=True)
class Focus:
    """Skills that get a share of the labels of each kind (command, hindsight, any), all together."""

    captions: Collection[str]
    share: float


def mixed_reward(reward: np.ndarray, success: np.ndarray, sparse: float) -> np.ndarray:
    """Dense reward `[S, N]` float32 and success `[S, N]` bool -> the reward that is learned from, `[S, N]` float32."""
    weight = np.float32(sparse)
    return (1 - weight) * reward + weight * success


def steps_to_success(success: np.ndarray, trajectory_end: np.ndarray) -> np.ndarray:
    """Steps from each row to the next success after it, `[N, S]` uint16, with the bit `SUCCEEDED_NOW` where the row itself is
    one. `FAR` where none comes within its trajectory.

    Args:
        success: `[S, N]` bool, of adjacent rows.
        trajectory_end: `[N]` index of the last row of each row's trajectory.
    """
    n_skills, n = success.shape
    found = np.empty((n, n_skills), np.uint16)
    rows = np.arange(n)
    for i in range(n_skills):
        here = np.where(success[i], rows, n + FAR)
        following = np.append(np.minimum.accumulate(here[::-1])[::-1][1:], n + FAR)
        distance = np.where(following <= trajectory_end, np.minimum(following - rows, FAR), FAR)
        found[:, i] = distance.astype(np.uint16) | np.where(success[i], np.uint16(SUCCEEDED_NOW), np.uint16(0))
    return found


def draw_labels(
    draw: np.random.Generator,
    steps: np.ndarray,
    commanded: np.ndarray,
    sampling: SamplingConfig,
    focus: Sequence[tuple[np.ndarray, float]],
) -> tuple[np.ndarray, np.ndarray]:
    """`[B]` index of the skill each row is labelled with, and `[B]` bool whether it was found in hindsight.

    A label is the command with probability `commanded_ratio`, a skill that succeeds within `horizon` steps with probability
    `hindsight_ratio`, else any skill. Hindsight prefers skills that do not yet succeed at the row. Where no skill succeeds the
    command stands in; where the command is not in the library, any skill.

    Args:
        steps: `[B, S]` uint16, see `steps_to_success`.
        commanded: `[B]` index of the commanded skill, -1 where the library lacks it.
        focus: groups of skills `[n]`, n > 0, and the share of each of the labels that are any skill.
    """
    kind, pick = draw.random((2, len(steps)))
    skill = draw.integers(0, steps.shape[1], len(steps))
    if focus:
        place, begins = draw.random(len(steps)), 0.0
        for skills, share in focus:
            chosen = skills[draw.integers(0, len(skills), len(steps))]
            skill = np.where((begins <= place) & (place < begins + share), chosen, skill)
            begins += share
    near = (steps & FAR) <= sampling.horizon
    fresh = near & (steps < SUCCEEDED_NOW)  # not yet so at this observation: something to be done
    candidates = np.where(fresh.any(1, keepdims=True), fresh, near)
    ranks = candidates.cumsum(1)
    chosen = np.argmax(ranks > (pick * ranks[:, -1])[:, None].astype(np.int64), axis=1)
    asked = (kind >= sampling.commanded_ratio) & (kind < sampling.commanded_ratio + sampling.hindsight_ratio)
    hindsight = asked & (ranks[:, -1] > 0)
    told = (kind < sampling.commanded_ratio) | (asked & ~hindsight)
    return np.where(hindsight, chosen, np.where(told & (commanded >= 0), commanded, skill)), hindsight
