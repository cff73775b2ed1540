"""The chat of a run: modules post messages, which are stored at once, so that a run can be followed while it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa

from ludus.experimenter.answers import clean
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.record.record import Record
from ludus.types import LudusError, Message


class Room:
    """The chat of one run. The key of a message is the open step and its place in it: a step that is run again after a
    crash posts the same messages under the same keys."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._held: list[Message] | None = None

    @property
    def step(self) -> str:
        """Name of the open step.

        Raises:
            LudusError: none is open.
        """
        step = self.record.open_step
        if step is None:
            raise LudusError("a message outside a step: post within `with record.commit(step):`, or give a key")
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
        """Store a message.

        Args:
            addressee: a module, or 'all'.
            images: paths relative to the run directory.
            payload: JSON.
            key: for messages outside a step; a key is stored once.

        Raises:
            LudusError: neither an open step nor a key.
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
        """Store what is posted inside at the end, in one transaction, which takes a disk milliseconds each."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            self.record.post(*held)


# --- what people say ---------------------------------------------------------------------------------------------

REMARK, GUIDANCE = "remark", "guidance"
"""Kinds of messages: what a person said, and what of it was shown to the experimenter."""
LONGEST_REMARK = 1000
"""Characters."""
MOST_REMARKS = 5
"""The latest remarks of a run, which its questions show."""
AGENT = "agent"
"""Who speaks through `ludus mcp`: to people, not to the experimenter."""
AUTHOR = re.compile(r"[\w@.-][\w@. -]{0,39}")
MODULES = {"all", "analysis", "curriculum", "embodiment", "experimenter", "gate", "growth", "learner", "loop", "ludus"}
MODULES |= {"oversight", "settling", "world"}
"""Senders that nobody may pose as."""


def speaker(author: str) -> str:
    """The name of somebody who speaks in the room from outside.

    Raises:
        LudusError: no name, or that of a module.
    """
    name = author.strip()
    if not AUTHOR.fullmatch(name) or name.casefold() in MODULES:
        said = clean(name)[:40]
        raise LudusError(f"nobody who speaks is called {said!r}; give a name of at most 40 letters, of no module")
    return name


def remarks(record: Record) -> tuple[str, ...]:
    """The latest remarks of people, oldest first."""
    m = tables.messages.c
    said = record.rows(tables.messages, sa.and_(m.kind == REMARK, m.sender != AGENT))
    return tuple(row["text"] for row in said[-MOST_REMARKS:])


def shown_remarks(record: Reader) -> dict[int, tuple[str, ...]]:
    """Round -> the remarks that were shown in it."""
    rows = record.rows(tables.messages, tables.messages.c.kind == GUIDANCE)
    return {int(row["step"].split("/")[1]): tuple(row["payload"]["remarks"]) for row in rows}


class NullRoom:
    """A room that stores nothing."""

    def post(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    batched = nullcontext
