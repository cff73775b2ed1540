"""What a variant of the experimenter is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ludus.config import ExperimenterConfig
from ludus.experimenter.ledger import Ledger
from ludus.experimenter.roles import Roles
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError


def nobody(question: str, answer: str) -> None:
    """Where nobody else hears what a person says."""


def no_pictures(path: str) -> bytes:
    """Where no question has a picture."""
    raise LudusError(f"nobody keeps the picture {path}")


@dataclass(frozen=True)
class RoleContext:
    """Where an experimenter sits."""

    vocabulary: Vocabulary
    """The words of its world."""
    seed: int
    config: ExperimenterConfig
    ledger: Ledger | None = None
    """Where calls are kept; models and people need one."""
    picture: Callable[[str], bytes] = no_pictures
    """The PNG at a question's path."""
    person: Callable[[str], str] | None = None
    """Puts a text before a person and gives their answer."""
    on_answer: Callable[[str, str], None] = nobody
    """Told what a person was asked and what they say, also where they said so before."""
    truth: Mapping[str, str | None] = field(default_factory=dict)
    """Key of a question -> the right caption (None: no skill fits) or judgement, where the asker knows it."""

    def need_ledger(self) -> Ledger:
        if self.ledger is None:
            raise LudusError("models and people need a ledger to keep their answers in")
        return self.ledger


MakeRoles = Callable[[RoleContext], Roles]
"""How a variant of the experimenter is made."""
