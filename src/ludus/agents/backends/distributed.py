"""Several processes that train one network, started by `torchrun`: the first leads and writes, the others follow.

Every rank draws the same batches, learns from its share of their parts, and adds up gradients with the others
(`Learner`). What to do next comes from the leader.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from ludus.types import LudusError


@dataclass(frozen=True)
class Work:
    """What all ranks are to do together."""

    updates: int
    checkpoint: str | None
    """Where the learner stands; None: at its beginning."""
    sampler: dict[str, int]
    """Where the sampler stands."""
    schedule: int
    """Length of the learning-rate schedule, in updates."""


@dataclass(frozen=True)
class Gather:
    """The leader wants to act with the network or to save it."""


def started() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: str) -> int:
    """Meet the others; returns this process's rank."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # NCCL sends objects by way of the current one
    if not dist.is_initialized():
        # The others wait for as long as the first measures; where one dies, torchrun ends them all.
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=timedelta(days=1))
    return dist.get_rank()


def joined() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized()


def check(sharded: bool) -> None:
    """
    Raises:
        LudusError: a network is to be cut up where there is only one process.
    """
    if sharded and not joined():
        raise LudusError(
            "training.sharded=true cuts the networks up for several processes, this is one; start them with `torchrun "
            "--nproc-per-node 4 -m ludus.cli train ...`, or go on in one with training.sharded=false"
        )


def leave() -> None:
    if joined():
        dist.destroy_process_group()


def tell(work: Work | Gather | None) -> None:
    """The leader to the others; None: there is no more. Alone, nothing."""
    if joined() and dist.get_rank() == 0:
        dist.broadcast_object_list([work], src=0)


def listen() -> Work | Gather | None:
    """What the leader told."""
    told: list[Any] = [None]
    dist.broadcast_object_list(told, src=0)
    return told[0]
