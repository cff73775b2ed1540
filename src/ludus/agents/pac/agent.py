"""Perceiver-Actor-Critic (PAC, arXiv 2402.05546): one network, three losses.

    L = (1 - alpha) KL[pi_imp || pi] + alpha KL[b || pi] + beta KL[Gamma || p]

with the improved policy pi_imp, the data's actions b and the distributional Bellman target Gamma (`losses`). alpha = 1 and
beta = 0 is behaviour cloning (BC), alpha = 1 and beta > 0 is BC+Q, alpha = 0 offline reinforcement learning; which rows
BC imitates is `sampling.bc_labels`. See docs/method.md, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ludus.agents.actor_critic import ActorCriticAgent, entropy
from ludus.agents.batches import TensorBatch
from ludus.agents.pac import losses

BOOTSTRAP_ACTIONS = 4
"""Actions a' of the target policy at the next state that the Bellman target averages over."""


@dataclass
class Prepared:
    """A microbatch after the work without gradient."""

    task: Tensor  # [B, T]
    objects: Tensor  # [B, N, O]
    token_ids: Tensor  # [B, W]
    actions: Tensor  # [B, A]
    bc_mask: Tensor  # [B] 0 or 1
    images: list[Tensor]  # each [B, height, width, channels]
    candidates: Tensor  # [B, K, A] bins: the data's action, then the sampled ones
    gamma_target: Tensor | None = None  # [B, atoms]: Gamma; None in plain BC
    weights: Tensor | None = None  # [B, K]: w of the candidates; None where alpha is 1
    info: dict[str, Tensor] = field(default_factory=dict)


class PAC(ActorCriticAgent):
    """The method of this project; its settings are the fields of `AgentConfig`."""

    def prepare(self, batch: TensorBatch, generator: torch.Generator) -> Prepared:
        """Network inputs, the Bellman target Gamma, sampled actions and their weights w, by the target network."""
        c, n = self.config, len(batch.actions)
        both = torch.cat([batch.obs, batch.next_obs])
        task, objects, *images = self.encoder(both, batch.object_slots.repeat(2, 1))
        taken, seen = losses.to_bins(batch.actions, c.action_bins)[:, None], [image[:n] for image in images]
        prepared = Prepared(
            task[:n], objects[:n], batch.token_ids, batch.actions, batch.bc_mask, seen, candidates=taken
        )
        if c.alpha == 1 and c.beta == 0:
            return prepared
        with self.autocast():
            z, condition = self.target.encode(task, objects, batch.token_ids.repeat(2, 1), *images)
            logits = self.target.policy(z, condition).float()
        prepared.gamma_target = self._gamma_target(batch, z[n:], condition[n:], logits[n:], generator)
        if c.alpha < 1:
            self._improve(prepared, z[:n], condition[:n], logits[:n], generator)
        return prepared

    def _gamma_target(
        self, batch: TensorBatch, z: Tensor, condition: Tensor, logits: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Gamma `[B, atoms]` from the latents and the target policy's logits at the next observations."""
        actions = self.centres[losses.sample_bins(logits, BOOTSTRAP_ACTIONS, generator)]
        with self.autocast():
            value_logits = self.target.value(z, condition, actions).float()
        scale = 1 - self.config.gamma  # rewards in [0, 1] -> values in [0, 1]
        return losses.bellman_target(
            value_logits.softmax(-1).mean(1), batch.returns * scale, batch.discounts, self.support
        )

    def _improve(
        self, prepared: Prepared, z: Tensor, condition: Tensor, logits: Tensor, generator: torch.Generator
    ) -> None:
        """Add actions sampled from the target policy to the candidates, and weigh all of them by Q."""
        sampled = losses.sample_bins(logits, self.config.action_samples, generator)
        prepared.candidates = torch.cat([prepared.candidates, sampled], dim=1)
        with self.autocast():
            value_logits = self.target.value(z, condition, self.centres[prepared.candidates]).float()
        # Outside of autocast, which would round Q by a tenth of how much it differs between actions.
        prepared.weights, kl, spread = losses.improvement_weights(self.mean(value_logits), self.config.eta)
        prepared.info = {"weights_kl": kl, "q_spread": spread}

    def loss(self, prepared: Prepared) -> tuple[Tensor, dict[str, Tensor]]:
        """L and its terms."""
        c, x = self.config, prepared
        value_logits = None
        with self.autocast():
            z, condition = self.online.encode(x.task, x.objects, x.token_ids, *x.images)
            logits = self.online.policy(z, condition).float()
            if x.gamma_target is not None:
                value_logits = self.online.value(z, condition, x.actions[:, None])[:, 0].float()
        log_probs = losses.log_prob(logits, x.candidates)
        bc = losses.behaviour_cloning(log_probs[:, 0], x.bc_mask)
        loss = c.alpha * bc
        info = {"bc": bc}
        if value_logits is not None and x.gamma_target is not None:
            critic = losses.critic(value_logits, x.gamma_target)
            loss = loss + c.beta * critic
            info |= {"critic": critic, "q": self.mean(value_logits.detach()).mean()}
        if x.weights is not None:
            improvement = losses.improvement(x.weights, log_probs)
            loss = loss + (1 - c.alpha) * improvement
            info |= {"improvement": improvement, **x.info}
        info |= {"loss": loss, "entropy": entropy(logits)}
        return loss, {name: value.detach() for name, value in info.items()}
