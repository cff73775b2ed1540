"""Several processes that train one network, started by `torchrun`: the first leads and writes, the others follow.

Every rank draws the same batches, learns from its share of their parts, and adds up gradients with the others
(`Learner`). What to do next comes from the leader.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist


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


def started() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: str) -> int:
    """Meet the others; returns this process's rank."""
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return dist.get_rank()


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def tell(work: Work | None) -> None:
    """The leader to the others; None: there is no more. Alone, nothing."""
    if dist.is_available() and dist.is_initialized() and dist.get_rank() == 0:
        dist.broadcast_object_list([work], src=0)


def listen() -> Work | None:
    """What the leader told."""
    told: list[Any] = [None]
    dist.broadcast_object_list(told, src=0)
    return told[0]
