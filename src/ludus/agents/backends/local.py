"""Gradients in this process; each network's weights lie in one row."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ludus.agents.backends.base import Backend, Info, Microbatches, numbers
from ludus.agents.base import AgentSpec
from ludus.agents.batches import TensorBatch


class LocalBackend(Backend):
    """This process computes all microbatches, or some of them.

    Args:
        network: initial weights of all three networks.
        indices: of the microbatches to compute; None: all.
    """

    def __init__(
        self,
        spec: AgentSpec,
        seed: int,
        network: nn.Module,
        device: torch.device,
        microbatches: int,
        indices: Sequence[int] | None = None,
    ):
        self._spec, self._seed, self._n = spec, seed, microbatches
        self._indices = range(microbatches) if indices is None else indices
        self.online = network
        self.target, self.acting = copy.deepcopy(network), copy.deepcopy(network)
        row = torch.cat([p.detach().flatten() for p in network.parameters()]).to(device)
        self.parameters = [nn.Parameter(self._row(row))]
        self.target_weights, self.acting_weights = [self._row(row.clone())], [row.clone()]
        flatten(self.online, self.parameters[0].data)
        flatten(self.target, self.target_weights[0]).requires_grad_(False)
        flatten(self.acting, self.acting_weights[0]).requires_grad_(False)
        self._gradients: Tensor | None = None  # [microbatches, n_parameters]
        self._microbatches: Microbatches | None = None
        self._infos: list[dict[str, Tensor]] = []

    def _row(self, row: Tensor) -> Tensor:
        """Where a row of weights or gradients is to lie."""
        return row

    def _rows(self) -> Tensor:
        """Memory for the microbatches' gradients; kept."""
        if self._gradients is None:
            row = self.parameters[0]
            self._gradients = self._row(torch.zeros((self._n, row.numel()), device=row.device))
        return self._gradients

    def start_prepare(self, batch: TensorBatch, update: int) -> None:
        self._made_microbatches().prepare(batch, update)

    def _made_microbatches(self) -> Microbatches:
        if self._microbatches is None:
            agent = self._spec.agent(self.online, self.target)
            self._microbatches = Microbatches(agent, self._seed, self._indices, self._n)
        return self._microbatches

    def finish_prepare(self) -> None: ...

    def start_gradient(self) -> None:
        assert self._microbatches is not None
        self._infos = write_gradients(self._microbatches, self._rows())

    def finish_gradient(self) -> tuple[list[Info], float]:
        self._average()
        return list(map(numbers, self._infos)), 0.0

    @torch.no_grad()
    def _average(self) -> None:
        rows = self._rows()
        gradient = rows[0].clone()
        for row in rows[1:]:  # in a fixed order: the same bits always
            gradient += row
        self._add_ranks(gradient)
        gradient /= len(rows)
        self.parameters[0].grad = gradient

    def _add_ranks(self, gradient: Tensor) -> None: ...

    def clip_gradient(self, max_norm: float) -> None:
        nn.utils.clip_grad_norm_(self.parameters, max_norm)

    def state(self, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        networks = {"online": self.online, "target": self.target, "acting": self.acting}
        return {name: network.state_dict() for name, network in networks.items()} | {
            "optimiser": optimiser.state_dict()
        }

    def load_weights(self, network: str, state: dict[str, Tensor]) -> None:
        getattr(self, network).load_state_dict(state)

    def load_optimiser(self, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        optimiser.load_state_dict(state)

    def close(self) -> None:
        self._microbatches = None


def flatten(network: nn.Module, row: Tensor) -> nn.Module:
    """Make the network's parameters views of `row` `[n_parameters]`, in their order; they take its values."""
    start = 0
    for parameter in network.parameters():
        parameter.data = row[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return network


def write_gradients(microbatches: Microbatches, rows: Tensor) -> list[dict[str, Tensor]]:
    """Each microbatch's gradient into its row of `[microbatches, n_parameters]`, and its info, scalars on the device."""
    infos, parameters = [], list(microbatches.agent.online.parameters())
    for i, loss, info in microbatches.losses():
        # parameters without a part in the loss (the critic's under plain cloning) get zeros
        gradient = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        torch.cat([g.flatten() for g in gradient], out=rows[i])
        infos.append(info)
    return infos
