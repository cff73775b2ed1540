"""The processes that `torchrun` starts: the first (rank 0) keeps the record and tells the others what to do next.

Every rank draws the same batches and computes gradients of its share of their microbatches (`distributed`).
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ludus.types import LudusError


@dataclass(frozen=True)
class Make:
    """Command: make the trainer, together with rank 0, which does the same now: sharded weights are loaded collectively."""

    checkpoint: str | None
    """Where it stands; None: at its beginning."""


@dataclass(frozen=True)
class Fit:
    """Command: train."""

    updates: int
    sampler: dict[str, int]
    """Where the sampler stands."""
    cycle_start: int
    """Update at which the cycle of the learning-rate schedule began."""
    total_updates: int
    """Length of the cycle."""


@dataclass(frozen=True)
class Gather:
    """Command: call `Trainer.gather`, since rank 0 wants to act with the network or to save it."""


Command = Make | Fit | Gather


def launched() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def init(device: str) -> int:
    """Join the process group; returns this process's rank."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # NCCL sends objects by way of the current one
    if not dist.is_initialized():
        # Imported while there is a group, it would keep the group and its threads (see `shutdown`).
        import ludus.agents.backends.distributed  # noqa: F401

        # The others wait for as long as rank 0 evaluates; where one dies, torchrun ends them all.
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=timedelta(days=1))
    return dist.get_rank()


def is_member() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized()


def check(sharded: bool) -> None:
    """
    Raises:
        LudusError: a network is to be sharded where there is only one process.
    """
    if sharded and not is_member():
        raise LudusError(
            "training.sharded=true shards the networks over several processes, this is one; start them with `torchrun "
            "--nproc-per-node 4 -m ludus.cli train ...`, or go on in one with training.sharded=false"
        )


def shutdown() -> None:
    """Leave the process group, if any, and end its threads.

    DTensor's caches (of sharding propagation, redistribution and mesh topology) keep device meshes, and a mesh keeps the process
    group in its registry. Without this, gloo's threads would outlive `destroy_process_group` after a sharded training and
    still run while the interpreter and C++'s static objects end, the likely cause of a rank's abort at exit ('terminate
    called without an active exception').
    """
    if not is_member():
        return
    gc.collect()  # networks with hooks are circles, and hold the group, too
    for mesh in [x for x in gc.get_objects() if type(x).__name__ == "DeviceMesh"]:
        getattr(mesh, "_pg_registry", {}).clear()
    dist.destroy_process_group()


def broadcast(command: Command | None) -> None:
    """Rank 0 to the others; None: there is no more to do. Without a process group, nothing."""
    if is_member() and dist.get_rank() == 0:
        dist.broadcast_object_list([command], src=0)


def receive() -> Command | None:
    """What rank 0 broadcast."""
    received: list[Any] = [None]
    dist.broadcast_object_list(received, src=0)
    return received[0]
