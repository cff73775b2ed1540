"""`ludus chat`: the room of a run in the terminal."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import tyro

from ludus.cli.common import Finds, interruptible, opened_run
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from rich.console import Console

    from ludus.record import Record
    from ludus.views.queries import Posting

POLL_S = 1.0
"""How often it looks for what is new."""
WELCOME = "A line that you type is said; /help lists the commands; Ctrl-D leaves."


@dataclass(frozen=True)
class Chat(Finds):
    """Follow the conversation of a run and take part in it: a line that you type is said, /help lists the commands. Ends with the
    run, or with Ctrl-D."""

    shows: ClassVar = True
    dir: tyro.conf.Positional[Path | None] = None
    """The run directory; the latest under runs/ if not given."""
    name: str = "person"
    """Who speaks."""
    last: int = 20
    """So many earlier messages are shown."""

    def __call__(self) -> None:
        console = display.console()
        with (
            interruptible("You left the room.", console.print),
            opened_run(self.dir, self.record) as record,
        ):
            self._follow(record, console)

    def _follow(self, record: Record, console: Console) -> None:
        from ludus.lab.oversight import newest_message
        from ludus.views import queries
        from ludus.views.text import heard

        shown = newest_message(record)
        _print(console, queries.postings(record, before=shown + 1, limit=max(0, self.last)))
        state, lines = record.state(), _lines()
        console.print(_plain(f"({heard(state, record.going_on) or WELCOME})"))
        while state in ("running", "stopped") and not getattr(sys.stdout, "lost", False):
            line, was = _next(lines), state
            if line and line.strip():
                self._say(record, line, console)
            state = record.state()
            new = queries.postings(record, after=shown, limit=sys.maxsize)
            shown = _print(console, new) or shown
            if line is None:
                return
            if state != was:
                console.print(_plain(f"({heard(state, record.going_on) or WELCOME})"))
            if was == "running" != state:
                return

    def _say(self, record: Record, line: str, console: Console) -> None:
        from ludus.lab.oversight import HELP, say

        try:
            message = say(record, line, self.name)
        except LudusError as error:
            console.print(_plain(f"(not said: {error})"))
        else:
            if message.kind == HELP:
                console.print(message.text)


def _lines() -> queue.SimpleQueue[str | None]:
    """The lines of the standard input as they come, None at its end. Read beside, so that nobody waits for the next one."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with suppress(OSError, ValueError):  # it was closed
            for line in sys.stdin:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next(lines: queue.SimpleQueue[str | None]) -> str | None:
    """The next line; empty if none comes soon."""
    try:
        return lines.get(timeout=POLL_S)
    except queue.Empty:
        return ""


def _print(console: Console, said: Iterable[Posting]) -> int:
    """A message per paragraph; returns the number of the last one, 0 for none."""
    last = 0
    for posting in said:
        at = time.strftime("%H:%M", time.localtime(posting.at))
        pictures = f" [{', '.join(posting.images)}]" if posting.images else ""
        text = _plain(f"{at}  {posting.sender} → {posting.addressee}: {posting.text}{pictures}")
        console.print(text.replace("\n", "\n       "))
        last = posting.number
    return last


def _plain(text: str) -> str:
    from ludus.views.text import clean

    return clean(text)
