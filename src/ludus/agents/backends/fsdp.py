"""Networks in slices: each rank keeps its share of every weight (FSDP2), so that none needs to hold a whole network.

A layer is gathered when it computes and let go afterwards. Gradients come back in slices, averaged over the ranks.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ludus.agents.backends.workers import Here
from ludus.agents.pac.agent import Inputs, Shard
from ludus.agents.pac.networks import ActorCritic

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of each weight."""


class Slices(Here):
    """The crew on one of several ranks that hold a network together: gradients are left with its parameters. All ranks
    are to compute equally many `parts` `of` a batch, each of them gathers what all need."""

    def __init__(self, shard: Shard, inputs: tuple[Inputs, Inputs], parts: Sequence[int], of: int):
        self._shard, self._inputs, self._parts, self._of = shard, inputs, parts, of
        self._metrics: list[dict[str, float]] = []

    def prepare(self, slot: int, update: int) -> None:
        for part in self._parts:
            self._shard.prepare(self._inputs[slot], update, part, self._of)

    def gradient(self) -> None:
        self._shard.online.zero_grad()
        self._metrics = []
        for part in self._parts:
            loss, metrics = self._shard.loss(part)
            (loss / len(self._parts)).backward()
            self._metrics.append({k: float(v) for k, v in metrics.items()})
        for parameter in self._shard.online.parameters():  # as without slices: zeros where it had no part in the loss
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def cut(network: ActorCritic, device: torch.device, precision: str) -> ActorCritic:
    """The network itself, with this rank's slices on the device in place of its weights. Every rank gives the same one;
    nothing is sent. In bfloat16 what is gathered is rounded before it is sent."""
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
    for name in ("encode", "policy", "value"):
        register_fsdp_forward_method(network, name)
    return network


def slice_of(whole: Tensor, like: Any) -> Any:
    """What this rank keeps of a tensor that is cut up `like` another."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def slices_of(network: ActorCritic, whole: Mapping[str, Tensor]) -> dict[str, Any]:
    """What this rank keeps of a state of the network."""
    return {name: slice_of(whole[name], like) for name, like in network.state_dict().items()}


def gathered(slices: Mapping[Any, Any]) -> dict[Any, Tensor]:
    """Whole tensors in the leader's main memory, one after the other; empty ones on other ranks, which have to call, too."""
    leads, found = dist.get_rank() == 0, {}
    for name, part in slices.items():
        whole = part.full_tensor()
        found[name] = whole.cpu() if leads else whole.new_empty(0)
    return found


def gathered_moments(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """State of an optimiser of slices as that of the same one of all weights in one row."""
    state = optimiser.state_dict()
    (group,), kept, row = state["param_groups"], state["state"], {}
    if kept:
        row = {"step": kept[0]["step"].cpu()}
        for moment in MOMENTS:
            whole = gathered({i: of[moment] for i, of in kept.items()})
            row[moment] = torch.cat([tensor.flatten() for tensor in whole.values()])
    return {"state": {0: row} if row else {}, "param_groups": [group | {"params": [0]}]}


def moments_of(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `gathered_moments`: what this rank keeps."""
    (group,), parameters, kept = state["param_groups"], optimiser.param_groups[0]["params"], {}
    if state["state"]:
        row = state["state"][0]
        whole = [row[moment].split([p.numel() for p in parameters]) for moment in MOMENTS]
        for i, (like, *moments) in enumerate(zip(parameters, *whole, strict=True)):
            cut_up = [slice_of(m.view(like.shape), like) for m in moments]
            kept[i] = {"step": row["step"].clone(), **dict(zip(MOMENTS, cut_up, strict=True))}
    return {"state": kept, "param_groups": [group | {"params": list(range(len(parameters)))}]}
