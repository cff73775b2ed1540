"""The networks: tokens -> latents z -> policy logits; (z, action) -> value logits (arXiv 2402.05546).

The action enters late, as the query of the Q decoder, so z is computed once and many actions are scored on it. The
Perceiver is the method's; the multi-layer perceptron is there to compare it with.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ludus.agents.captions import BUCKETS
from ludus.config import AgentConfig


class ActorCritic(nn.Module):
    """What losses and acting ask of a network."""

    forward_methods: ClassVar = ("encode", "policy", "value")
    action_bins: int
    z_size: int
    """Size of the last dimension of z."""

    @abstractmethod
    def encode(self, task: Tensor, objects: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, L, Z], condition [B, 1, D])` from task rows `[B, T]`, object rows `[B, N, O]` and token ids `[B, W]`; the
        condition embeds the caption."""

    @abstractmethod
    def policy(self, z: Tensor, condition: Tensor) -> Tensor:
        """Action logits `[B, A, bins]`."""

    @abstractmethod
    def value(self, z: Tensor, condition: Tensor, actions: Tensor) -> Tensor:
        """Value logits `[B, K, atoms]` of K actions per state `[B, K, A]`."""


def actor_critic(config: AgentConfig, task_size: int, object_size: int, n_actions: int) -> ActorCritic:
    """The network that the configuration names.

    Args:
        task_size, object_size: numbers per row and per object, see `ludus.agents.encoders`.
        n_actions: action dimensions A.
    """
    kind = Perceiver if config.network == "perceiver" else MLP
    return kind(config, task_size, object_size, n_actions)


class Linear(nn.Linear):
    """`nn.Linear`; on a CPU the bias is added in place."""

    def forward(self, input: Tensor, plus: Tensor | None = None) -> Tensor:
        """`plus` is added."""
        if not input.is_cpu or torch.is_autocast_enabled("cpu"):
            y = super().forward(input)
            return y if plus is None else plus + y
        x, w = input.flatten(0, -2), self.weight.t()
        y = x @ w if plus is None else torch.addmm(plus.flatten(0, -2), x, w)
        return y.add_(self.bias).view(*input.shape[:-1], -1)


def ReLU() -> nn.ReLU:
    return nn.ReLU(inplace=True)


@cache
def _block_mask(group: int, n_q: int, n_kv: int) -> Tensor:
    own = torch.eye(group, dtype=torch.bool)[:, None, :, None].expand(-1, n_q, -1, n_kv)
    return torch.zeros(group * n_q, group * n_kv).masked_fill_(~own.reshape(group * n_q, -1), -math.inf)


def _group(n_kv: int, batch: int) -> int:
    return math.gcd(batch, 2 ** max(0, round(math.log2(16 / n_kv))))


class Attention(nn.Module):
    """Pre-norm multi-head attention of queries on keys, then a feed-forward layer, both residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_kv, self.norm_f = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = Linear(width, width), Linear(width, 2 * width), Linear(width, width)
        self.feed = nn.Sequential(Linear(width, 2 * width), ReLU(), Linear(2 * width, width))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """`[B, Q, D]` queries on `[B, N, D]` tokens -> `[B, Q, D]`."""
        q, kv = self.q(self.norm_q(queries)), self.kv(self.norm_kv(tokens))
        queries = self.out(self._mix(q, kv), queries)
        return self.feed[2](self.feed[1](self.feed[0](self.norm_f(queries))), queries)

    def _mix(self, q: Tensor, kv: Tensor) -> Tensor:
        """Attention; `[B, Q, D]`, `[B, N, 2 D]` -> `[B, Q, D]`."""
        (batch, n_q, width), n_kv = q.shape, kv.shape[1]
        group = _group(n_kv, batch) if self.training and q.is_cpu else 1
        mask = _block_mask(group, n_q, n_kv) if group > 1 else None
        q = q.reshape(batch // group, group * n_q, self.heads, -1).transpose(1, 2)
        k, v = kv.reshape(batch // group, group * n_kv, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(batch, n_q, width)


class Perceiver(ActorCritic):
    """Encoder and both decoders; arguments as those of `actor_critic`."""

    def __init__(self, config: AgentConfig, task_size: int, object_size: int, n_actions: int):
        super().__init__()
        size = config.shape
        width, heads = size.width, size.heads
        self.z_size = width
        self.words = nn.Embedding(BUCKETS, width, padding_idx=0)
        self.caption = nn.Sequential(Linear(width, width), ReLU(), Linear(width, width))
        self.task_in = nn.Sequential(Linear(task_size + width, 2 * width), ReLU(), Linear(2 * width, width))
        self.object_in = nn.Sequential(Linear(object_size, width), ReLU(), Linear(width, width))
        self.latents = nn.Parameter(torch.randn(size.latents, width) * 0.5)
        self.read = Attention(width, heads)
        self.blocks = nn.ModuleList(Attention(width, heads) for _ in range(size.blocks))
        self.action_queries = nn.Parameter(torch.randn(n_actions, width) * 0.5)
        self.policy_read = Attention(width, heads)
        self.action_bins = config.action_bins
        self.policy_out = nn.Sequential(nn.LayerNorm(width), Linear(width, config.action_bins))
        self.action_in = nn.Sequential(Linear(3 * n_actions, width), ReLU(), Linear(width, width))
        self.value_read = Attention(width, heads)
        self.value_out = nn.Sequential(nn.LayerNorm(width), Linear(width, config.value_atoms))
        if size.blocks > 1:  # deep: what each block adds starts small, so that their sum stays of one size
            with torch.no_grad():
                for block in self.blocks:
                    assert isinstance(block, Attention)
                    for layer in (block.out, block.feed[-1]):
                        assert isinstance(layer, nn.Linear)
                        layer.weight /= math.sqrt(2 * size.blocks)

    def encode(self, task: Tensor, objects: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, L, D], condition [B, 1, D])` from task rows, object rows and token ids `[B, W]`."""
        caption = self.caption(_mean_embedding(self.words, token_ids))
        # The verb goes into every token, latent and query: without it hover stayed at 3 % (docs/method.md, section 5).
        condition = caption.unsqueeze(1)
        task_token = self.task_in(torch.cat([task, caption], dim=-1)).unsqueeze(1)
        tokens = torch.cat([task_token, self.object_in(objects), torch.zeros_like(condition)], dim=1) + condition
        z = self.read(self.latents + condition + task_token, tokens)
        for block in self.blocks:
            z = block(z, z)
        return z, condition

    def policy(self, z: Tensor, condition: Tensor) -> Tensor:
        """Action logits `[B, A, bins]`."""
        return self.policy_out(self.policy_read(self.action_queries + condition, z))

    def value(self, z: Tensor, condition: Tensor, actions: Tensor) -> Tensor:
        """Value logits `[B, K, atoms]` of K actions per state `[B, K, A]`."""
        query = self.action_in(_multiscale(actions))
        return self.value_out(self.value_read(query + condition, z))


class MLP(ActorCritic):
    """A multi-layer perceptron with as many parameters as the Perceiver of the same configuration, to within 2 %.

    It sees the task row, which holds what the caption mentions, the mean of all object rows, and the caption.
    """

    def __init__(self, config: AgentConfig, task_size: int, object_size: int, n_actions: int):
        super().__init__()
        with torch.device("meta"):
            goal = sum(p.numel() for p in Perceiver(config, task_size, object_size, n_actions).parameters())
        width = config.shape.width
        self.action_bins, self.n_actions = config.action_bins, n_actions
        self.words = nn.Embedding(BUCKETS, width, padding_idx=0)
        rest = goal - BUCKETS * width
        n_in, n_act, n_policy = task_size + object_size + width, 3 * n_actions, n_actions * config.action_bins
        # 4 h^2 + h (all that goes in and out) = rest
        fringe = n_in + n_act + width + n_policy + config.value_atoms + 4
        hidden = int((math.sqrt(fringe**2 + 16 * rest) - fringe) / 8)
        self.z_size = hidden
        self.trunk = nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.policy_out = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_policy)
        )
        self.state_in, self.action_in = nn.Linear(hidden + width, hidden), nn.Linear(n_act, hidden, bias=False)
        self.value_out = nn.Sequential(
            nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.value_atoms)
        )

    def encode(self, task: Tensor, objects: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, 1, H], condition [B, 1, D])`."""
        caption = _mean_embedding(self.words, token_ids)
        z = self.trunk(torch.cat([task, objects.mean(1), caption], dim=-1))
        return z.unsqueeze(1), caption.unsqueeze(1)

    def policy(self, z: Tensor, condition: Tensor) -> Tensor:
        """Action logits `[B, A, bins]`."""
        return self.policy_out(z[:, 0]).unflatten(-1, (self.n_actions, self.action_bins))

    def value(self, z: Tensor, condition: Tensor, actions: Tensor) -> Tensor:
        """Value logits `[B, K, atoms]` of K actions per state `[B, K, A]`."""
        return self.value_out(self.state_in(torch.cat([z, condition], dim=-1)) + self.action_in(_multiscale(actions)))


def _mean_embedding(embedding: nn.Embedding, token_ids: Tensor) -> Tensor:
    """`[B, D]` from token ids `[B, W]`, 0 = padding."""
    return F.embedding_bag(token_ids, embedding.weight, mode="mean", padding_idx=0)


def _multiscale(actions: Tensor) -> Tensor:
    return torch.cat([actions, torch.tanh(4 * actions), torch.tanh(12 * actions)], dim=-1)
