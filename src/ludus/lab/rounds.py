"""How many rounds a run has: what its settings say, until somebody says otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable

import sqlalchemy as sa

from ludus.lab.oversight import COMMAND, LAST_STEP, MOST_ROUNDS, PERSON, interventions, new_key
from ludus.lab.standing import standing
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.record.record import Record
from ludus.types import LudusError, Message


def planned_rounds(record: Reader) -> int:
    """How many rounds a run has at most."""
    said = standing(interventions(record)).rounds
    return record.config.experiment.rounds if said is None else said


def begun_rounds(record: Reader) -> int:
    """How many rounds have begun."""
    s = tables.steps.c
    rows = record.query(sa.select(s.name).where(s.run_id == record.run_id, s.name.startswith("round/")))
    return last_round(row["name"] for row in rows)


def last_round(steps: Iterable[str]) -> int:
    """The last round that has begun by the names of a run's steps; 0 for none. One that was only asked for ahead has not."""
    return max((int(m[1]) for step in steps if (m := re.match(r"round/(\d+)/(?!ahead$)", step))), default=0)


def ask_for_rounds(record: Record, n: int) -> None:
    """Say that the run has n rounds in all, also to one that is over, which then goes on. Open it for writing.

    Raises:
        LudusError: fewer than it has behind it; of a run that is over, no more than these.
    """
    if n > MOST_ROUNDS:
        raise LudusError(f"experiment.rounds={n}: give at most {MOST_ROUNDS:,}")
    begun, is_over = begun_rounds(record), record.done(LAST_STEP)
    if n < max(1, begun + is_over):
        more = f"; for another one say experiment.rounds={begun + 1}" if is_over else ""
        raise LudusError(f"experiment.rounds={n}, but round {begun} of {record.directory} has begun{more}")
    about = {"command": "rounds", "argument": str(n)}
    record.post(Message(new_key(), PERSON, "loop", COMMAND, f"/rounds {n}", payload=about))
