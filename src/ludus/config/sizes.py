"""Networks by name: their kinds and sizes."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args


class Size(NamedTuple):
    """Of a Perceiver: the width of its tokens, and the numbers of latents, self-attention blocks and heads."""

    width: int
    latents: int
    blocks: int
    heads: int


SizeName = Literal["xs", "s", "base", "m", "l", "140m", "1b"]
SIZES: dict[SizeName, Size] = {
    # parameters on world blocks
    "xs": Size(64, 4, 1, 2),  # 0.23 M
    "s": Size(128, 8, 3, 4),  # 1.0 M
    "base": Size(384, 16, 4, 6),  # 9.8 M
    "m": Size(640, 16, 8, 10),  # 40 M
    "l": Size(1024, 16, 5, 16),  # 77 M
    "140m": Size(1024, 32, 13, 16),  # 144 M, the paper's largest but one
    "1b": Size(2048, 32, 26, 16),  # 1,009 M
}
Network = Literal["perceiver", "mlp"]
NETWORKS: tuple[Network, ...] = get_args(Network)
