"""Proposers without plans: sequences of skills that fill an episode, each skill drawn for itself. They are what a curriculum is
compared with.

A rule says how likely each skill is; the task is the drawn captions in order, which any decomposer takes apart again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ludus.experimenter.context import RoleContext
from ludus.experimenter.planner import Planner
from ludus.experimenter.roles import ProposeQuestion, SkillStats
from ludus.seeding import rng
from ludus.types import LudusError, Proposal

Rule = Callable[[Sequence[SkillStats]], np.ndarray]
"""n skills, at least one -> `[n]` probabilities."""

EPSILON = 0.2
"""Share of the draws of `by_progress` that are uniform, so that a skill which rests is noticed when it changes. Source: the
share of random tasks in ALP-GMM, Portelas et al. 2019, arXiv 1910.07224."""
LEAST_OUTCOMES = 4
"""With fewer recent outcomes of a skill there is no progress to speak of: two before, two after."""


class SkillSampler(Planner):
    """Proposes `max_steps` skills, drawn independently by a rule; the other roles are the planner's."""

    def __init__(self, context: RoleContext, rule: Rule, why: str) -> None:
        """
        Args:
            why: the reason that its proposals give.
        """
        super().__init__(context.vocabulary, context.seed)
        self._rule, self._why = rule, why

    def propose(self, question: ProposeQuestion) -> Proposal:
        """Raises: LudusError: there is no skill."""
        if not question.skills:
            raise LudusError("nothing to propose: the library has no skill")
        draw = rng(self.seed, "propose", question.key)
        drawn = draw.choice(len(question.skills), question.max_steps, p=self._rule(question.skills))
        chosen = [question.skills[int(i)] for i in drawn]
        chance = math.prod(skill.competence for skill in chosen)
        # Without a goal: the decomposer would look for the shortest way to it, and the sequence would be lost.
        return Proposal("; ".join(skill.caption for skill in chosen), self._why, round(min(max(chance, 0.01), 0.99), 3))


def uniform(skills: Sequence[SkillStats]) -> np.ndarray:
    """All alike."""
    return np.full(len(skills), 1 / len(skills))


def by_progress(skills: Sequence[SkillStats]) -> np.ndarray:
    """In proportion to absolute learning progress, with a floor: `EPSILON` of the draws are uniform, and all of them while
    nothing changes. Source: ALP-GMM, Portelas et al. 2019, arXiv 1910.07224, there for a continuous space of tasks."""
    progress = np.array([abs(recent_change(skill.recent)) for skill in skills])
    if not progress.any():
        return uniform(skills)
    return EPSILON * uniform(skills) + (1 - EPSILON) * progress / progress.sum()


def weakest(skills: Sequence[SkillStats]) -> np.ndarray:
    """The skill with the lowest competence; of several, all alike."""
    competence = np.array([skill.competence for skill in skills])
    lowest = competence == competence.min()
    return lowest / lowest.sum()


def recent_change(outcomes: Sequence[bool]) -> float:
    """Success rate of the later half of these outcomes less that of the earlier half, both shrunk towards 1/2 (posterior mean
    under a uniform prior); 0 of fewer than `LEAST_OUTCOMES`."""
    n = len(outcomes) // 2
    if 2 * n < LEAST_OUTCOMES:
        return 0.0
    return (sum(outcomes[-n:]) - sum(outcomes[-2 * n : -n])) / (n + 2)
