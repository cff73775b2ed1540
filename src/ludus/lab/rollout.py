"""What is to be run: one episode as data (`RolloutSpec`), and who acts in it (`Actor`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from ludus.lab.program import Program
from ludus.types import LudusError, Observations, Plan

Advance = Callable[[int], None]
"""Called after each control step with the number of episodes that took it."""


@dataclass(frozen=True)
class Switching:
    """When a skill is over that need not last its declared steps. Origin of the numbers: docs/results.md, "Switching"."""

    hold_s: float = 0.5
    """Its success has held for so long; what flickers does not count."""
    stall_s: float = 2.0
    """Or another one follows, its reward has not risen for so long and its success does not hold; 0: never."""
    stall_gain: float = 0.01
    """By at least this, of rewards in [0, 1]."""
    hold_last: bool = False
    """Whether the last skill is told for the time that is left, instead of the episode's end."""


def switching_of(name: Literal["fixed", "conditional"]) -> Switching | None:
    """The rule that `experiment.switching` names; None: each skill lasts its declared steps."""
    return Switching() if name == "conditional" else None


@dataclass(frozen=True)
class RolloutSpec:
    """One episode to run: which skills from which start. Data only: it pickles."""

    captions: tuple[str, ...]
    """Commands in order. With a program: those in it."""
    seed: int
    """Seed of the reset and of everything that the actor draws in this episode."""
    start: str | None = None
    """Name of the start distribution; None is where the world has its first caption begin (`World.start_of`)."""
    actor: str | None = None
    """Who acts, where one actor plays several ('teacher', 'random'); None is the actor's own name."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """JSON, copied into the episode: plan id, round, noise level, ..."""
    program: Program | None = None
    """Loops and branches over the captions; None: one after the other."""
    switching: Switching | None = None
    """None: each command lasts the steps of its skill."""


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
    plans: Sequence[Plan],
    seeds: Sequence[int],
    start: str | None = None,
    info: Mapping[str, Any] | None = None,
    switching: Switching | None = None,
    fits: Callable[[Sequence[str]], bool] | None = None,
) -> list[RolloutSpec]:
    """One rollout per seed; seed i runs plan i modulo the number of plans.

    Args:
        fits: whether an episode has time for these commands. Given it, robots go on with other plans in the time that is
            left, those of one plan with different ones; `info["n_plan_commands"]` says how many commands are the plan's own.

    Raises:
        LudusError: a plan with gaps, or no plan.
    """
    if not plans:
        raise LudusError("no plan to execute: every proposal had a step that no skill fits")
    for plan in plans:
        if plan.gaps or not plan.captions:
            missing = ", ".join(repr(r.step) for r in plan.gaps) or "every step"
            raise LudusError(f"plan {plan.id!r} cannot be executed: no skill for {missing}")
    rollouts = []
    for i, seed in enumerate(seeds):
        turn, at = divmod(i, len(plans))
        captions, about = plans[at].captions, {**(info or {}), "plan": plans[at].id}
        if fits is not None:
            about["n_plan_commands"] = len(captions)
            others = [*plans[at + 1 :], *plans[:at]]
            turn %= max(1, len(others))
            for other in (*others[turn:], *others[:turn]):
                captions += other.captions if fits(captions + other.captions) else ()
        rollouts.append(RolloutSpec(captions, seed, start, None, about, switching=switching))
    return rollouts
