"""Where a record's checkpoints lie: one per committed training step, of which two are kept."""

from __future__ import annotations

from pathlib import Path

from ludus.record import Record
from ludus.types import LudusError


def training_steps(record: Record) -> list[str]:
    """The committed training steps, in order."""
    return [s.name for s in record.steps() if "/train/" in s.name]


def path_of(record: Record, step: str) -> Path:
    return record.path("checkpoints", f"{step.replace('/', '-')}.pt")


def latest(record: Record) -> Path:
    """The checkpoint of the last committed training step.

    Raises:
        LudusError: nothing was trained yet.
    """
    steps = training_steps(record)
    if not steps:
        raise LudusError(f"{record.directory} has no trained policy yet; train first")
    return path_of(record, steps[-1])


def prune(record: Record) -> None:
    """Delete all checkpoints but the last one and the one before the rounds."""
    steps = training_steps(record)
    pretrained = [s for s in steps if s.startswith("pretrain")][-1:]
    for step in set(steps) - set(steps[-1:]) - set(pretrained):
        path_of(record, step).unlink(missing_ok=True)
