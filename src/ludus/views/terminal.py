"""What a user sees of a run at work: lines of progress, and how far it has come."""

from __future__ import annotations

import re

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ludus.data.store import EpisodeStore
from ludus.record import Record
from ludus.views.report import price


class Task:
    """A line of progress; as a context manager it yields the function that advances it."""

    def __init__(self, progress: Progress, what: str, total: int):
        self.progress = progress
        self.task = progress.add_task(what, total=total)

    def __enter__(self):
        return lambda n: self.progress.advance(self.task, n)

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self.progress.update(self.task, completed=self.progress.tasks[self.task].total)
            if not self.progress.console.is_terminal:  # a log file gets a line per finished task
                task = self.progress.tasks[self.task]
                self.progress.console.print(f"{task.description} ({task.elapsed or 0:.0f} s)", highlight=False)


def print_status(record: Record, console: Console) -> None:
    """What a run has done so far."""
    steps = record.steps()
    parts: dict[str, tuple[int, float]] = {}
    for step in steps:
        part = step.name.rsplit("/", 1)[0]
        n, seconds = parts.get(part, (0, 0.0))
        parts[part] = n + 1, seconds + step.seconds
    console.print(f"{record.directory}: seed {record.seed}, {len(steps)} steps done")
    for part, (n, seconds) in parts.items():
        console.print(f"  {part:24} {n:4} steps {seconds:8.1f} s", highlight=False)
    if calls := record.calls():
        tokens = sum(c["tokens_in"] + c["tokens_out"] for c in calls)
        console.print(f"  {len(calls)} calls to models, {tokens:,} tokens; USD: {price(calls)}", highlight=False)
    posts = record.posted()
    for posted in posts[-5:]:
        console.print(f"  {posted.message.sender}: {posted.message.text[:200]}", markup=False, highlight=False)
    if record.done("measure/after") or record.done("end"):
        console.print("finished")
    elif any(s.name.startswith("collect/") for s in steps):
        rows = EpisodeStore(record).rows()
        for name in [m[1] for s in steps if (m := re.fullmatch("collect/(.+)/request", s.name))]:
            made = len({row.seed for row in rows if row.step.startswith(f"collect/{name}/")})
            asked = record.result(f"collect/{name}/request")["seed_data"]["episodes"]
            console.print(f"collected {made} of {asked} episodes under the name {name!r}", highlight=False)
        console.print("the same `ludus collect` goes on, another --name collects more")
    elif posts and posts[-1].message.kind == "diverged":
        what = (
            f"`ludus eval {record.directory}` and `ludus train NEW --init {record.directory}` take its last checkpoint"
        )
        console.print(f"diverged, and would again; {what}, if it came to one", highlight=False)
    else:
        console.print(f"not finished; continue with: ludus resume {record.directory}")


def show_progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # a log file has a line per finished task (`Task`) instead
    off = not console.is_terminal
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=off)
