"""Batches as tensors: what an agent's loss reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from ludus.agents.captions import CaptionEncoder
from ludus.agents.encoders import make_encoder
from ludus.types import Batch, WorldSpec


class Source(Protocol):
    """Where batches come from (`ludus.data.sampler.Sampler`)."""

    @property
    def captions(self) -> tuple[str, ...]: ...
    def next(self) -> Batch: ...


@dataclass
class TensorBatch:
    """`ludus.types.Batch` as tensors, with the captions encoded; rows first."""

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
