"""Answers from the truth where the caller knows it: an upper bound, for comparisons role by role."""

from __future__ import annotations

from typing import Any

from ludus.experimenter.context import RoleContext
from ludus.experimenter.planner import Planner
from ludus.experimenter.roles import AnalyseQuestion, RetrieveQuestion
from ludus.types import Retrieval, Verdict


class Oracle(Planner):
    """Proposes and decomposes as the planner does. Retrieves and analyses by `RoleContext.truth` where the question's key is
    in it, otherwise as the planner does."""

    def __init__(self, context: RoleContext) -> None:
        super().__init__(context.vocabulary, context.seed)
        self._truth = context.truth

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        if question.key not in self._truth:
            return super().retrieve(question)
        caption = self._truth[question.key]
        return Retrieval(question.step, caption, None if caption else question.step)

    def analyse(self, question: AnalyseQuestion) -> Verdict:
        judgement: Any = self._truth.get(question.key)
        if judgement is None:
            return super().analyse(question)
        return Verdict(question.curve.caption, judgement, 1.0, "this is how it went on")
