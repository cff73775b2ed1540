"""What people said while a run went on, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ludus.lab.oversight import COMMAND, EFFECT
from ludus.lab.room import GUIDANCE, REMARK
from ludus.record import tables
from ludus.record.reader import Reader


@dataclass(frozen=True)
class Intervention:
    """A remark or a command of a person, or of whoever else may speak."""

    at: float  # seconds since 1970
    author: str
    kind: str  # REMARK or COMMAND
    text: str
    effects: tuple[str, ...]  # in order; none yet, or never, where it is empty


def interventions(record: Reader) -> tuple[Intervention, ...]:
    """Everything that was said to the run, in order, with its effects. A remark's effect is the first round that showed it."""
    m = tables.messages.c
    rows = record.rows(tables.messages, m.kind.in_((REMARK, COMMAND, EFFECT, GUIDANCE)))
    answers: dict[str, list[str]] = {}
    shown: dict[str, str] = {}  # remark -> the first step that showed it
    for row in rows:
        if row["kind"] == EFFECT:
            answers.setdefault(row["payload"].get("command", ""), []).append(row["text"])
        elif row["kind"] == GUIDANCE:
            for remark in row["payload"]["remarks"]:
                shown.setdefault(remark, row["step"])
    said = [row for row in rows if row["kind"] in (REMARK, COMMAND)]
    return tuple(
        Intervention(row["at"], row["sender"], row["kind"], row["text"], _effects(row, answers, shown)) for row in said
    )


def _effects(row: Mapping[str, Any], answers: Mapping[str, list[str]], shown: Mapping[str, str]) -> tuple[str, ...]:
    if row["kind"] == COMMAND:
        return tuple(answers.get(row["key"], ()))
    step = shown.get(row["text"])
    return () if step is None else (f"Shown to the experimenter with the questions of round {step.split('/')[1]}.",)
