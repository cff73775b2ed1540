"""What a variant of the experimenter is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ludus.config import ExperimenterConfig
from ludus.experimenter.ledger import Ledger
from ludus.experimenter.outside import Mailbox
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError


def ignore_answer(question: str, answer: str) -> None:
    """For runs in which a person's answers are not posted."""


def no_pictures(path: str) -> bytes:
    """For questions without pictures."""
    raise LudusError(f"picture {path} cannot be read: give RoleContext.picture, which returns its PNG bytes")


@dataclass(frozen=True)
class RoleContext:
    """All that a variant may need; most variants need little of it."""

    vocabulary: Vocabulary
    """The words of the world that is planned in."""
    seed: int = 0
    config: ExperimenterConfig = field(default_factory=ExperimenterConfig)
    ledger: Ledger | None = None
    """Stores the calls of models and persons, which need one."""
    picture: Callable[[str], bytes] = no_pictures
    """The PNG at a question's path."""
    person: Callable[[str], str] | None = None
    """Shows a text to a person at a terminal and returns the line they type."""
    on_answer: Callable[[str, str], None] = ignore_answer
    """Called with question and answer when a person answers, and when a recording does in their place."""
    truth: Mapping[str, str | None] = field(default_factory=dict)
    """Key of a question -> the right caption (None: no skill fits) or judgement, where the caller knows it."""
    mailbox: Mailbox | None = None
    """Where an agent is asked, and a person who is at no terminal."""
    listen: Callable[[], object] = lambda: None
    """Hears what is said in the room while a person types at the terminal; may raise what `Mailbox.ask` does."""

    def need_ledger(self) -> Ledger:
        """Raises: LudusError: there is none."""
        if self.ledger is None:
            raise LudusError("models and persons need a ledger that stores their answers; give RoleContext.ledger")
        return self.ledger
