"""Batches as tensors: what an agent's loss reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ludus.agents.captions import CaptionEncoder
from ludus.agents.encoders import make_encoder
from ludus.data.sampler import Drawn
from ludus.types import Batch, LudusError, Observations, WorldSpec

PIECE = 1 << 25
"""Bytes of transitions that are packed and copied to a device at a time."""
FIRST = np.zeros(1, np.int64)


class Source(Protocol):
    """Where batches come from (`ludus.data.sampler.Sampler`)."""

    @property
    def captions(self) -> tuple[str, ...]: ...
    def next(self) -> Batch: ...


@runtime_checkable
class RowSource(Source, Protocol):
    """A source whose batches are rows of what it holds."""

    @property
    def n_rows(self) -> int: ...
    def draw(self) -> Drawn: ...
    def observations(self, rows: np.ndarray) -> Observations: ...
    def actions(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass
class TensorBatch:
    """`ludus.types.Batch` as tensors of one device, with the captions encoded; rows first."""

    obs: Tensor  # [B, P] float32: observations as the world's encoder packs them
    next_obs: Tensor  # [B, P] float32: up to n steps later
    token_ids: Tensor  # [B, W] int64: the caption's words, 0 = padding
    object_slots: Tensor  # [B, K] int64: the objects that the caption mentions, in its order, -1 = none
    actions: Tensor  # [B, A] float32 in [-1, 1]
    bc_mask: Tensor  # [B] float32, 0 or 1: whether behaviour cloning imitates the row
    returns: Tensor  # [B] float32: sum_k gamma^k r_k over the steps between obs and next_obs
    discounts: Tensor  # [B] float32: gamma^(number of these steps)

    def rows(self, rows: slice, device: torch.device) -> TensorBatch:
        """Some rows on a device; on the CPU views."""
        return TensorBatch(*[getattr(self, f.name)[rows].to(device, non_blocking=True) for f in fields(self)])

    def shared(self) -> TensorBatch:
        """A copy in memory that other processes can map."""
        return TensorBatch(*[getattr(self, f.name).clone().share_memory_() for f in fields(self)])

    def pinned(self) -> TensorBatch:
        """A copy in memory from which a GPU copies while the CPU goes on."""
        return TensorBatch(*[getattr(self, f.name).pin_memory() for f in fields(self)])

    def copy_(self, other: TensorBatch, non_blocking: bool = False) -> None:
        """Take over the numbers of a batch of the same shapes."""
        for f in fields(self):
            getattr(self, f.name).copy_(getattr(other, f.name), non_blocking=non_blocking)

    @property
    def device(self) -> torch.device:
        return self.obs.device

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        return tuple(getattr(self, f.name).shape for f in fields(self))


class BatchReader:
    """Draws batches from a source and turns them into tensors."""

    def __init__(self, source: Source, spec: WorldSpec):
        self._source, self._encoder = source, make_encoder(spec)
        self._token_ids, self._object_slots = map(torch.from_numpy, CaptionEncoder(spec.objects).table(source.captions))

    def next(self) -> TensorBatch:
        """The source's next batch."""
        batch = self._source.next()
        skills = torch.from_numpy(batch.skills)
        return TensorBatch(
            obs=self._encoder.pack(batch.observations),
            next_obs=self._encoder.pack(batch.next_observations),
            token_ids=self._token_ids[skills],
            object_slots=self._object_slots[skills],
            actions=torch.from_numpy(batch.actions),
            bc_mask=torch.from_numpy(batch.bc_mask).float(),
            returns=torch.from_numpy(batch.returns),
            discounts=torch.from_numpy(batch.discounts),
        )


class DeviceReader:
    """Draws the same batches as `BatchReader`, from observations and actions that a device holds: all rows are packed and
    copied to it at first, later only which rows a batch consists of.

    Raises:
        LudusError: the device's memory cannot hold them.
    """

    def __init__(self, source: RowSource, spec: WorldSpec, device: torch.device):
        self._source, self._device = source, device
        tables = CaptionEncoder(spec.objects).table(source.captions)
        self._token_ids, self._object_slots = (torch.from_numpy(t).to(device) for t in tables)
        encoder, n = make_encoder(spec), source.n_rows
        obs, actions = encoder.pack(source.observations(FIRST)), torch.from_numpy(source.actions(FIRST))
        size = obs.nbytes + actions.nbytes
        try:
            self._obs, self._actions = (
                torch.empty((n, *a.shape[1:]), dtype=a.dtype, device=device) for a in (obs, actions)
            )
        except RuntimeError as error:
            raise LudusError(
                f"no room for {n * size / 1e6:,.0f} MB of transitions in the memory of {device}; give "
                "training.data_on_device=false"
            ) from error
        for rows in np.array_split(np.arange(n), -(-n * size // PIECE)):
            here = slice(int(rows[0]), int(rows[-1]) + 1)
            self._obs[here] = encoder.pack(source.observations(rows)).to(device)
            self._actions[here] = torch.from_numpy(source.actions(rows)).to(device)

    def next(self) -> TensorBatch:
        """The source's next batch, on the device."""
        drawn = self._source.draw()
        rows, skills = self._sent(drawn.rows), self._sent(drawn.skills)
        return TensorBatch(
            obs=self._obs.index_select(0, rows),
            next_obs=self._obs.index_select(0, self._sent(drawn.next_rows)),
            token_ids=self._token_ids[skills],
            object_slots=self._object_slots[skills],
            actions=self._actions.index_select(0, rows),
            bc_mask=self._sent(drawn.bc_mask).float(),
            returns=self._sent(drawn.returns),
            discounts=self._sent(drawn.discounts),
        )

    def _sent(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def make_reader(source: Source, spec: WorldSpec, device: torch.device | None) -> BatchReader | DeviceReader:
    """A reader of batches in main memory, or of those on a device; the numbers are the same.

    Raises:
        LudusError: a device, but the source does not say which rows its batches consist of; no room there.
    """
    if device is None:
        return BatchReader(source, spec)
    if not isinstance(source, RowSource):
        raise LudusError(f"{type(source).__name__} has no rows to keep on {device}; give training.data_on_device=false")
    return DeviceReader(source, spec, device)
