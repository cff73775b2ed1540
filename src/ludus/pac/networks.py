"""The Perceiver actor-critic: tokens -> latents z -> policy logits; (z, action) -> value logits (arXiv 2402.05546).

The action enters late, as the query of the Q decoder, so z is computed once and many actions are scored on it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ludus.config import PACConfig
from ludus.pac.text import BUCKETS


class Attention(nn.Module):
    """Pre-norm multi-head attention of queries on keys, then a feed-forward layer, both residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_kv, self.norm_f = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def keys(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of `[B, N, D]`, so that they can serve several calls."""
        k, v = self.kv(self.norm_kv(tokens)).chunk(2, dim=-1)
        return self._split(k), self._split(v)

    def forward(self, queries: Tensor, keys: tuple[Tensor, Tensor]) -> Tensor:
        """`[B, Q, D]` queries on keys of `[B, N, D]` tokens -> `[B, Q, D]`."""
        q = self._split(self.q(self.norm_q(queries)))
        mixed = F.scaled_dot_product_attention(q, *keys).transpose(1, 2).flatten(2)
        queries = queries + self.out(mixed)
        return queries + self.feed(self.norm_f(queries))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Perceiver(nn.Module):
    """Encoder and both decoders.

    Args:
        task_size, object_size: numbers per row and per object, see `ludus.pac.features`.
        n_actions: action dimensions A.
    """

    def __init__(self, config: PACConfig, task_size: int, object_size: int, n_actions: int):
        super().__init__()
        width = config.width
        self.words = nn.Embedding(BUCKETS, width, padding_idx=0)
        self.caption = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.task_in = nn.Sequential(nn.Linear(task_size + width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.object_in = nn.Sequential(nn.Linear(object_size, width), nn.ReLU(), nn.Linear(width, width))
        self.latents = nn.Parameter(torch.randn(config.latents, width) * 0.5)
        self.read = Attention(width, config.heads)
        self.blocks = nn.ModuleList(Attention(width, config.heads) for _ in range(config.blocks))
        self.action_queries = nn.Parameter(torch.randn(n_actions, width) * 0.5)
        self.policy_read = Attention(width, config.heads)
        self.action_bins = config.action_bins
        self.policy_out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.action_bins))
        self.action_in = nn.Sequential(nn.Linear(3 * n_actions, width), nn.ReLU(), nn.Linear(width, width))
        self.value_read = Attention(width, config.heads)
        self.value_out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.value_atoms))

    def encode(self, task: Tensor, objects: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, L, D], caption [B, 1, D])` from task rows, object rows and word codes `[B, W]`."""
        known = (words > 0).unsqueeze(-1)
        caption = self.caption((self.words(words) * known).sum(1) / known.sum(1).clamp(min=1))
        # The verb goes into every token, latent and query: without it hover stayed at 3 % (METHOD).
        about = caption.unsqueeze(1)
        task_token = self.task_in(torch.cat([task, caption], dim=-1)).unsqueeze(1)
        tokens = torch.cat([task_token, self.object_in(objects), torch.zeros_like(about)], dim=1) + about
        z = self.read(self.latents + about + task_token, self.read.keys(tokens))
        for block in self.blocks:
            assert isinstance(block, Attention)
            z = block(z, block.keys(z))
        return z, about

    def policy(self, z: Tensor, about: Tensor) -> Tensor:
        """Action logits `[B, A, bins]`."""
        return self.policy_out(self.policy_read(self.action_queries + about, self.policy_read.keys(z)))

    def value(self, z: Tensor, about: Tensor, actions: Tensor) -> Tensor:
        """Value logits `[B, K, atoms]` of K actions per state `[B, K, A]`."""
        query = self.action_in(torch.cat([actions, torch.tanh(4 * actions), torch.tanh(12 * actions)], dim=-1))
        return self.value_out(self.value_read(query + about, self.value_read.keys(z)))
