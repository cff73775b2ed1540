"""Runs as processes of their own, and what they have come to in the end: bit for bit."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from ludus.record import Record
from ludus.types import LudusError

DATA = ("--preset", "tiny", "world.n_envs=4", "-n", "24")
"""Six tasks."""
RUN = ("--preset", "tiny", "world.n_blocks=1", "world.n_envs=8", "seed_data.episodes=32", "experiment.rounds=1",
       "experiment.episodes_per_round=32", "experiment.final_episodes=2", "training.updates=20", "training.round_updates=20",
       "training.evaluate_every=20", "training.evaluation_episodes=1")  # fmt: skip
TAKES_S = 400


def begin(*arguments: object, within: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A command of ludus in a process of its own.

    Args:
        within: a command that runs the one that follows it.
    """
    command = [*within, sys.executable, "-m", "ludus.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What the command has printed, on one line, once it has ended with this exit status."""
    said = " ".join(process.communicate(timeout=TAKES_S)[0].split())
    assert process.returncode == code, said
    return said


def content(directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """All rows but that of the run, which says how it was collected, and the hashes of shards and checkpoints."""
    with Record.open(directory, write=False) as record:
        rows = {k: v for k, v in record.content().items() if k != "runs"}
        found = [p for folder in ("shards", "checkpoints") for p in record.path(folder).rglob("*") if p.is_file()]
        return rows, {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(found)}


def committed(directory: Path) -> int:
    """How many tasks of a collection are in the record."""
    try:
        with Record.open(directory, write=False) as record:
            return sum("/0" in s.name for s in record.steps())
    except LudusError:
        return 0
