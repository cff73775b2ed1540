"""Questions to somebody outside of this process: a coding agent, or a person who is not at its terminal. Whoever it is answers
with a JSON object, which is checked before it counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ludus.experimenter.ledger import Ledger, Reply, Request, Withdrawn
from ludus.experimenter.roles import NoAnswer

Answer = Mapping[str, Any]
"""A JSON object."""
Read = Callable[[Any], Answer]
"""What was answered -> the answer that is kept. Raises LudusError, whose text goes back to who answered."""


@dataclass(frozen=True)
class Question:
    """A question of any role, with all that is needed to answer it."""

    name: str
    """Names it within the run: 'r1-s0-a0/propose'."""
    role: str
    addressee: str
    """Whom it waits for: 'agent' or 'human'."""
    summary: str
    """As a person is asked; it stands in the room."""
    text: str
    """As whoever answers is asked."""
    schema: Mapping[str, Any]
    """JSON schema of the answer, an object."""
    images: tuple[str, ...] = ()
    """Paths relative to the run directory."""
    key: str = field(default="", compare=False)
    """Of its message in the room. By default the name and a digest: asked in other words, it is another question."""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", f"question/{self.name}/{self.digest}")

    @property
    def digest(self) -> str:
        """Of all that is shown but the pictures."""
        return digest(json.dumps([self.addressee, self.text, self.schema], sort_keys=True).encode())


class Mailbox(Protocol):
    """Where questions wait."""

    def ask(self, question: Question, read: Read) -> Answer:
        """What `read` makes of the first answer that it does not refuse.

        Raises:
            NoAnswer: nobody answered in time.
            Withdrawn: nobody is waited for any more, and what the question was for does not come.
        """
        ...

    def close(self, question: Question, answer: Answer | None, why: str = "") -> None:
        """Show that a question is settled, also one that was not put now because its answer is known.

        Args:
            answer: None: nobody answered.
            why: of no answer.
        """
        ...


def ask(
    ledger: Ledger, mailbox: Mailbox, question: Question, request: Request, read: Read, usd: float | None
) -> Answer:
    """The answer: the ledger's, if it has one, else what comes by the mailbox.

    Args:
        request: the call that the ledger keeps.
        usd: what an answer costs; None: not known.

    Raises:
        NoAnswer: nobody answered in time.
        Withdrawn: see `Mailbox.ask`; nothing is kept.
        CannotAsk: see `Ledger.ask`.
    """
    turns = 0

    def counted(said: Any) -> Answer:
        nonlocal turns
        turns += 1
        return read(said)

    def send() -> Reply:
        try:
            answer = mailbox.ask(question, counted)
        except NoAnswer as error:
            return Reply(None, str(error), turns=turns, usd=usd)
        return Reply(answer, turns=turns, usd=usd)

    try:
        answer = ledger.ask(request, send)
    except (NoAnswer, Withdrawn) as error:
        mailbox.close(question, None, str(error))
        raise
    mailbox.close(question, answer)
    return answer


def digest(data: bytes) -> str:
    """Sixteen hex digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
