"""A person plays the roles: every question is put in words, and a line of text is the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from ludus.experimenter.answers import NONE_FITS, clean
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import CannotAsk, Reply, Request
from ludus.experimenter.roles import AnalyseQuestion, DecomposeQuestion, NoAnswer, ProposeQuestion, RetrieveQuestion
from ludus.types import Judgement, LudusError, Proposal, Retrieval, Verdict

HELP = "An empty line means: can't tell."


class Human:
    """All four roles, by whoever sits at the terminal. Answers are kept in the ledger: they can be replayed."""

    def __init__(self, context: RoleContext) -> None:
        if context.person is None:
            raise LudusError("experimenter 'human' needs a person at a terminal; run it in one, or name another")
        self._person, self._heard, self._ledger = context.person, context.on_answer, context.need_ledger()

    def propose(self, question: ProposeQuestion) -> Proposal:
        """Raises: NoAnswer: can't tell."""
        task = self._ask(
            "propose",
            question.key,
            f"Objects: {', '.join(question.scene.objects)}. True now: {', '.join(question.scene.facts) or 'nothing of note'}."
            f"{_pictures(question.scene.images)}"
            f"\nWhich task should the robot try next? At most {question.max_steps} skills long.",
        )
        if not task:
            raise NoAnswer("the person could not tell what to propose")
        chance = self._ask("propose", f"{question.key}/chance", "How likely is it to succeed, 0 to 1?", _number)
        return Proposal(task, "a person says so", float(chance or 0.5))

    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]:
        """Raises: NoAnswer: can't tell."""
        said = self._ask("decompose", question.key, f"Steps of {question.proposal.task!r}? Part them by semicolons.")
        steps = tuple(s.strip() for s in said.split(";") if s.strip())
        if not steps:
            raise NoAnswer("the person could not tell the steps")
        return steps

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        captions = [s.caption for s in question.skills]

        def fits(text: str) -> str | None:
            if text in captions or text.startswith(NONE_FITS) or not text:
                return None
            return f"{text!r} is no skill of the library; copy a caption, or write: {NONE_FITS}: what is missing"

        text = f"Which skill does {question.step!r}? One of: {'; '.join(captions)}; or '{NONE_FITS}: ...'"
        said = self._ask("retrieve", question.key, text, fits)
        if said in captions:
            return Retrieval(question.step, said)
        return Retrieval(question.step, None, said.removeprefix(NONE_FITS).strip(" :") or question.step)

    def analyse(self, question: AnalyseQuestion) -> Verdict:
        c = question.curve
        points = ", ".join(f"{s}/{n} at {u}" for u, s, n in zip(c.updates, c.successes, c.n, strict=True))
        kinds = get_args(Judgement)

        def fits(text: str) -> str | None:
            return None if not text or text in kinds else f"{text!r} is none of {', '.join(kinds)}"

        shown = f"{c.caption!r}: {points or 'no points yet'}.{_pictures(question.images)}"
        text = f"{shown}\nWould three times the training help? {', '.join(kinds)}?"
        said: Any = self._ask("analyse", question.key, text, fits)
        return Verdict(c.caption, said or "unclear", 0.8 if said else 0.5, "a person says so")

    def _ask(self, role: str, key: str, text: str, wrong: Callable[[str], str | None] = lambda _: None) -> str:
        def send() -> Reply:
            try:
                said = clean(self._person(f"{text}\n{HELP}"))
                while (complaint := wrong(said)) is not None:
                    said = clean(self._person(complaint))
            except LudusError as error:  # nobody is there: no use in putting the next question
                raise CannotAsk(str(error)) from None
            return Reply({"text": said}, usd=0.0)

        said = self._ledger.ask(Request(key, 0, role, "human 1", text, (), "human"), send)["text"]
        self._heard(text, said)
        return said


def _pictures(paths: Sequence[str]) -> str:
    return f"\nIn the run's directory: {', '.join(paths)}" if paths else ""


def _number(text: str) -> str | None:
    try:
        right = not text or 0 <= float(text) <= 1
    except ValueError:
        right = False
    return None if right else f"{text!r} is not a number from 0 to 1"
