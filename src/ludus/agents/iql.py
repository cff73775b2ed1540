"""Implicit Q-learning (IQL, Kostrikov et al. 2021, arXiv 2110.06169): never asks for the value of an unseen action.

    L_V  = E[ |tau - 1(Q'(s, a) < V(s))| (Q'(s, a) - V(s))^2 ]         expectile regression, equation 5; Q' of the target network
    L_Q  = E[ (r + gamma V(s') - Q(s, a))^2 ]                            equation 6, here of n-step returns
    L_pi = -E[ exp(beta (Q'(s, a) - V(s))) log pi(a | s) ]               advantage-weighted regression, equation 7

Where this differs from the paper: one network as PAC's, with discretised actions and one Q instead of the lower of two; Q
and V are distributions on [0, 1], fitted by cross-entropy against two-hot targets, where weights |tau - 1(...)| have the
same minimum in their mean as expectile regression; V in L_Q is the target network's; 1 / beta is in units of the advantage's
standard deviation, so that it does not depend on the scale of rewards; L_pi counts only the rows that behaviour cloning
may imitate (`sampling.bc_labels`): rows under another label than their command would all be imitated with a weight near 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ludus.agents.actor_critic import ActorCriticAgent, entropy
from ludus.agents.batches import TensorBatch
from ludus.agents.pac import losses
from ludus.agents.pac.networks import ActorCritic
from ludus.config import AgentConfig
from ludus.types import WorldSpec

MAX_WEIGHT = 100.0
"""Advantage weights are cut here, as in the paper's code."""


@dataclass(frozen=True)
class IQLOptions:
    """`agent.options.*` of IQL."""

    expectile: float = 0.9
    """tau: 0.5 is the mean over the data's actions, towards 1 their best."""
    temperature: float = 0.5
    """1 / beta of policy extraction, in standard deviations of the advantage."""


@dataclass
class Prepared:
    """A microbatch after the work without gradient."""

    task: Tensor  # [B, T]
    objects: Tensor  # [B, N, O]
    images: list[Tensor]  # each [B, height, width, channels]
    batch: TensorBatch
    q: Tensor  # [B] in [0, 1]: Q'(s, a)
    q_target: Tensor  # [B, atoms]: distribution of r + gamma V(s')


class IQL(ActorCriticAgent):
    """PAC's network with one head more, `state_value`: V."""

    Options = IQLOptions
    options: IQLOptions

    @classmethod
    def make_network(cls, config: AgentConfig, spec: WorldSpec) -> ActorCritic:
        """The head V turns the mean latent `[B, Z]` into logits `[B, atoms]`."""
        network = super().make_network(config, spec)
        z = network.z_size
        network.state_value = nn.Sequential(
            nn.LayerNorm(z), nn.Linear(z, z), nn.ReLU(), nn.Linear(z, config.value_atoms)
        )
        return network

    def prepare(self, batch: TensorBatch, generator: torch.Generator) -> Prepared:
        """Q'(s, a) and the target of Q, by the target network."""
        n = len(batch.actions)
        both = torch.cat([batch.obs, batch.next_obs])
        task, objects, *images = self.encoder(both, batch.object_slots.repeat(2, 1))
        with self.autocast():
            z, condition = self.target.encode(task, objects, batch.token_ids.repeat(2, 1), *images)
            q = self.target.value(z[:n], condition[:n], batch.actions[:, None])[:, 0].float()
            next_v = self._v_logits(self.target, z[n:])
        returns = batch.returns * (1 - self.config.gamma)  # rewards in [0, 1] -> values in [0, 1]
        q_target = losses.bellman_target(next_v.softmax(-1), returns, batch.discounts, self.support)
        return Prepared(task[:n], objects[:n], [image[:n] for image in images], batch, self.mean(q), q_target)

    def loss(self, prepared: Prepared) -> tuple[Tensor, dict[str, Tensor]]:
        """L_V + L_Q + L_pi."""
        x, options = prepared, self.options
        with self.autocast():
            z, condition = self.online.encode(x.task, x.objects, x.batch.token_ids, *x.images)
            logits = self.online.policy(z, condition).float()
            q_logits = self.online.value(z, condition, x.batch.actions[:, None])[:, 0].float()
            v_logits = self._v_logits(self.online, z)
        advantage = x.q - self.mean(v_logits.detach())
        side = torch.where(advantage < 0, 1 - options.expectile, options.expectile)
        v_loss = -(side * (losses.two_hot(x.q, self.support) * v_logits.log_softmax(-1)).sum(-1)).mean()
        q_loss = losses.critic(q_logits, x.q_target)
        scale = options.temperature * advantage.std(correction=min(1, len(advantage) - 1)).clamp(min=1e-5)
        weights = (advantage / scale).exp().clamp(max=MAX_WEIGHT)
        bins = losses.to_bins(x.batch.actions, self.config.action_bins)[:, None]
        actor_loss = losses.behaviour_cloning(weights * losses.log_prob(logits, bins)[:, 0], x.batch.bc_mask)
        loss = v_loss + q_loss + actor_loss
        info = {"v_loss": v_loss, "q_loss": q_loss, "actor_loss": actor_loss, "q": x.q.mean()}
        info |= {
            "advantage_std": advantage.std(correction=min(1, len(advantage) - 1)),
            "loss": loss,
            "entropy": entropy(logits),
        }
        return loss, {name: value.detach() for name, value in info.items()}

    def _v_logits(self, network: ActorCritic, z: Tensor) -> Tensor:
        return network.get_submodule("state_value")(z.mean(1)).float()
