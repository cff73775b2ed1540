"""Gradients on all ranks of a process group: data-parallel, or with sharded networks (FSDP2).

Every rank is given the same batches and computes its share of their microbatches; gradients are added over all ranks.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from ludus.agents.backends.base import NETWORKS, Backend, Info, Microbatches, numbers
from ludus.agents.backends.local import LocalBackend
from ludus.agents.base import AgentSpec
from ludus.agents.batches import TensorBatch
from ludus.types import LudusError

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of each weight."""
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Whole tensors, in rank 0's main memory only."""


def share(microbatches: int) -> range:
    """Indices of the microbatches that this rank computes.

    Raises:
        LudusError: fewer microbatches than ranks.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    if world > microbatches:
        raise LudusError(
            f"{world} ranks for training.microbatches={microbatches} of a batch; give at least as many microbatches"
        )
    return range(rank * microbatches // world, (rank + 1) * microbatches // world)


class DataParallelBackend(LocalBackend):
    """Each rank holds whole networks."""

    def _add_ranks(self, gradient: Tensor) -> None:
        dist.all_reduce(gradient)


class ShardedBackend(Backend):
    """Each rank holds its share of every weight (torch's `fully_shard`), so that none needs memory for a whole network. A
    layer's weights are gathered while it computes. All ranks must compute equally many microbatches.

    Args:
        network: the same initial weights on every rank.
    """

    is_collective = True

    def __init__(self, spec: AgentSpec, seed: int, network: nn.Module, device: torch.device, microbatches: int):
        self.target, self.acting = (copy.deepcopy(network).requires_grad_(False) for _ in range(2))
        self.online = network
        for name in NETWORKS:
            shard_module(getattr(self, name), device, spec.precision)
        self.parameters, self.target_weights, self.acting_weights = (
            list(getattr(self, name).parameters()) for name in NETWORKS
        )
        self._spec, self._seed, self._n = spec, seed, microbatches
        self._microbatches: Microbatches | None = None
        self._infos: list[Info] = []

    def start_prepare(self, batch: TensorBatch, update: int) -> None:
        if self._microbatches is None:
            indices, world = share(self._n), dist.get_world_size()
            if self._n % world:
                raise LudusError(
                    f"{world} sharded ranks for training.microbatches={self._n} of a batch; give each as many microbatches"
                )
            agent = self._spec.agent(self.online, self.target)
            self._microbatches = Microbatches(agent, self._seed, indices, self._n)
        self._microbatches.prepare(batch, update)

    def finish_prepare(self) -> None: ...

    def start_gradient(self) -> None:
        assert self._microbatches is not None
        self.online.zero_grad()
        self._infos = []
        for _, loss, info in self._microbatches.losses():
            (loss / len(self._microbatches.indices)).backward()
            self._infos.append(numbers(info))
        for parameter in self.parameters:  # as in one process: zeros where it had no part in the loss
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def finish_gradient(self) -> tuple[list[Info], float]:
        return self._infos, 0.0  # FSDP has averaged the gradient over the ranks

    def clip_gradient(self, max_norm: float) -> None:
        nn.utils.clip_grad_norm_(self.parameters, max_norm)

    def state(self, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        found: dict[str, Any] = {name: get_model_state_dict(getattr(self, name), options=WHOLE) for name in NETWORKS}
        (group,) = optimiser.state_dict()["param_groups"]
        row = {}
        if optimiser.state:
            by_name = get_optimizer_state_dict(self.online, optimiser, options=WHOLE).get("state")
            row = _joined(self._names(), by_name) if by_name else {}
        found["optimiser"] = {"state": {0: row} if row else {}, "param_groups": [group | {"params": [0]}]}
        return found if dist.get_rank() == 0 else {}

    def _names(self) -> list[str]:
        return [name for name, _ in self.online.named_parameters()]

    def load_weights(self, network: str, state: dict[str, Tensor]) -> None:
        set_model_state_dict(getattr(self, network), dict(state), options=StateDictOptions(full_state_dict=True))

    def load_optimiser(self, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        if not state["state"]:
            return
        (group,), names = state["param_groups"], self._names()
        shapes = [p.shape for p in self.parameters]
        whole: Any = {
            "state": _split(names, shapes, state["state"][0]),
            "param_groups": [group | {"params": names}],
        }
        set_optimizer_state_dict(self.online, optimiser, whole, options=StateDictOptions(full_state_dict=True))
        optimiser.param_groups[0] |= group | {"params": self.parameters}  # torch made lists of tuples

    def close(self) -> None:
        self._microbatches = None


def shard_module(network: nn.Module, device: torch.device, precision: str) -> None:
    """Put this rank's shards of the weights, on the device, in their place. Every rank has the same network; nothing is sent.
    In bfloat16 what is gathered is rounded before it is sent."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing here is changed in place
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    gathered = torch.bfloat16 if precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(gathered, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for child in network.children():
        for layer in child if isinstance(child, nn.ModuleList) else (child,):
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
    # By default the outermost stays gathered for the backward pass, which the target network never has.
    fully_shard(network, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
    for name in getattr(network, "forward_methods", ()):
        register_fsdp_forward_method(network, name)


def _joined(names: Sequence[str], by_name: Any) -> dict[str, Tensor]:
    """State of an optimiser of named parameters -> that of one parameter with all of them in a row."""
    row = {moment: torch.cat([by_name[name][moment].flatten() for name in names]) for moment in MOMENTS}
    return {"step": by_name[names[0]]["step"]} | row


def _split(names: Sequence[str], shapes: Sequence[torch.Size], row: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Inverse of `_joined`."""
    pieces = [row[moment].split([shape.numel() for shape in shapes]) for moment in MOMENTS]
    return {
        name: {"step": row["step"].clone()} | {m: p.view(shape) for m, p in zip(MOMENTS, of, strict=True)}
        for name, shape, *of in zip(names, shapes, *pieces, strict=True)
    }
