"""Where the modules talk. Every message is stored as it is said, so that anyone can read along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from ludus.record.record import Record
from ludus.types import LudusError, Message


class Room:
    """The chat of one run. A message's key is the open step and its place in it: redoing a step that a crash cut short
    says the same things under the same keys."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._held: list[Message] | None = None

    @property
    def step(self) -> str:
        """The step in which people talk now.

        Raises:
            LudusError: none is open.
        """
        step = self.record.open_step
        if step is None:
            raise LudusError("nobody talks outside a step: post within `with record.commit(step):`, or give a key")
        return step.name

    def post(
        self,
        sender: str,
        addressee: str,
        kind: str,
        text: str,
        images: Sequence[str] = (),
        payload: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Message:
        """Say something, at once and for all to read.

        Args:
            images: paths relative to the run directory.
            payload: JSON.
            key: only for messages outside a step; the same key is posted once.
        """
        step = self.record.open_step
        if key is None:
            if step is None:
                raise LudusError("a message outside a step needs a key, such as 'loop/started'")
            key = f"{step.name}/{step.count('message'):04d}"
        message = Message(key, sender, addressee, kind, text, tuple(images), dict(payload or {}))
        if self._held is None:
            self.record.post(message)
        else:
            self._held.append(message)
        return message

    @contextmanager
    def batched(self) -> Iterator[None]:
        """What is said inside is stored at the end, in one transaction: a disk takes milliseconds for each."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            self.record.post(*held)

    def read(self, kind: str | None = None) -> list[Message]:
        """All messages in the order they were said, or those of one kind."""
        return self.record.messages(kind)


class NullRoom:
    """A room in which nothing is kept."""

    def post(self, *said: Any, **more: Any) -> None:
        """Nobody hears it."""

    batched = nullcontext
