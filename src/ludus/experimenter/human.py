"""A person plays the roles: a question is shown as text, and a line of text is the answer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ludus.experimenter import outside
from ludus.experimenter.answers import clean
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import CannotAsk, Reply, Request, Withdrawn
from ludus.experimenter.outside import Answer, Question
from ludus.experimenter.roles import NoAnswer, ProposeQuestion
from ludus.experimenter.table import ROLES, Role
from ludus.types import LudusError, Proposal

HELP = "An empty line means: can't tell."
LISTEN_S = 0.5
"""From one look at what was said in the room to the next, while a person types."""
LINE = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
"""JSON schema of an answer: a line of text."""


class Human:
    """Every role, by the person at the terminal or, where there is none, by whoever answers in the room of the run. Answers are
    stored in the ledger, so they can be replayed.

    Raises:
        LudusError: nobody to ask, or no ledger.
    """

    def __init__(self, context: RoleContext) -> None:
        if context.person is None and context.mailbox is None:
            raise LudusError("experimenter 'human' needs a person at a terminal; run it in one, or name another")
        self._person, self._mailbox = context.person, context.mailbox
        self._listen, self._on_answer, self._ledger = context.listen, context.on_answer, context.need_ledger()

    def answer(self, role: Role, question: Any) -> Any:
        """The answer to a question of any role.

        Raises:
            NoAnswer: the person can't tell, or did not answer in time.
            CannotAsk: nobody answers.
        """
        line = self._ask(role.name, question.key, role.text(question), lambda said: role.complaint(question, said))
        try:
            return role.read_text(question, line)
        except NoAnswer as error:
            raise NoAnswer(f"the person {error}") from None

    def propose(self, question: ProposeQuestion) -> Proposal:
        """Asks for the task, then for its probability of success. Raises: NoAnswer, CannotAsk."""
        proposal: Proposal = self.answer(ROLES["propose"], question)
        chance = self._ask("propose", f"{question.key}/chance", "How likely is it to succeed, 0 to 1?", _no_probability)
        return replace(proposal, success_probability=float(chance)) if chance else proposal

    def _ask(self, role: str, key: str, text: str, complaint: Callable[[str], str | None]) -> str:
        request = Request(key, 0, role, "human 1", text, (), "human")
        if self._person is None:
            assert self._mailbox is not None
            question = Question(key, role, "human", f"{text}\n{HELP}", text, LINE)
            read = _reading(complaint)
            return outside.ask(self._ledger, self._mailbox, question, request, read, usd=0.0)["text"]
        said = self._ledger.ask(request, lambda: self._at_terminal(text, complaint))["text"]
        self._on_answer(text, said)
        return said

    def _at_terminal(self, text: str, complaint: Callable[[str], str | None]) -> Reply:
        assert self._person is not None
        try:
            with _listening(self._listen):
                said = clean(self._person(f"{text}\n{HELP}"))
                while (wrong := complaint(said)) is not None:
                    said = clean(self._person(wrong))
        except NoAnswer as error:
            return Reply(None, str(error), usd=0.0)
        except Withdrawn:
            raise
        except LudusError as error:  # no person answers, so the next question would fail too
            raise CannotAsk(str(error)) from None
        return Reply({"text": said}, usd=0.0)


@contextmanager
def _listening(listen: Callable[[], object]) -> Iterator[None]:
    """Listens again and again while this thread waits for a line, by a signal: what it raises then ends the waiting. Nothing is
    heard where there are no such signals, or in another thread than the main one, which gets them."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(*_: object) -> None:
        listen()
        signal.setitimer(signal.ITIMER_REAL, LISTEN_S)  # only now: listening may take a while

    before = signal.signal(signal.SIGALRM, heard)
    signal.setitimer(signal.ITIMER_REAL, LISTEN_S)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # first, or it could be heard once more, and set the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reading(complaint: Callable[[str], str | None]) -> outside.Read:
    """A line of text without complaint."""

    def read(said: Any) -> Answer:
        line = said.get("text") if isinstance(said, Mapping) else None
        if not isinstance(line, str):
            raise LudusError('an answer is {"text": "..."}')
        line = clean(line)
        if (wrong := complaint(line)) is not None:
            raise LudusError(wrong)
        return {"text": line}

    return read


def _no_probability(line: str) -> str | None:
    try:
        right = not line or 0 <= float(line) <= 1
    except ValueError:
        right = False
    return None if right else f"{line!r} is not a number from 0 to 1"
