"""The seam between learning algorithms and everything that trains or runs them.

An `Agent` knows a loss and how to act. It knows no optimiser, schedule, averaged weights or checkpoint (`trainer`), no
process or device layout (`backends`), no robot (`policy`) and no world by name. A new algorithm subclasses `Agent` in a
file of its own and gets a line in `ludus.agents.AGENTS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ludus.agents.batches import TensorBatch
from ludus.agents.encoders import make_encoder
from ludus.config import AgentConfig, NoOptions, read_options
from ludus.types import LudusError, WorldSpec


class Agent(ABC):
    """A learning algorithm: two networks, a loss, and a way to act.

    Per update, a backend calls `prepare` and later `loss` on each microbatch. `prepare` does the part without gradient,
    such as targets by the target network. It may run in another process beside the previous update's gradient, and always
    sees the target network as it was before that update.

    Args:
        config: settings that all agents share; `config.options` fills `Options`. Kept as `per_step` gives them.
        online: the network that the optimiser moves.
        target: its slow average, which only `prepare` reads; None in an agent that only acts.
        precision: 'float32' or 'bfloat16', see `autocast`.

    Raises:
        LudusError: an option that the agent does not have, or of the wrong type.
    """

    Options: ClassVar[type] = NoOptions
    """Frozen dataclass of the agent's own settings, `agent.options.*`."""

    def __init__(
        self,
        config: AgentConfig,
        spec: WorldSpec,
        online: nn.Module,
        target: nn.Module | None = None,
        precision: str = "float32",
    ):
        self.config = config.per_step(spec.control_hz)
        self.spec, self.online, self.precision = spec, online, precision
        self.target = online if target is None else target
        self.options = self.read_options(config)
        self.encoder = make_encoder(spec)
        self.device = next(online.parameters()).device

    @classmethod
    @abstractmethod
    def make_network(cls, config: AgentConfig, spec: WorldSpec) -> nn.Module:
        """A network with new weights, drawn from torch's generator. The names of its methods that a loss calls, other than
        `forward`, stand in its attribute `forward_methods`: a sharded network gathers weights before them."""

    def prepare(self, batch: TensorBatch, generator: torch.Generator) -> Any:
        """The work of an update that needs no gradient; what it returns is handed to `loss`. Default: the batch itself.

        Called without gradient tracking. All random draws come from `generator`, on the network's device. On a GPU this and
        `loss` are recorded once and replayed with other numbers, unless they read some of them (`.item()`, a Python `if`).
        """
        return batch

    @abstractmethod
    def loss(self, prepared: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """`(loss, info)` of what `prepare` returned: a scalar to minimise and scalars to report, without gradient.
        Trainings whose mean 'loss' (added if missing) or 'entropy' (nats per action dimension) leaves its range stop."""

    @abstractmethod
    def act(self, batch: ActingInputs, temperature: float, uniform: Tensor | None) -> Tensor:
        """Actions `[E, A]` in [-1, 1] of the online network.

        Args:
            temperature: 0 is greedy.
            uniform: `[E, A]` random numbers in [0, 1); None where the temperature is 0.
        """

    def values(self, batch: ActingInputs) -> Tensor:
        """`[E]` in [0, 1]: discounted reward to come, times 1 - gamma, if the greedy action is taken now."""
        raise LudusError(f"agent.name={self.config.name} has no critic to ask; take one that has, such as pac")

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The weights of both networks."""
        return {"online": self.online.state_dict(), "target": self.target.state_dict()}

    def autocast(self) -> torch.autocast:
        """The context in which networks compute; losses stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    @classmethod
    def read_options(cls, config: AgentConfig) -> Any:
        """`cls.Options` with the values of `config.options`."""
        return read_options(cls.Options, config)


@dataclass(frozen=True)
class ActingInputs:
    """What E robots see and are told; fields as those of `TensorBatch`."""

    obs: Tensor  # [E, P]
    token_ids: Tensor  # [E, W]
    object_slots: Tensor  # [E, K]


@dataclass(frozen=True)
class AgentSpec:
    """Everything that an agent is made of but its weights. Pickles: worker processes make agents of their own."""

    kind: type[Agent]
    config: AgentConfig
    world: WorldSpec
    precision: str = "float32"

    def network(self) -> nn.Module:
        """A network with new weights."""
        return self.kind.make_network(self.config, self.world)

    def loaded(self, state: dict[str, Tensor]) -> nn.Module:
        """A network with these weights, not copied."""
        with torch.device("meta"):  # initial weights would be drawn for nothing
            network = self.network()
        network.load_state_dict(state, assign=True)
        return network

    def agent(self, online: nn.Module, target: nn.Module | None = None) -> Agent:
        """An agent on these networks."""
        return self.kind(self.config, self.world, online, target, self.precision)
