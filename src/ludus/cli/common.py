"""What several commands share: how options are written, where runs lie, what an interruption means."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from ludus.types import LudusError

RUNS = Path("runs")
SETTING = re.compile(r"[a-z0-9_.]+=")
"""How a setting begins on the command line. No option takes such a value."""

Overrides = tyro.conf.Positional[tuple[str, ...]]
Many = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
"""Values behind one option or several of the same name, see `listed`."""


# --- reading options ---------------------------------------------------------------------------------------------


def listed(given: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All values of an option, which may be repeated, followed by several values, or by a list with commas or semicolons."""
    return tuple(x.strip() for several in given for text in several for x in re.split("[,;]", text) if x.strip())


def numbers(option: str, given: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """As `listed`, but numbers.

    Raises:
        LudusError: one is none.
    """
    try:
        return tuple(float(x) for x in listed(given))
    except ValueError as error:
        raise LudusError(f"{option}: {error}; give numbers such as 0.5") from None


def play_all(experimenter: str) -> list[str]:
    """Settings by which `experimenter` plays every role."""
    from ludus.config import ROLES

    return [f"experimenter.{role}={experimenter}" for role in ROLES]


def latest() -> Path:
    """The run under runs/ that was written to last.

    Raises:
        LudusError: there is none.
    """
    from ludus.record.runs import holds_run

    def written(directory: Path) -> float:
        return max(path.stat().st_mtime for path in directory.iterdir())

    runs = sorted(filter(holds_run, RUNS.iterdir()), key=written) if RUNS.is_dir() else []
    if not runs:
        raise LudusError(f"no run under {RUNS}/; start one with `ludus run`, or name its directory")
    return runs[-1]


# --- writing files -----------------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError inside becomes a sentence that names `path`."""
    try:
        yield
    except OSError as error:
        raise LudusError(f"cannot write {path}: {error.strerror}; choose another place") from error


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written before the work of hours, not after it."""
    new = not path.exists()
    with writing(path), path.open("ab"):
        if new:
            path.unlink()


def command_line() -> str:
    """What was typed, for the record."""
    return " ".join(["ludus", *sys.argv[1:]])


# --- runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terminal:
    """What a command shows and asks while it works."""

    console: Console
    show: Callable[[Any], None]
    """Is told of every stage's progress, see `ludus.record.progress.Progress`."""
    person: Callable[[str], str]
    """Puts a text before the person at the terminal and returns the answer."""


@contextmanager
def terminal(console: Console, go_on: str | None) -> Iterator[Terminal]:
    """Progress is shown inside. Ctrl-C or SIGTERM end the process with exit status 130 and a sentence on how to go on;
    with None, that nothing of it is kept. Nothing is kept outside committed steps, so a second signal during the
    clean-up loses nothing either."""
    from ludus.views.terminal import TerminalPerson, TerminalProgress

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with TerminalProgress(console) as display:
            yield Terminal(console, display.show, TerminalPerson(console, display))
    except KeyboardInterrupt:
        kept = f"all finished steps are kept. Continue with: {go_on}" if go_on else "nothing of it is kept."
        console.print(f"\nInterrupted; {kept}")
        raise SystemExit(130) from None
