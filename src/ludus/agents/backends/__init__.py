"""Where gradients are computed: in this process, in worker processes, or on the ranks of a process group."""

from __future__ import annotations

import logging

import torch
from torch import nn

from ludus import machine
from ludus.agents.backends import process_group
from ludus.agents.backends.base import Backend
from ludus.agents.backends.captured import CapturedBackend
from ludus.agents.backends.local import LocalBackend
from ludus.agents.backends.workers import NoSharedMemory, WorkersBackend
from ludus.agents.base import AgentSpec
from ludus.config import TrainingConfig

logger = logging.getLogger("ludus")

MAX_WORKER_PARAMETERS = 20_000_000
"""Up to this many parameters several processes learn faster than several threads of one, or as fast and without waiting
for each other on busy cores."""


def make_backend(
    spec: AgentSpec, seed: int, network: nn.Module, device: torch.device, training: TrainingConfig
) -> Backend:
    """The backend that the settings ask for; takes the network over.

    Raises:
        LudusError: under a process group, fewer microbatches than ranks; no memory to share for as many processes as were
            asked for.
    """
    n = min(training.microbatches, spec.config.batch_size)
    if process_group.is_member():
        from ludus.agents.backends import distributed  # with torch's checkpoints of sharded weights, over a second

        if training.sharded:
            return distributed.ShardedBackend(spec, seed, network, device, n)
        return distributed.DataParallelBackend(spec, seed, network, device, n, distributed.share(n))
    processes = min(n, training.processes or _cores(network, device))
    if processes > 1:
        try:
            return WorkersBackend(spec, seed, network, device, n, processes, training.threads)
        except NoSharedMemory as error:
            if training.processes:
                raise
            logger.warning("learning in one process: %s", error)
    return (CapturedBackend if device.type == "cuda" else LocalBackend)(spec, seed, network, device, n)


def _cores(network: nn.Module, device: torch.device) -> int:
    """As many processes as cores, for networks too small to keep torch's own threads busy."""
    small = sum(p.numel() for p in network.parameters()) < MAX_WORKER_PARAMETERS and device.type == "cpu"
    return machine.cores() if small else 1
