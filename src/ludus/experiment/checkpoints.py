"""Where a record's checkpoints lie: one per committed training step, of which three at most are kept."""

from __future__ import annotations

from pathlib import Path

from ludus.record import Record
from ludus.types import LudusError


def training_steps(record: Record) -> list[str]:
    """The committed training steps, in order."""
    return [s.name for s in record.steps() if "/train/" in s.name]


def name_of(step: str) -> str:
    """Of the checkpoint of a training step, in the run's directory."""
    return f"checkpoints/{step.replace('/', '-')}.pt"


def latest(record: Record) -> Path:
    """The checkpoint of the last committed training step: where training goes on.

    Raises:
        LudusError: nothing was trained yet.
    """
    return record.file(name_of(_last(record)))


def best(record: Record) -> Path:
    """The checkpoint of the policy that acts: the one that was promoted last, see `ludus.experiment.settling`; before that, the
    last one before the rounds; in a record without rounds, the last one.

    Raises:
        LudusError: nothing was trained yet.
    """
    return record.file(name_of(best_step(record)))


def best_step(record: Record) -> str:
    """The training step of `best`."""
    promoted = [record.result(s.name)["best"] for s in record.steps() if s.name.endswith("/settle")]
    pretrained = [s for s in training_steps(record) if s.startswith("pretrain")]
    return [_last(record), *pretrained, *promoted][-1]


def prune(record: Record) -> None:
    """Delete all checkpoints but the last one, the best one and the one before the rounds."""
    steps, there = training_steps(record), record.names("checkpoints")
    pretrained = [s for s in steps if s.startswith("pretrain")][-1:]
    for step in set(steps) - set(steps[-1:]) - set(pretrained) - {best_step(record)}:
        if name_of(step) in there:
            record.remove_file(name_of(step))


def _last(record: Record) -> str:
    steps = training_steps(record)
    if not steps:
        raise LudusError(f"{record.directory} has no trained policy yet; train first")
    return steps[-1]
