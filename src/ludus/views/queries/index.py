"""Which runs there are, each in short; a still shorter line, from few rows, for a list of hundreds; and whether a run has
anything new."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from ludus.config import ROLES
from ludus.lab.rounds import planned_rounds
from ludus.record import Record, holds_run, tables
from ludus.record.database import OtherVersion
from ludus.record.reader import Reader, RunState
from ludus.record.runs import listing
from ludus.types import LudusError
from ludus.views.queries.conclusion import Conclusion, conclusion
from ludus.views.queries.runs import RunHeader, run_header


@dataclass(frozen=True)
class RunLine:
    """A run in a list. One that cannot be read has an `error` and nothing else."""

    name: str  # of its directory
    state: RunState | None
    world: str
    experimenter: tuple[str, ...]  # who plays the roles, each once
    seed: int
    settings: Mapping[str, Any]  # those that are not the default: 'world.n_blocks' -> 2
    created: float  # seconds since 1970
    rounds: int  # begun
    rounds_planned: int
    episodes: int
    accepted: int  # skills that were written in the run, and accepted
    error: str | None = None


def run_line(record: Reader) -> RunLine:
    """The line of a run."""
    config = record.config
    s, e, c = tables.steps.c, tables.shards.c, tables.skill_changes.c
    steps = record.query(sa.select(s.name).where(s.run_id == record.run_id, s.name.startswith("round/")))
    episodes = record.query(sa.select(sa.func.sum(e.episodes).label("n")).where(e.run_id == record.run_id))
    changes = record.query(sa.select(c.caption, c.status).where(c.run_id == record.run_id).order_by(c.number))
    return RunLine(
        record.directory.name or record.directory.resolve().name,  # a link lends its name
        record.state(),
        config.world.name,
        tuple(dict.fromkeys(getattr(config.experimenter, role) for role in ROLES)),
        record.seed,
        record.settings,
        record.created,
        max((int(m[1]) for row in steps if (m := re.match(r"round/(\d+)/", row["name"]))), default=0),
        planned_rounds(record),
        episodes[0]["n"] or 0,
        list({row["caption"]: row["status"] for row in changes}.values()).count("accepted"),
    )


def broken_line(name: str, error: str) -> RunLine:
    """The line of a run that cannot be read."""
    return RunLine(name, None, "", (), 0, {}, 0.0, 0, 0, 0, 0, error)


def differing(lines: Sequence[RunLine]) -> tuple[str, ...]:
    """The settings in which these runs differ."""
    settings = [line.settings for line in lines if line.error is None]
    names = dict.fromkeys(name for each in settings for name in each)
    return tuple(n for n in names if any(n not in each or each[n] != settings[0].get(n) for each in settings))


@dataclass(frozen=True)
class Pulse:
    """Changes with whatever a run commits, posts or reports; cheap enough to be asked every second."""

    state: RunState
    step: int  # number of the last step that was committed
    message: int  # of the last message
    progress: float  # when a stage was last reported, seconds since 1970


def pulse(record: Reader) -> Pulse:
    """The run as it is now; 0 where there is nothing yet."""

    row = record.query(sa.select(*(_last(table, column, sa.literal(record.run_id)) for table, column in MARKS)))[0]
    return Pulse(record.state(), *(value or 0 for value in row.values()))


MARKS = ((tables.steps, "number"), (tables.messages, "number"), (tables.stages, "updated"))
"""Columns whose last value changes with whatever a run commits, posts or reports."""


def marks(engine: sa.Engine, run_ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Of runs of one database that are in it: what changes with whatever they commit, post or report, and when they began."""
    r = tables.runs.c
    query = sa.select(r.run_id, r.created, *(_last(table, column, r.run_id) for table, column in MARKS))
    with engine.connect() as connection:
        rows = connection.execute(query.where(r.run_id.in_(run_ids), r.schema == tables.SCHEMA)).all()
    return {row[0]: tuple(row[1:]) for row in rows}


def _last(table: sa.Table, column: str, run_id: sa.ColumnElement[str]) -> sa.Label:
    query = sa.select(table.c[column]).where(table.c.run_id == run_id)
    # not max(...), for which SQLite reads every row of the run
    return query.order_by(table.c[column].desc()).limit(1).scalar_subquery().label(table.name)


# --- which runs there are ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunSummary:
    """A line in a list of runs; what cannot be read has an `error` and neither header nor conclusion."""

    name: str  # of its directory; in a database its id there
    header: RunHeader | None
    conclusion: Conclusion | None
    error: str | None = None
    version: int | None = None  # of its record, where that is why it cannot be read


def runs(where: Path | str) -> tuple[RunSummary, ...]:
    """The runs of a folder or of a database, the oldest first; those that cannot be read are last. The runs of a database
    are read from their rows alone: their directories may be on other machines.

    Args:
        where: a folder of run directories, or the URL of a database.

    Raises:
        LudusError: a database that cannot be read.
    """
    if isinstance(where, Path):
        directories = [path for path in sorted(where.iterdir()) if holds_run(path)]
        found = [_summary(d.name, lambda d=d: Record.open(d, write=False)) for d in directories]
    else:
        with listing(where) as (engine, rows):
            found = [_summary(id, lambda d=d, id=id: nullcontext(Reader(d, engine, id))) for d, id in rows]
    return tuple(sorted(found, key=lambda s: (s.header is None, s.header.created if s.header else 0.0)))


def _summary(name: str, opened: Callable[[], AbstractContextManager[Reader]]) -> RunSummary:
    try:
        with opened() as record:
            return RunSummary(name, run_header(record), conclusion(record))
    except (LudusError, DatabaseError) as error:
        version = error.version if isinstance(error, OtherVersion) else None
        return RunSummary(name, None, None, str(error), version)
