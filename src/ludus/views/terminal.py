"""What a user sees of a run at a terminal or in a log file: progress, questions, status, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ludus.lab.analysis import wilson
from ludus.lab.mailbox import WHO, open_question
from ludus.record import StageState, files
from ludus.record.progress import WAITS
from ludus.record.reader import Reader
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount
from ludus.views import queries, text
from ludus.views.display import LossyStream

# --- progress ----------------------------------------------------------------------------------------------------


class TerminalProgress:
    """Bars of the stages under way; a stage that is finished leaves a line. A log file gets the lines only, and one more where a
    stage begins in which the run waits for somebody.

    Use it as a context manager, and give `show` to whoever reports progress. A terminal, pipe or disk that goes away stops no
    run: what cannot be written is dropped, and the log says so once.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, *times, console=console, disable=not console.is_terminal)
        self._tasks: dict[tuple[str, float], Any] = {}
        self._stream: Any = None

    def __enter__(self) -> TerminalProgress:
        self._stream = self.console.file
        lossy = LossyStream(self._stream, "progress cannot be shown any more (%s); the run goes on")
        self.console.file = cast(Any, lossy)
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        self.console.file = self._stream

    def show(self, stage: StageState) -> None:
        """Draw the stage as it stands now."""
        key, name = (stage.name, stage.started), text.clean(stage.name)
        if stage.finished is not None:
            if key in self._tasks:
                self._bars.remove_task(self._tasks.pop(key))
            seconds = stage.finished - stage.started
            self.console.print(f"{name} ({seconds:.0f} s)", highlight=False, markup=False)
        elif key in self._tasks:
            self._bars.update(self._tasks[key], completed=stage.done, total=stage.total or None)
        else:
            self._tasks[key] = self._bars.add_task(name, completed=stage.done, total=stage.total or None)
            if (
                name.startswith(WAITS) and not self.console.is_terminal
            ):  # who reads a log file sees what a run waits for
                self.console.print(f"{name} ...", highlight=False, markup=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Without bars, as long as someone types."""
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()


class TerminalPerson:
    """Asks a person at the terminal; bars of progress are out of the way meanwhile."""

    def __init__(self, console: Console, progress: TerminalProgress | None = None) -> None:
        self.console, self.progress = console, progress
        with suppress(ImportError):  # not on every system
            import readline  # noqa: F401  arrow keys and history while typing

    def __call__(self, question: str) -> str:
        """The answer to a question.

        Raises:
            LudusError: nobody is there to answer.
        """
        if self.progress is None:
            return self._ask(question)
        with self.progress.paused():
            return self._ask(question)

    def _ask(self, question: str) -> str:
        self.console.print(text.clean(question), markup=False, highlight=False, soft_wrap=False)
        try:
            return self.console.input("> ")
        except (EOFError, OSError):  # OSError: the terminal went away
            raise LudusError(
                "nobody answers at the terminal; `ludus resume` in one, or name another experimenter"
            ) from None


# --- status ------------------------------------------------------------------------------------------------------


def print_status(record: Reader, console: Console, library: SkillLibrary | None = None) -> None:
    """What came of a run so far, what is running now, and how to go on.

    Args:
        library: the run's; needed for a line about each family of skills that grew.
    """
    header, found = queries.run_header(record), queries.conclusion(record)
    status = found.status

    def say(line: str) -> None:
        console.print(text.clean(line), markup=False, highlight=False)

    say(f"{header.directory}: {text.first_line(found)}")
    say(f"  seed {header.seed}, {_steps(status.steps)} done")
    for phase in queries.phase_times(record):
        say(f"  {phase.name:24} {_steps(phase.steps, 4):10} {phase.seconds:8.1f} s")
    if calls := queries.model_calls(record):
        total = calls.total
        tokens = total.tokens_in + total.tokens_out
        say(f"  {total.calls} calls to models, {tokens:,} tokens; USD: {text.price(total)}")
    if library is not None:
        for family in queries.families(record, library):
            say(f"  grown: {text.family(family)}")
    for posting in _latest(queries.chat(record), 5):
        say(f"  {posting.sender}: {posting.text[:200]}")
    for line in _outlook(header, status):
        say(line)
    if status.state in ("running", "stopped") and (question := open_question(record)):
        door = "ludus mcp" if question.addressee == "agent" else "ludus chat"
        say(f"waits for {WHO[question.addressee]} to answer {question.name!r}: {door} {files.typed(header.directory)}")


def _steps(n: int, width: int = 0) -> str:
    return f"{n:{width}} step{'' if n == 1 else 's'}"


def _latest(chat: queries.Chat, n: int) -> Sequence[queries.Posting]:
    postings = sorted((p for topic in chat.topics for p in topic.postings), key=lambda p: p.number)
    return postings[-n:]


def _outlook(header: queries.RunHeader, status: queries.RunStatus) -> Iterator[str]:
    """What is running, or what to do next."""
    here = files.typed(header.directory)
    for c in status.collections:
        yield f"collected {c.made} of {c.asked} episodes under the name {c.name!r}"
    if status.error:
        yield f"failed: {status.error}"
    if status.state == "running":
        stages = "; ".join(f"{s.name} {s.done:,} of {s.total:,}" if s.total else s.name for s in status.stages)
        yield f"running{': ' if stages else ''}{stages}"
    elif header.kind == "collection":
        yield "the same command goes on, another --name adds more episodes"
    elif header.kind == "exam":
        yield "the same `ludus exam` asks only what was not answered yet"
    elif status.state == "done":
        yield f"done; more rounds: {text.more_rounds(header)}" if header.kind == "experiment" else "done"
    elif status.diverged:
        what = f"`ludus eval {here}` and `ludus train NEW --init {here}` take its best checkpoint"
        yield f"diverged, and would again; {what}, if it came to one"
    else:
        yield f"not done; continue with: ludus resume {here}"


def print_runs(summaries: Sequence[queries.RunSummary], console: Console, where: Path | str) -> None:
    """A line per run, by the name that commands take: that of its directory, or its id in a database. Why a run cannot be read
    follows the table.

    Args:
        where: the folder or database of the runs.
    """
    shown = str(sa.make_url(str(where)) if "://" in str(where) else where)  # a URL without its password
    if not summaries:
        console.print(_plain(f"no runs in {shown}"))
        return
    longest = max(len(s.name) for s in summaries)
    name = Column("run", min_width=longest)  # is copied, and so not broken
    table = Table(name, "began", "kind", "world", "seed", "episodes", "updates", "state", box=None, pad_edge=False)
    for s in summaries:
        if s.header is None or s.conclusion is None:
            cells = [*["–"] * 6, "unreadable" if s.version is None else _version(s.version)]
        else:
            h = s.header
            numbers = (str(h.seed), f"{h.episodes:,}", f"{h.updates:,}")
            cells = [text.when(h.created), h.kind, h.world, *numbers, text.state(s.conclusion)]
        table.add_row(*(_plain(cell) for cell in (s.name, *cells)))
    console.print(table)
    for s in summaries:
        if s.error and s.version is None:
            console.print(_plain(s.error))


def _version(version: int) -> str:
    return f"version {version}: ludus convert" if version == 1 else f"version {version}: another ludus"


# --- tables ------------------------------------------------------------------------------------------------------


def success_table(title: str, counts: Iterable[SuccessCount]) -> Group:
    """Success rates with 95 % Wilson intervals, below a title, which is a line of its own: a table would break it."""
    table = Table("skill", "at the end", "95 % interval", "once", "95 % interval", "n")
    for count in counts:
        cells = []
        for successes in (count.successes, count.successes_once):
            low, high = wilson(successes, count.n)
            cells += [f"{successes / count.n:.3f}" if count.n else "–", f"{low:.2f}–{high:.2f}"]
        table.add_row(_plain(count.caption), *cells, str(count.n))
    return Group(_plain(title), table)


def _plain(cell: str) -> Text:
    """Text that rich shows as it stands, brackets included."""
    return Text(text.clean(cell))
