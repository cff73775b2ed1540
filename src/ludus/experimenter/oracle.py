"""Knows the truth, as far as there is one: for comparisons in which one role at a time is played as well as can be."""

from __future__ import annotations

from collections.abc import Mapping

from ludus.experimenter.planner import Planner
from ludus.experimenter.roles import AnalyseQuestion, RetrieveQuestion
from ludus.types import Judgement, Retrieval, Verdict


class Oracle(Planner):
    """Proposes and decomposes by the logic of the words, which is exact. Retrieves and judges by the truth where the asker
    has it (`ludus exam`): `truth` maps a question's key to it; otherwise as the planner.
    """

    truth: Mapping[str, str | None] = {}
    judgements: Mapping[str, Judgement] = {}

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        if question.key not in self.truth:
            return super().retrieve(question)
        caption = self.truth[question.key]
        return Retrieval(question.step, caption, None if caption else question.step)

    def analyse(self, question: AnalyseQuestion) -> Verdict:
        if question.key not in self.judgements:
            return super().analyse(question)
        return Verdict(question.curve.caption, self.judgements[question.key], 1.0, "this is how it went on")
