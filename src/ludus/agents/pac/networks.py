"""The networks: tokens -> latents z -> policy logits; (z, action) -> value logits (arXiv 2402.05546).

The action enters late, as the query of the Q decoder, so z is computed once and many actions are scored on it. The
Perceiver is the method's; the multi-layer perceptron is there to compare it with.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
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
    def encode(self, task: Tensor, objects: Tensor, token_ids: Tensor, *images: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, L, Z], condition [B, 1, D])` from task rows `[B, T]`, object rows `[B, N, O]`, token ids `[B, W]` and images
        `[B, height, width, channels]`; the condition embeds the caption."""

    @abstractmethod
    def policy(self, z: Tensor, condition: Tensor) -> Tensor:
        """Action logits `[B, A, bins]`."""

    @abstractmethod
    def value(self, z: Tensor, condition: Tensor, actions: Tensor) -> Tensor:
        """Value logits `[B, K, atoms]` of K actions per state `[B, K, A]`."""


Shapes = Sequence[tuple[int, int, int]]
"""Height, width and channels of images."""


def actor_critic(
    config: AgentConfig, task_size: int, object_size: int, n_actions: int, images: Shapes = ()
) -> ActorCritic:
    """The network that the configuration names.

    Args:
        task_size, object_size: numbers per row and per object, see `ludus.agents.encoders`.
        n_actions: action dimensions A.
        images: their shapes.
    """
    kind = Perceiver if config.network == "perceiver" else MLP
    return kind(config, task_size, object_size, n_actions, images)


class Linear(nn.Linear):
    """`nn.Linear`, with a ReLU behind it if `relu`. On a CPU bias and ReLU change the product in place: where layers are 64
    wide, writing the bias to every row first, as torch does, takes a quarter of the product's time."""

    def __init__(self, n_in: int, n_out: int, relu: bool = False):
        super().__init__(n_in, n_out)
        self.relu = relu

    def forward(self, input: Tensor, plus: Tensor | None = None) -> Tensor:
        """`[..., n_in]` -> `[..., n_out]`, to which `plus` is added."""
        if not input.is_cpu or torch.is_autocast_enabled("cpu"):
            y = super().forward(input)
            y = F.relu(y) if self.relu else y
            return y if plus is None else plus + y
        x, w = input.flatten(0, -2), self.weight.t()
        y = torch.mm(x, w) if plus is None else torch.addmm(plus.flatten(0, -2), x, w)
        y += self.bias
        return (y.relu_() if self.relu else y).unflatten(0, input.shape[:-1])


def _two_layers(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    """With a ReLU between them; named 0 and 2 in checkpoints."""
    return nn.Sequential(Linear(n_in, hidden, relu=True), nn.Identity(), Linear(hidden, n_out))


class Patches(nn.Module):
    """An image as tokens, one for each of its patches, at most `PATCHES` a side; a patch is known by its pixels and its place
    (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

    PATCHES: ClassVar = 8

    def __init__(self, shape: tuple[int, int, int], width: int):
        super().__init__()
        *sides, channels = shape
        self.side = math.ceil(max(sides) / self.PATCHES)  # of a patch, in pixels
        self.grid = [math.ceil(n / self.side) for n in sides]
        self.missing = [n * self.side - have for n, have in zip(self.grid, sides, strict=True)]
        self.layers = _two_layers(channels * self.side**2 + 2, 2 * width, width)

    def forward(self, image: Tensor) -> Tensor:
        """`[B, height, width, channels]` -> `[B, patches, D]`."""
        x = F.pad(image, (0, 0, 0, self.missing[1], 0, self.missing[0]))
        x = x.unflatten(2, (self.grid[1], self.side)).unflatten(1, (self.grid[0], self.side))
        x = x.transpose(2, 3).flatten(3).flatten(1, 2)  # [B, patches, pixels of one]
        places = torch.cartesian_prod(*(torch.linspace(-1, 1, n, device=x.device) for n in self.grid))
        return self.layers(torch.cat([x, places.expand(len(x), -1, -1)], dim=-1))


KEYS_AT_ONCE = 16
"""Where attention on a CPU is fastest: as many keys as a vector register of AVX-512 holds float32 numbers."""


def _together(n_kv: int, batch: int) -> int:
    """How many scenes of N keys to treat as one, about `KEYS_AT_ONCE` keys; divides the batch."""
    return math.gcd(batch, 2 ** max(0, round(math.log2(KEYS_AT_ONCE / n_kv))))


@cache
def _own_keys(scenes: int, n_q: int, n_kv: int) -> Tensor:
    """`[scenes Q, scenes N]`: 0 where query and key are of one scene, else -inf."""
    with torch.inference_mode(False):  # it is kept, and may be needed for a gradient
        return torch.block_diag(*[torch.ones(n_q, n_kv)] * scenes).log()


class Attention(nn.Module):
    """Pre-norm multi-head attention of queries on keys, then a feed-forward layer, both residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_kv, self.norm_f = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = Linear(width, width), Linear(width, 2 * width), Linear(width, width)
        self.feed = _two_layers(width, 2 * width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """`[B, Q, D]` queries on `[B, N, D]` tokens -> `[B, Q, D]`."""
        q, kv = self.q(self.norm_q(queries)), self.kv(self.norm_kv(tokens))
        queries = self.out(self._mix(q, kv), queries)
        return self.feed[2](self.feed[0](self.norm_f(queries)), queries)

    def _mix(self, q: Tensor, kv: Tensor) -> Tensor:
        """Attention of queries `[B, Q, D]` on keys and values `[B, N, 2 D]` -> `[B, Q, D]`. In training, scenes of few keys are
        computed several at once under a mask, which halves the time. Acting scenes stay apart: no bit of one may depend on its
        neighbours."""
        (batch, n_q, width), n_kv = q.shape, kv.shape[1]
        scenes = _together(n_kv, batch) if self.training and q.is_cpu else 1
        mask = _own_keys(scenes, n_q, n_kv).to(q.dtype) if scenes > 1 else None
        q = q.reshape(batch // scenes, scenes * n_q, self.heads, -1).transpose(1, 2)
        k, v = kv.reshape(batch // scenes, scenes * n_kv, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(batch, n_q, width)


class Perceiver(ActorCritic):
    """Encoder and both decoders; arguments as those of `actor_critic`."""

    def __init__(self, config: AgentConfig, task_size: int, object_size: int, n_actions: int, images: Shapes = ()):
        super().__init__()
        size = config.shape
        width, heads = size.width, size.heads
        self.z_size = width
        self.words = _word_embedding(width)
        self.caption = _two_layers(width, width, width)
        self.task_in = _two_layers(task_size + width, 2 * width, width)
        self.object_in = _two_layers(object_size, width, width)
        self.latents = nn.Parameter(_normal(size.latents, width).mul_(0.5))
        self.read = Attention(width, heads)
        self.blocks = nn.ModuleList(Attention(width, heads) for _ in range(size.blocks))
        self.action_queries = nn.Parameter(_normal(n_actions, width).mul_(0.5))
        self.policy_read = Attention(width, heads)
        self.action_bins = config.action_bins
        self.policy_out = nn.Sequential(nn.LayerNorm(width), Linear(width, config.action_bins))
        self.action_in = _two_layers(3 * n_actions, width, width)
        self.value_read = Attention(width, heads)
        self.value_out = nn.Sequential(nn.LayerNorm(width), Linear(width, config.value_atoms))
        self.images = nn.ModuleList(Patches(shape, width) for shape in images)
        if size.blocks > 1:  # deep: what each block adds starts small, so that their sum stays of one size
            with torch.no_grad():
                for block in self.blocks:
                    assert isinstance(block, Attention)
                    for layer in (block.out, block.feed[-1]):
                        assert isinstance(layer, nn.Linear)
                        layer.weight /= math.sqrt(2 * size.blocks)

    def encode(self, task: Tensor, objects: Tensor, token_ids: Tensor, *images: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, L, D], condition [B, 1, D])` from task rows, object rows, token ids `[B, W]` and images."""
        caption = self.caption(_mean_embedding(self.words, token_ids))
        # The verb goes into every token, latent and query: without it hover stayed at 3 % (docs/method.md, section 5).
        condition = caption.unsqueeze(1)
        task_token = self.task_in(torch.cat([task, caption], dim=-1)).unsqueeze(1)
        seen = [patches(image) for patches, image in zip(self.images, images, strict=True)]
        tokens = torch.cat([task_token, self.object_in(objects), torch.zeros_like(condition), *seen], dim=1) + condition
        z = self.read(self.latents + (condition + task_token), tokens)
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

    It sees the task row, which holds what the caption mentions, the mean of all object rows, the caption, and all patches of
    all images.
    """

    def __init__(self, config: AgentConfig, task_size: int, object_size: int, n_actions: int, images: Shapes = ()):
        super().__init__()
        with torch.device("meta"):
            goal = sum(p.numel() for p in Perceiver(config, task_size, object_size, n_actions, images).parameters())
        width = config.shape.width
        self.action_bins, self.n_actions = config.action_bins, n_actions
        self.words = _word_embedding(width)
        patches = [Patches(shape, width) for shape in images]
        self.images = nn.ModuleList(patches)
        rest = goal - BUCKETS * width - sum(p.numel() for p in self.images.parameters())
        n_in, n_act, n_policy = task_size + object_size + width, 3 * n_actions, n_actions * config.action_bins
        n_in += width * sum(math.prod(p.grid) for p in patches)
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

    def encode(self, task: Tensor, objects: Tensor, token_ids: Tensor, *images: Tensor) -> tuple[Tensor, Tensor]:
        """`(z [B, 1, H], condition [B, 1, D])`."""
        caption = _mean_embedding(self.words, token_ids)
        seen = [patches(image).flatten(1) for patches, image in zip(self.images, images, strict=True)]
        z = self.trunk(torch.cat([task, objects.mean(1), caption, *seen], dim=-1))
        return z.unsqueeze(1), caption.unsqueeze(1)

    def policy(self, z: Tensor, condition: Tensor) -> Tensor:
        """Action logits `[B, A, bins]`."""
        return self.policy_out(z[:, 0]).unflatten(-1, (self.n_actions, self.action_bins))

    def value(self, z: Tensor, condition: Tensor, actions: Tensor) -> Tensor:
        """Value logits `[B, K, atoms]` of K actions per state `[B, K, A]`."""
        return self.value_out(self.state_in(torch.cat([z, condition], dim=-1)) + self.action_in(_multiscale(actions)))


def _normal(*shape: int) -> Tensor:
    """Drawn numbers; none on the device 'meta', where torch would load its compiler and SymPy for them, seconds of a start."""
    numbers = torch.empty(shape)
    return numbers if numbers.is_meta else numbers.normal_()


def _word_embedding(width: int) -> nn.Embedding:
    """With the weights that `nn.Embedding` draws."""
    weights = _normal(BUCKETS, width)
    weights[0] = 0
    return nn.Embedding.from_pretrained(weights, freeze=False, padding_idx=0)


def _mean_embedding(embedding: nn.Embedding, token_ids: Tensor) -> Tensor:
    """`[B, D]` from token ids `[B, W]`; 0 = padding, whose row of the embedding is 0 and has no gradient."""
    return embedding(token_ids).sum(1) / (token_ids > 0).sum(1, keepdim=True).clamp(min=1)


def _multiscale(actions: Tensor) -> Tensor:
    return torch.cat([actions, torch.tanh(4 * actions), torch.tanh(12 * actions)], dim=-1)
