"""What is to be run: one episode as data (`RolloutSpec`), and who acts in it (`Actor`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ludus.types import LudusError, Observations, Plan

Advance = Callable[[int], None]
"""Called after each control step with the number of episodes that took it."""


@dataclass(frozen=True)
class RolloutSpec:
    """One episode to run: which skills from which start. Data only: it pickles."""

    captions: tuple[str, ...]
    """Commands in order, each for the steps of its skill."""
    seed: int
    """Seed of the reset and of everything that the actor draws in this episode."""
    start: str | None = None
    """Name of the start distribution; None is the world's default."""
    actor: str | None = None
    """Who acts, where one actor plays several ('teacher', 'random'); None is the actor's own name."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """JSON, copied into the episode: plan id, round, noise level, ..."""


class Actor(Protocol):
    """Chooses the actions of E episodes: a policy, a teacher, a random one."""

    name: str

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        """E new episodes begin. Random numbers are drawn from the rollouts' seeds, so that an episode does not depend on
        the others of its batch."""
        ...

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """`[E, size]` observations per group and E captions -> `[E, A]` actions in [-1, 1]."""
        ...


def rollouts_of(
    plans: Sequence[Plan], seeds: Sequence[int], start: str | None = None, info: Mapping[str, Any] | None = None
) -> list[RolloutSpec]:
    """One rollout per seed; seed i runs plan i modulo the number of plans.

    Raises:
        LudusError: a plan with gaps, or no plan.
    """
    if not plans:
        raise LudusError("no plan to execute: every proposal had a step that no skill fits")
    for plan in plans:
        if plan.gaps or not plan.captions:
            missing = ", ".join(repr(r.step) for r in plan.gaps) or "every step"
            raise LudusError(f"plan {plan.id!r} cannot be executed: no skill for {missing}")
    return [
        RolloutSpec(plans[i % len(plans)].captions, s, start, None, {**(info or {}), "plan": plans[i % len(plans)].id})
        for i, s in enumerate(seeds)
    ]
