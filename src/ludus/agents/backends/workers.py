"""Who computes the gradients: this process, or several that share the networks' memory.

Python's lock keeps threads of one process from more than about 2.4 cores on networks this small; processes use all of
them. A batch is always split into the same number of parts and their gradients are added in the same order, so that the
result does not depend on how many processes there are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from ludus.agents.pac.agent import Inputs, Shard
from ludus.agents.pac.networks import ActorCritic, actor_critic
from ludus.config import AgentConfig
from ludus.types import LudusError, WorldSpec


@dataclass
class Job:
    """All that a process needs to compute its parts; tensors lie in memory that all share."""

    config: AgentConfig
    spec: WorldSpec
    seed: int
    precision: str
    threads: int  # of torch, in each of several processes
    online: Tensor  # [n_parameters], what the networks' parameters are views of
    target: Tensor
    gradients: Tensor  # [parts, n_parameters]
    inputs: tuple[Inputs, Inputs]  # this batch and the next
    sizes: tuple[int, int]  # of task and object rows


class Worker:
    """Computes some parts of every batch.

    Commands come in pairs, in order: `prepare` a batch, then its `gradient`; the next batch may be prepared between.
    """

    def __init__(self, job: Job, parts: Sequence[int]):
        self.job, self.parts = job, list(parts)
        networks = [actor_critic(job.config, *job.sizes, len(job.spec.actions)) for _ in range(2)]
        online, target = (flatten(n, flat) for n, flat in zip(networks, (job.online, job.target), strict=True))
        self.shard = Shard(job.config, job.spec, job.seed, online, target.requires_grad_(False), job.precision)

    def prepare(self, slot: int, update: int) -> None:
        for part in self.parts:
            self.shard.prepare(self.job.inputs[slot], update, part, len(self.job.gradients))

    def gradient(self) -> list[dict[str, float]]:
        found = []
        for part in self.parts:
            gradient, metrics = self.shard.gradient(part)
            torch.cat([g.flatten() for g in gradient], out=self.job.gradients[part])
            found.append({k: float(v) for k, v in metrics.items()})
        return found


class Here:
    """The crew of one: this process."""

    def __init__(self, job: Job, parts: Sequence[int]):
        self._worker = Worker(job, parts)
        self._metrics: list[dict[str, float]] = []

    def prepare(self, slot: int, update: int) -> None:
        self._worker.prepare(slot, update)

    def prepared(self) -> None: ...

    def gradient(self) -> None:
        self._metrics = self._worker.gradient()

    def gradients(self) -> tuple[list[dict[str, float]], float]:
        return self._metrics, 0.0

    def close(self) -> None: ...


class Crew:
    """Several processes; the parts are dealt out to them evenly. Same commands as `Here`, which return at once; the
    past participles wait.

    Raises:
        LudusError: a process failed or died.
    """

    def __init__(self, job: Job, processes: int):
        context = mp.get_context("spawn")
        n = len(job.gradients)
        self._links: list[Connection] = []
        self._processes = []
        for i in range(processes):
            ours, theirs = context.Pipe()
            parts = range(i * n // processes, (i + 1) * n // processes)
            process = context.Process(target=_serve, args=(theirs, job, parts), daemon=True, name=f"learner-{i}")
            process.start()
            theirs.close()
            self._links.append(ours)
            self._processes.append(process)

    def prepare(self, slot: int, update: int) -> None:
        self._tell(("prepare", slot, update))

    def prepared(self) -> None:
        self._replies()

    def gradient(self) -> None:
        self._tell(("gradient",))

    def gradients(self) -> tuple[list[dict[str, float]], float]:
        """Metrics of the parts, and when (`perf_counter`) the first process had nothing left to do."""
        replies = self._replies()
        return [m for metrics, _ in replies for m in metrics], min(at for _, at in replies)

    def close(self) -> None:
        for link in self._links:
            link.close()
        for process in self._processes:
            process.join(1)
            process.kill()

    def _tell(self, command: tuple[Any, ...]) -> None:
        for link in self._links:
            try:
                link.send(command)
            except OSError:
                raise self._died() from None

    def _replies(self) -> list[tuple[Any, float]]:
        replies = []
        for link in self._links:
            try:
                reply, at = link.recv()
            except (EOFError, OSError):
                raise self._died() from None
            if isinstance(reply, Exception):
                raise reply
            replies.append((reply, at))
        return replies

    def _died(self) -> LudusError:
        return LudusError(
            f"one of {len(self._processes)} learning processes died, for want of memory or because a script of your own "
            "starts them without `if __name__ == '__main__':`; the last checkpoint is kept: free some memory, or lower "
            "training.processes, and resume"
        )


def _serve(link: Connection, job: Job, parts: Sequence[int]) -> None:
    torch.set_num_threads(job.threads)
    try:
        worker = Worker(job, parts)
        while True:
            command, *arguments = link.recv()
            reply = getattr(worker, command)(*arguments)
            link.send((reply, time.perf_counter()))
    except (EOFError, OSError, KeyboardInterrupt):
        return  # the learner is gone, or going
    except Exception as error:
        link.send((error, 0.0))


def flatten(network: ActorCritic, flat: Tensor) -> ActorCritic:
    """Make the network's parameters views of `flat` `[n_parameters]`, in their order; they take its values."""
    start = 0
    for parameter in network.parameters():
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return network
