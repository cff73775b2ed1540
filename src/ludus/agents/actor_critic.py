"""Agents whose actions are discretised: an `ActorCritic` network gives logits per action dimension and values per action."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ludus.agents.base import ActingInputs, Agent
from ludus.agents.encoders import make_encoder
from ludus.agents.pac import losses
from ludus.agents.pac.networks import ActorCritic, actor_critic
from ludus.config import AgentConfig
from ludus.types import WorldSpec


class ActorCriticAgent(Agent):
    """Makes the network that `agent.network` names, and acts with its policy; a subclass adds `prepare` and `loss`."""

    online: ActorCritic
    target: ActorCritic

    def __init__(
        self,
        config: AgentConfig,
        spec: WorldSpec,
        online: nn.Module,
        target: nn.Module | None = None,
        precision: str = "float32",
    ):
        super().__init__(config, spec, online, target, precision)
        self.support = torch.linspace(0, 1, config.value_atoms, device=self.device)  # [atoms]: values of Q
        self.centres = losses.bin_centres(config.action_bins).to(self.device)  # [bins]: values of an action dimension

    @classmethod
    def make_network(cls, config: AgentConfig, spec: WorldSpec) -> ActorCritic:
        """An actor-critic for the world's observations and actions."""
        encoder = make_encoder(spec)
        images = getattr(encoder, "image_shapes", ())
        return actor_critic(config, encoder.task_size, encoder.object_size, len(spec.actions), images)

    def act(self, batch: ActingInputs, temperature: float, uniform: Tensor | None) -> Tensor:
        """The likeliest bin of each dimension, or one drawn from the logits divided by the temperature."""
        logits = self.online.policy(*self._encode(batch))
        if temperature == 0 or uniform is None:
            return self.centres[logits.argmax(-1)]
        cdf = (logits / temperature).softmax(-1).cumsum(-1)
        chosen = (cdf <= (uniform * cdf[..., -1])[..., None]).sum(-1)
        return self.centres[chosen.clamp(max=len(self.centres) - 1)]

    def values(self, batch: ActingInputs) -> Tensor:
        """The critic's mean for the policy's likeliest action."""
        z, condition = self._encode(batch)
        action = self.centres[self.online.policy(z, condition).argmax(-1)]
        return self.mean(self.online.value(z, condition, action[:, None])[:, 0])

    def mean(self, value_logits: Tensor) -> Tensor:
        """`[...]` in [0, 1] of distributions given by logits `[..., atoms]`."""
        return value_logits.softmax(-1) @ self.support

    def _encode(self, batch: ActingInputs) -> tuple[Tensor, Tensor]:
        task, objects, *images = self.encoder(batch.obs, batch.object_slots)
        return self.online.encode(task, objects, batch.token_ids, *images)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the policy, in nats per action dimension, of logits `[B, A, bins]`."""
    probabilities = logits.detach().softmax(-1)
    return -(probabilities * probabilities.clamp(min=1e-9).log()).sum(-1).mean()
