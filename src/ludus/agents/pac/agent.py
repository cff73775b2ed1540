"""One part of a batch: what needs no gradient (`prepare`), then the three losses and their gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ludus.agents.encoders import make_encoder
from ludus.agents.pac import losses
from ludus.agents.pac.networks import ActorCritic
from ludus.config import AgentConfig
from ludus.seeding import child
from ludus.types import WorldSpec

BOOTSTRAP_ACTIONS = 4
"""Actions of the target policy averaged over in the Bellman target."""


@dataclass
class Inputs:
    """A batch as tensors, rows first; in memory that all processes of a crew see."""

    packed: Tensor  # [B, P] `Features.pack` of the observations
    then: Tensor  # [B, P] of those n steps later
    words: Tensor  # [B, W]
    mentioned: Tensor  # [B, 3]
    actions: Tensor  # [B, A]
    cloned: Tensor  # [B] 0 or 1
    returns: Tensor  # [B]
    discounts: Tensor  # [B]

    def rows(self, rows: slice, device: torch.device) -> Inputs:
        return Inputs(*[getattr(self, n)[rows].to(device, non_blocking=True) for n in self.__dataclass_fields__])


@dataclass
class _Prepared:
    """The first of the K tried actions is the data's own."""

    task: Tensor  # [B, task_size]
    objects: Tensor  # [B, N, object_size]
    words: Tensor  # [B, W]
    actions: Tensor  # [B, A]
    cloned: Tensor  # [B] 0 or 1
    tried: Tensor  # [B, K, A] bins
    goal: Tensor | None = None  # [B, atoms]
    weights: Tensor | None = None  # [B, K]
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Shard:
    """Learns from parts of batches, on networks that somebody else moves. Action samples are drawn from a child of
    `seed` named by update and part."""

    def __init__(
        self, config: AgentConfig, spec: WorldSpec, seed: int, online: ActorCritic, target: ActorCritic, precision: str
    ):
        self.config, self.seed, self.online, self.target = config, seed, online, target
        self._parameters = list(online.parameters())
        self._device = self._parameters[0].device
        self._features = make_encoder(spec)
        self._support = torch.linspace(0, 1, config.value_atoms, device=self._device)
        self._centres = losses.bin_centres(config.action_bins).to(self._device)
        self._precision = torch.autocast(self._device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self._generator = torch.Generator(self._device)
        self._prepared: dict[int, _Prepared] = {}

    @torch.no_grad()
    def prepare(self, inputs: Inputs, update: int, part: int, parts: int) -> None:
        """Features, the Bellman target, sampled actions and their weights, by the target network as it stands."""
        n = len(inputs.actions)
        x = inputs.rows(slice(part * n // parts, (part + 1) * n // parts), self._device)
        c, b = self.config, len(x.actions)
        both = torch.cat([x.packed, x.then])
        task, objects = self._features(both, x.mentioned.repeat(2, 1))
        taken = losses.to_bins(x.actions, c.action_bins)[:, None]
        prepared = _Prepared(task[:b], objects[:b], x.words, x.actions, x.cloned, tried=taken)
        self._prepared[part] = prepared
        if c.alpha == 1 and c.beta == 0:
            return
        self._generator.manual_seed(child(self.seed, "pac", "samples", update, part))
        with self._precision:
            z, about = self.target.encode(task, objects, x.words.repeat(2, 1))
            logits = self.target.policy(z, about).float()
            then = losses.sample_bins(logits[b:], BOOTSTRAP_ACTIONS, self._generator)
            future = self.target.value(z[b:], about[b:], self._centres[then]).float()
        scale = 1 - c.gamma  # rewards in [0, 1] -> values in [0, 1]
        future = future.softmax(-1).mean(1)
        prepared.goal = losses.bellman_target(future, x.returns * scale, x.discounts, self._support)
        if c.alpha < 1:
            sampled = losses.sample_bins(logits[:b], c.action_samples, self._generator)
            prepared.tried = torch.cat([taken, sampled], dim=1)
            with self._precision:
                q = self.target.value(z[:b], about[:b], self._centres[prepared.tried]).float()
            # Outside of autocast, which would round Q by a tenth of how much it differs between actions.
            values = q.softmax(-1) @ self._support
            prepared.weights, kl, spread = losses.improvement_weights(values, c.eta)
            prepared.metrics = {"weights_kl": kl, "q_spread": spread}

    def gradient(self, part: int) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Of the prepared part: the loss' gradient, one tensor per parameter, and metrics."""
        loss, metrics = self.loss(part)
        # parameters without a part in this loss (the critic's under plain cloning) get zeros
        gradient = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        return gradient, metrics

    def loss(self, part: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The three losses of the prepared part, added up, and metrics."""
        c, x = self.config, self._prepared.pop(part)
        value_logits = None
        with self._precision:
            z, about = self.online.encode(x.task, x.objects, x.words)
            logits = self.online.policy(z, about).float()
            if x.goal is not None:
                value_logits = self.online.value(z, about, x.actions[:, None])[:, 0].float()
        log_probs = losses.log_prob(logits, x.tried)  # the action of the data first, then the sampled ones
        # behaviour cloning, by default only where the action was meant for this caption (METHOD, "Recipe")
        bc = -(log_probs[:, 0] * x.cloned).sum() / x.cloned.sum().clamp(min=1)
        loss = c.alpha * bc
        metrics = {"bc": bc}
        if value_logits is not None and x.goal is not None:
            critic = losses.critic(value_logits, x.goal)
            loss = loss + c.beta * critic
            metrics |= {"critic": critic, "q": (value_logits.detach().softmax(-1) @ self._support).mean()}
        if x.weights is not None:
            improvement = -(x.weights * log_probs).sum(-1).mean()
            loss = loss + (1 - c.alpha) * improvement
            metrics |= {"improvement": improvement, **x.metrics}
        probabilities = logits.detach().softmax(-1)
        entropy = -(probabilities * probabilities.clamp(min=1e-9).log()).sum(-1).mean()
        metrics |= {"loss": loss, "entropy": entropy}
        return loss, {k: v.detach() for k, v in metrics.items()}
