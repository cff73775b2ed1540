"""Gradients in several processes of one machine that share the networks' memory.

Python's lock keeps the threads of one process from more than about 2.4 cores on networks as small as these; processes use
all of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from ludus import machine
from ludus.agents.backends.base import Info, Microbatches, numbers
from ludus.agents.backends.local import LocalBackend, flatten, write_gradients
from ludus.agents.base import AgentSpec
from ludus.agents.batches import TensorBatch
from ludus.types import LudusError

JOIN_TIMEOUT_S = 1.0
"""How long a worker gets to end by itself."""
SIGNAL_S = 0.5
"""How long a signal to all processes of a run may take from one to the next."""
SHARED = "/dev/shm"
"""Where Linux keeps the memory that torch lets processes share. Docker makes it 64 MB unless told otherwise."""
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""Lets glibc (2.35 and later; others do not read it) ask Linux for pages of 2 MB: activations are allocated anew by every
operation, and a twentieth of the time went into pages of 4 KB (docs/log.md)."""


class NoSharedMemory(LudusError):
    """Too little of the memory that processes share."""


@contextmanager
def _sharing(what: str) -> Iterator[None]:
    """
    Raises:
        NoSharedMemory: there was no room for `what`.
    """
    try:
        yield
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        size = shutil.disk_usage(SHARED).total / 1e6 if os.path.isdir(SHARED) else 0
        raise NoSharedMemory(
            f"no room for {what} in the memory that processes share, {size:,.0f} MB in {SHARED}; make that larger (docker "
            "run --shm-size=2g), or give training.processes=1"
        ) from error


@dataclass
class WorkerTask:
    """What a worker process is given; tensors lie in memory that all processes share."""

    spec: AgentSpec
    seed: int
    threads: int  # of torch
    online: Tensor  # [n_parameters], which the networks' parameters are views of
    target: Tensor  # [n_parameters]
    gradients: Tensor  # [microbatches, n_parameters]
    batches: tuple[TensorBatch, TensorBatch]  # this update's and the next one's, in turns


class WorkersBackend(LocalBackend):
    """Worker processes compute the microbatches, dealt out evenly. Commands return at once.

    Raises:
        NoSharedMemory: too little of it for the networks.
        LudusError: a worker failed or died.
    """

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        network: nn.Module,
        device: torch.device,
        microbatches: int,
        processes: int,
        threads: int,
    ):
        size = sum(p.nbytes for p in network.parameters()) * (2 + microbatches) / 1e6
        with _sharing(f"{size:,.0f} MB of weights and gradients"):
            super().__init__(spec, seed, network, device, microbatches)
            self._rows()  # now rather than after the first batch
        self._n_processes, self._threads = processes, threads
        self._batches: tuple[TensorBatch, TensorBatch] | None = None
        self._slot = 0
        self._pool: WorkerPool | None = None

    def _row(self, row: Tensor) -> Tensor:
        return row.share_memory_() if row.device.type == "cpu" else row  # GPUs' memory is shared as it is

    def start_prepare(self, batch: TensorBatch, update: int) -> None:
        if self._batches is None or self._batches[0].obs.shape != batch.obs.shape:
            self.close()
            with _sharing("the batches"):
                self._batches = batch.shared(), batch.shared()
        self._slot = 1 - self._slot
        self._batches[self._slot].copy_(batch)
        self._workers().send("prepare", self._slot, update)

    def _workers(self) -> WorkerPool:
        if self._pool is None:
            assert self._batches is not None
            online, target = self.parameters[0].data, self.target_weights[0]
            task = WorkerTask(self._spec, self._seed, self._threads, online, target, self._rows(), self._batches)
            self._pool = WorkerPool(task, self._n_processes)
            weakref.finalize(self, self._pool.close)
        return self._pool

    def finish_prepare(self) -> None:
        self._workers().receive()

    def start_gradient(self) -> None:
        self._workers().send("gradient")

    def finish_gradient(self) -> tuple[list[Info], float]:
        replies = self._workers().receive()
        self._average()
        return [info for infos, _ in replies for info in infos], min(at for _, at in replies)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class WorkerPool:
    """The processes, and a pipe to each. Every command gets one reply, in order."""

    def __init__(self, task: WorkerTask, processes: int):
        context = mp.get_context("spawn")
        n = len(task.gradients)
        self._links: list[Connection] = []
        self._processes = []
        for i in range(processes):
            ours, theirs = context.Pipe()
            indices = range(i * n // processes, (i + 1) * n // processes)
            process = context.Process(target=_serve, args=(theirs, task, indices), daemon=True, name=f"learner-{i}")
            with _uninterrupted(), machine.variables({TUNABLES: HUGE_PAGES}):
                process.start()
            theirs.close()
            self._links.append(ours)
            self._processes.append(process)

    def send(self, *command: Any) -> None:
        """A method of `_Worker` and its arguments, to all."""
        for link in self._links:
            try:
                link.send(command)
            except OSError:
                raise self._died() from None

    def receive(self) -> list[tuple[Any, float]]:
        """Each worker's `(reply, when)` to the oldest command without one."""
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

    def close(self) -> None:
        """End all."""
        for link in self._links:
            link.close()
        for process in self._processes:
            process.join(JOIN_TIMEOUT_S)
            process.kill()

    def _died(self) -> LudusError:
        # Who stops all processes of a run may reach this one last, and then nothing is to be explained.
        time.sleep(SIGNAL_S)
        stopped = {-p.exitcode for p in self._processes if p.exitcode in (-signal.SIGTERM, -signal.SIGHUP)}
        if stopped:
            why, fix = f"was stopped by {signal.Signals(min(stopped)).name}", "resume"
        else:
            why = "died, for want of memory or because a script of your own starts them without `if __name__ == '__main__':`"
            fix = "free some memory, or lower training.processes, and resume"
        return LudusError(f"one of {len(self._processes)} learning processes {why}; the last checkpoint is kept: {fix}")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that is started inside never gets Ctrl-C: a terminal sends it to all processes of a run, and the one that
    started the others ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """A worker's end: its methods are the commands."""

    def __init__(self, task: WorkerTask, indices: Sequence[int]):
        self._task = task
        online, target = (flatten(task.spec.network(), row) for row in (task.online, task.target))
        agent = task.spec.agent(online, target.requires_grad_(False))
        self._microbatches = Microbatches(agent, task.seed, indices, len(task.gradients))

    def prepare(self, slot: int, update: int) -> None:
        self._microbatches.prepare(self._task.batches[slot], update)

    def gradient(self) -> list[Info]:
        return list(map(numbers, write_gradients(self._microbatches, self._task.gradients)))


def _serve(link: Connection, task: WorkerTask, indices: Sequence[int]) -> None:
    torch.set_num_threads(machine.threads(task.threads))
    try:
        worker = _Worker(task, indices)
        while True:
            command, *arguments = link.recv()
            reply = getattr(worker, command)(*arguments)
            link.send((reply, time.perf_counter()))
    except (EOFError, OSError):
        return  # the trainer is gone, or going
    except Exception as error:
        link.send((error, 0.0))
