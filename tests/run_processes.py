"""Runs as processes of their own, and what they have come to in the end: bit for bit."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

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
    """All rows but that of the run, which says how it was collected, and the hashes of shards and of what checkpoints hold."""
    with Record.open(directory, write=False) as record:
        rows = {k: v for k, v in record.content().items() if k != "runs"}
        found = [p for folder in ("shards", "checkpoints") for p in record.path(folder).rglob("*") if p.is_file()]
        return rows, {str(p.relative_to(directory)): _hash(p) for p in sorted(found)}


def _hash(path: Path) -> str:
    """Of a checkpoint, of all tensors and values in it. The file says besides which of its objects are the same one in memory,
    which may differ once a trainer was read from a file: then the same values are written in other bytes."""
    if path.suffix != ".pt":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for text in _values(torch.load(path, map_location="cpu", weights_only=False)):
        digest.update(text)
    return digest.hexdigest()


def _values(held: Any) -> Iterator[bytes]:
    if isinstance(held, torch.Tensor):
        yield (
            f"{held.dtype} {tuple(held.shape)}".encode()
            + held.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    elif isinstance(held, dict):
        for key, value in held.items():
            yield repr(key).encode()
            yield from _values(value)
    elif isinstance(held, list | tuple):
        yield f"{type(held)} {len(held)}".encode()
        for value in held:
            yield from _values(value)
    else:
        yield repr(held).encode()


def committed(directory: Path) -> int:
    """How many tasks of a collection are in the record."""
    try:
        with Record.open(directory, write=False) as record:
            return sum("/0" in s.name for s in record.steps())
    except LudusError:
        return 0
