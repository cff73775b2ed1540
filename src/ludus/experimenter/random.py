"""Random answers in every role: the baseline that any experimenter must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from ludus.experimenter.compose import Request, compose
from ludus.experimenter.roles import (
    AnalyseQuestion,
    DecomposeQuestion,
    NoAnswer,
    ProposeQuestion,
    RetrieveQuestion,
    SkillStats,
    WriteQuestion,
)
from ludus.seeding import rng
from ludus.skills.candidate import Candidate
from ludus.skills.expression import atom_text
from ludus.skills.predicates import Vocabulary
from ludus.types import Judgement, LudusError, Proposal, Retrieval, Verdict

NONE_FITS = 0.05
"""Probability of the answer that no skill fits."""


class RandomRoles:
    """All roles. Stateless: the same question gets the same answer."""

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self.seed, self._vocabulary = seed, vocabulary

    def propose(self, question: ProposeQuestion) -> Proposal:
        draw = rng(self.seed, "propose", question.key)
        skill = _pick(question.skills, draw)
        return Proposal(skill.caption, "drawn at random", round(float(draw.random()), 3), skill.success)

    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]:
        draw = rng(self.seed, "decompose", question.key)
        n = int(draw.integers(1, question.max_steps + 1))
        return tuple(_pick(question.skills, draw).caption for _ in range(n))

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        draw = rng(self.seed, "retrieve", question.key)
        if draw.random() < NONE_FITS or not question.skills:
            return Retrieval(question.step, None, f"a skill that does this: {question.step}")
        return Retrieval(question.step, _pick(question.skills, draw).caption)

    def analyse(self, question: AnalyseQuestion) -> Verdict:
        draw = rng(self.seed, "analyse", question.key)
        judgements: tuple[Judgement, ...] = get_args(Judgement)
        return Verdict(question.curve.caption, judgements[draw.integers(len(judgements))], 0.25, "drawn at random")

    def write_skill(self, question: WriteQuestion) -> Candidate:
        """A skill for one condition of the vocabulary. Raises: NoAnswer: there is none that can be told."""
        draw = rng(self.seed, "write_skill", question.key, len(question.rejections))
        conditions = [p for p in self._vocabulary.predicates if p.result == "bool"]
        conditions = [p for p in conditions if len(p.parameters) <= len(self._vocabulary.objects)]
        if not conditions:
            raise NoAnswer("nothing to write a skill for: the vocabulary has no condition")
        chosen = conditions[int(draw.integers(len(conditions)))]
        objects = draw.permutation(self._vocabulary.objects)[: len(chosen.parameters)]
        goal = atom_text((chosen.name, tuple(map(str, objects))))
        taken = {s.caption for s in question.skills}
        try:
            return compose(Request(goal, skill_steps=question.skill_steps, taken=taken), self._vocabulary)
        except LudusError as error:
            raise NoAnswer(str(error)) from None


def _pick(skills: Sequence[SkillStats], draw: np.random.Generator) -> SkillStats:
    if not skills:
        raise LudusError("nothing to choose from: the library has no skill")
    return skills[int(draw.integers(len(skills)))]
