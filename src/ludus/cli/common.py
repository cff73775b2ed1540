"""What several commands share: how options are written, where runs lie, what an interruption means."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.console import Console

from ludus.types import LudusError

if TYPE_CHECKING:
    from ludus.record import Record

RUNS = Path("runs")
SHOW_CURSOR = "\x1b[?25h"
"""What a terminal is told so that it shows its cursor, which bars of progress hide."""
INTERRUPTED = 130
"""Exit status after a signal: 128 and the number of SIGINT, as of a shell."""

Overrides = tyro.conf.Positional[tuple[str, ...]]
Many = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
"""Values behind one option or several of the same name, see `listed`."""


# --- reading options ---------------------------------------------------------------------------------------------


def is_setting(word: str) -> bool:
    """Whether a word of the command line is a setting. A run may be called 'lr=0.1': there is no setting 'lr'.

    Raises:
        LudusError: it is a setting, and a directory is called like it.
    """
    from ludus.config import Config

    name, equals, _ = word.partition("=")
    if not equals or name.partition(".")[0] not in Config.__dataclass_fields__:
        return False
    if os.path.exists(word):
        raise LudusError(f"{word} is a setting, and the name of what is there: write ./{word} if that is meant")
    return True


def settings_apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are no settings, and those that are. Settings may stand anywhere: behind `--data RUN` they would be read as
    runs."""
    settings = [word for word in words if is_setting(word)]
    return [word for word in words if word not in settings], settings


def seeded(command: Any) -> Any:
    """The command with the seed that stands among its settings: `seed=3` means what `--seed 3` does.

    Raises:
        LudusError: it is no seed, or both are given and differ.
    """
    from ludus.config import Config, override

    given = [setting for setting in command.overrides if setting.startswith("seed=")]
    defaults = [option.default for option in fields(command) if option.name == "seed"]
    if not given or not defaults:
        return command
    seed = override(Config(), given).seed
    if command.seed not in (*defaults, seed):
        raise LudusError(f"--seed {command.seed} and seed={seed} are two seeds; give one of them")
    return replace(command, seed=seed)


def listed(option: str, given: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All values of an option, which may be repeated, followed by several values, or by a list with commas or semicolons.

    Raises:
        LudusError: it is given, but without a value.
    """
    values = tuple(x.strip() for several in given for text in several for x in re.split("[,;]", text) if x.strip())
    if given and not values:
        raise LudusError(f"{option} without a caption, name or number; give at least one, or leave it out")
    return values


def numbers(option: str, given: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """As `listed`, but numbers.

    Raises:
        LudusError: one is none, or there is none.
    """
    try:
        return tuple(float(x) for x in listed(option, given))
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
        with suppress(OSError):  # a run that is under way renames its files
            return max(path.stat().st_mtime for path in directory.iterdir())
        return directory.stat().st_mtime

    runs: list[Path] = []
    with suppress(OSError):
        runs = sorted(filter(holds_run, RUNS.iterdir()), key=written)
    if not runs:
        raise LudusError(f"no run under {RUNS}/; start one with `ludus run`, or name its directory")
    return runs[-1]


@dataclass(frozen=True)
class Keeps:
    """Options of a command that begins a run."""

    record: str | None = field(default=None, kw_only=True)
    """Database that keeps the run's rows, and may keep those of others: a URL such as postgresql+psycopg://USER@HOST/NAME (its
    password is taken from PGPASSWORD or ~/.pgpass), or an SQLite file. DIR/ludus.db if not given; the directory remembers it."""


@dataclass(frozen=True)
class Finds:
    """Options of a command that opens a run."""

    record: str | None = field(default=None, kw_only=True)
    """Database that the run's rows are in, where its directory does not say, or where they have moved. The run may then be named
    by its id there; if it is not named, it is the newest one there."""


def named(run: Path | None, record: str | None) -> tuple[Path, str | None]:
    """The directory of a run, and its id where `record` says it. See `Finds`.

    Raises:
        LudusError: no such run, or a database that cannot be read.
    """
    from ludus.record.runs import holds_run, listing
    from ludus.types import unknown

    if record is None or (run is not None and holds_run(run)):
        return run or latest(), None
    with listing(record) as (engine, rows):
        found = {run_id: directory for directory, run_id in rows}
        where = str(engine.url)
    if run is None:
        if not found:
            raise LudusError(f"{where} holds no run; begin one there with `ludus run --record URL`")
        run = Path(list(found)[-1])
    if str(run) not in found:
        raise unknown("run", str(run), tuple(found))
    return found[str(run)], str(run)


def run_id_of(run: Path | None, record: str) -> str | None:
    """The id of a run in a database, see `named`; None: it is the only one there."""
    from ludus.record.location import Location

    directory, run_id = named(run, record)
    place = Location.of(directory, record, run_id)
    return place and place.run_id


def opened_run(run: Path | None, record: str | None, write: bool = False) -> Record:
    """The run that a command names, see `named`: to look at, wherever its directory is, or to continue."""
    from ludus.record import Record

    directory, run_id = named(run, record)
    return Record.open(directory, write=write, url=record, run_id=run_id)


# --- writing files -----------------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError inside becomes a sentence that names `path`."""
    try:
        yield
    except OSError as error:
        raise LudusError(f"cannot write {path}: {error.strerror}; choose another place") from error


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, or must not, before the work of hours, not after it."""
    from ludus.record.runs import is_part_of_run

    if is_part_of_run(path):
        raise LudusError(f"{path} belongs to a run, which could not be read any more; choose another place")
    new = not path.exists()
    with writing(path), path.open("ab"):
        if new:
            path.unlink()


def say(console: Console, sentences: Iterable[str]) -> None:
    """One line each."""
    for sentence in sentences:
        console.print(sentence)


def command_line() -> str:
    """What was typed, for the record."""
    return shlex.join(["ludus", *sys.argv[1:]])


# --- runs --------------------------------------------------------------------------------------------------------


@contextmanager
def interruptible(sentence: str, say: Callable[[str], None]) -> Iterator[None]:
    """Inside, Ctrl-C or SIGTERM end the process with exit status 130 and a sentence. Nothing is kept outside committed steps,
    so a second signal, which ends it at once, loses nothing either. The work goes on when its terminal is closed."""
    received, said = [], False

    def handle(number: int, _: Any) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt
        with suppress(OSError):
            if not said:
                os.write(1, f"{SHOW_CURSOR if os.isatty(1) else ''}\n{sentence}\n".encode("utf-8", "replace"))
        os._exit(INTERRUPTED)

    asked = {signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGHUP: signal.SIG_IGN}
    # `nohup` and shells' background jobs ignore some of them.
    before = {s: signal.signal(s, h) for s, h in asked.items() if signal.getsignal(s) not in (signal.SIG_IGN, None)}
    try:
        yield
    except KeyboardInterrupt:
        say(f"\n{sentence}")
        said = True
        raise SystemExit(INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            if not received and signal.getsignal(number) is asked[number]:
                signal.signal(number, handler)


@dataclass(frozen=True)
class Terminal:
    """What a command shows and asks while it works."""

    console: Console
    show: Callable[[Any], None]
    """Is told of every stage's progress, see `ludus.record.progress.Progress`."""
    person: Callable[[str], str] | None
    """Puts a text before the person at the terminal and returns the answer; None where nobody can be there."""


@contextmanager
def terminal(console: Console, go_on: str | None) -> Iterator[Terminal]:
    """Progress is shown inside. An interruption, see `interruptible`, ends in a sentence on how to go on; with None, that
    nothing of it is kept."""
    from ludus.views.terminal import TerminalPerson, TerminalProgress

    kept = f"all finished steps are kept. Continue with: {go_on}" if go_on else "nothing of it is kept."
    with interruptible(f"Interrupted; {kept}", console.print), TerminalProgress(console) as display:
        yield Terminal(console, display.show, None if _is_unattended() else TerminalPerson(console, display))


def _is_unattended() -> bool:
    """Whether standard input is the null device, as in the background, in a container or under a service manager."""
    try:
        return os.path.samestat(os.fstat(sys.stdin.fileno()), os.stat(os.devnull))
    except (OSError, ValueError):  # of a stream without a file
        return False
