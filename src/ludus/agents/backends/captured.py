"""Gradients on one GPU, whose kernels are recorded once and then replayed (CUDA graphs).

Small networks leave a GPU idle while the CPU starts one kernel after the other: at 0.2 M parameters for more than eight tenths
of the time (docs/results.md, "Speed of the learner"). Source: Nguyen et al. 2021, "Accelerating PyTorch with CUDA Graphs"
(PyTorch's blog).
"""

from __future__ import annotations

import logging

import torch

from ludus.agents.backends.base import Info, Microbatches
from ludus.agents.backends.local import LocalBackend, write_gradients
from ludus.agents.batches import TensorBatch

logger = logging.getLogger("ludus")

WARM_UP = 3
"""Computations before the recording, in which libraries choose kernels and take the memory that they keep."""


class CapturedBackend(LocalBackend):
    """As `LocalBackend`, on a CUDA device. What an agent does is recorded at the first batch and anew at one of other shapes: its
    `prepare` and `loss` may depend on numbers of the batch by computing with them, not by Python's choice of what to do. An agent
    that cannot be recorded learns without."""

    _recording: _Recording | None = None
    _recordable = True

    def start_prepare(self, batch: TensorBatch, update: int) -> None:
        if self._recordable and (self._recording is None or not self._recording.fits(batch)):
            self._recording = None  # its memory is free for the next one
            self._record(batch)
        if self._recording is None:
            super().start_prepare(batch, update)
        else:
            self._recording.prepare(batch, update)

    def _record(self, batch: TensorBatch) -> None:
        microbatches = self._made_microbatches()
        try:
            self._recording = _Recording(microbatches, batch, self._rows())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._recordable, self._microbatches = False, None
            logger.warning("learning without CUDA graphs, several times slower where networks are small: %s", error)

    def start_gradient(self) -> None:
        if self._recording is None:
            super().start_gradient()
        else:
            self._recording.start_gradient()

    def finish_gradient(self) -> tuple[list[Info], float]:
        if self._recording is None:
            return super().finish_gradient()
        self._average()
        return self._recording.infos(), 0.0

    def close(self) -> None:
        super().close()
        self._recording = None


class _Recording:
    """Both halves of an update as graphs. They share memory, so they are to be replayed in turns, as recorded: what is prepared
    lies where the gradient reads it.

    Args:
        batch: any of the shapes to come.
        rows: `[microbatches, n_parameters]`: where gradients are to lie.

    Raises:
        RuntimeError: of torch; something cannot be recorded.
    """

    def __init__(self, microbatches: Microbatches, batch: TensorBatch, rows: torch.Tensor):
        self._device, self._microbatches = rows.device, microbatches
        self._batch = batch.rows(slice(None), self._device)
        self._given = batch.pinned() if batch.device.type == "cpu" else None  # else it comes on the device
        self._copied, self._computed = torch.cuda.Event(), torch.cuda.Event()
        with torch.cuda.device(self._device):  # streams and events are of the current one
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    microbatches.compute(self._batch)
                    infos = write_gradients(microbatches, rows)
            torch.cuda.current_stream().wait_stream(aside)
            self._preparation, self._gradient = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
            for generator in microbatches.generators:
                self._preparation.register_generator_state(generator)
            with torch.cuda.graph(self._preparation):
                microbatches.compute(self._batch)
            with torch.cuda.graph(self._gradient, pool=self._preparation.pool()):
                infos = write_gradients(microbatches, rows)
                self._numbers = torch.stack([value.float() for info in infos for value in info.values()])
        self._names = [tuple(info) for info in infos]
        self._read = torch.empty(self._numbers.shape, pin_memory=True)

    def fits(self, batch: TensorBatch) -> bool:
        """Whether the batch is of the recorded shapes."""
        return batch.shapes == self._batch.shapes

    def prepare(self, batch: TensorBatch, update: int) -> None:
        if self._given is not None:
            self._copied.synchronize()  # until the batch before has left the pinned memory
            self._given.copy_(batch)
        self._microbatches.seed(update)
        with torch.cuda.device(self._device):
            self._batch.copy_(self._given or batch, non_blocking=True)
            self._copied.record()
            self._preparation.replay()

    def start_gradient(self) -> None:
        with torch.cuda.device(self._device):
            self._gradient.replay()
            self._read.copy_(self._numbers, non_blocking=True)
            self._computed.record()

    def infos(self) -> list[Info]:
        """Of the last gradient, once it is computed."""
        self._computed.synchronize()
        numbers = iter(self._read.tolist())
        return [{name: next(numbers) for name in names} for names in self._names]
