"""The interface of backends: who holds the networks' memory, and where gradients are computed.

A backend knows no loss: it calls `Agent.prepare` and `Agent.loss` on microbatches. A batch is always split into the same
number of microbatches and their gradients are added in the same order, so the number of processes changes no bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ludus.agents.base import Agent
from ludus.agents.batches import TensorBatch
from ludus.seeding import child

Info = dict[str, float]
NETWORKS = ("online", "target", "acting")


class Backend(ABC):
    """Holds three networks and computes the gradient of the first.

    Per update, `Trainer.fit` calls `start_prepare` on a batch, `start_gradient`, and `finish_gradient`. The next batch is
    prepared between the latter two, always with the target network as it was before the update. Errors of worker processes
    are raised by the `finish_...` methods.
    """

    online: nn.Module
    target: nn.Module
    acting: nn.Module
    parameters: list[nn.Parameter]
    """The online network's weights as the optimiser gets them: one row, or one tensor per weight."""
    target_weights: list[Tensor]
    """The target network's weights, in the layout of `parameters`."""
    acting_weights: list[Tensor]
    is_collective: bool = False
    """Whether all ranks have to call `state` together."""

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters)

    @abstractmethod
    def start_prepare(self, batch: TensorBatch, update: int) -> None:
        """Begin with the next batch's work without gradient; `update` names its random numbers."""

    @abstractmethod
    def finish_prepare(self) -> None:
        """Wait for it: afterwards the target network may change."""

    @abstractmethod
    def start_gradient(self) -> None:
        """Begin with the gradient of the batch that was prepared first."""

    @abstractmethod
    def finish_gradient(self) -> tuple[list[Info], float]:
        """Wait for it and leave the microbatches' mean in the parameters' `.grad`.

        Returns:
            The microbatches' infos, and when (`time.perf_counter`) the first process had nothing left to do; 0.0
            where that is this process.
        """

    @abstractmethod
    def clip_gradient(self, max_norm: float) -> None:
        """Shorten the gradient, of all ranks together, to at most this norm."""

    @abstractmethod
    def state(self, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """The networks' and the optimiser's part of a checkpoint (`ludus.agents.checkpoint`); empty on ranks other than the
        first."""

    @abstractmethod
    def load_weights(self, network: str, state: dict[str, Tensor]) -> None:
        """Fill one of `NETWORKS` with whole weights."""

    @abstractmethod
    def load_optimiser(self, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Fill the optimiser with what `state` gave."""

    def close(self) -> None:  # noqa: B027  most hold nothing
        """End other processes, and forget work under way. The next `start_prepare` starts anew."""


class Microbatches:
    """Some microbatches of every batch, on one agent.

    Args:
        seed: the run's seed. Random numbers of a microbatch come from its child named by agent, update and microbatch.
        indices: which microbatches.
        of: how many a batch has.
    """

    def __init__(self, agent: Agent, seed: int, indices: Sequence[int], of: int):
        self.agent, self.indices = agent, list(indices)
        self._seed, self._of = seed, of
        self.generators = [torch.Generator(agent.device) for _ in self.indices]
        self._prepared: dict[int, Any] = {}

    def prepare(self, batch: TensorBatch, update: int) -> None:
        """`Agent.prepare` of each."""
        self.seed(update)
        self.compute(batch)

    def seed(self, update: int) -> None:
        """Set each one's random numbers to those of the update."""
        for i, generator in zip(self.indices, self.generators, strict=True):
            generator.manual_seed(child(self._seed, self.agent.config.name, "samples", update, i))

    @torch.no_grad()
    def compute(self, batch: TensorBatch) -> None:
        """`Agent.prepare` of each, with the random numbers that come next."""
        n = len(batch.actions)
        for i, generator in zip(self.indices, self.generators, strict=True):
            rows = batch.rows(slice(i * n // self._of, (i + 1) * n // self._of), self.agent.device)
            self._prepared[i] = self.agent.prepare(rows, generator)

    def losses(self) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
        """`(microbatch, loss, info)` by `Agent.loss`."""
        for i in self.indices:
            loss, info = self.agent.loss(self._prepared.pop(i))
            yield i, loss, info | {"loss": loss.detach()}


def numbers(info: dict[str, Tensor]) -> Info:
    """Of scalars on a device."""
    return {name: float(value) for name, value in info.items()}
