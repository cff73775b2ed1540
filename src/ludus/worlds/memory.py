"""The memory that `ludus.worlds.served` and `ludus.worlds.server` both map."""

from __future__ import annotations

import mmap

import numpy as np

from ludus.types import WorldSpec


def arrays(spec: WorldSpec, n_envs: int, memory: mmap.mmap | None = None) -> tuple[dict[str, np.ndarray], int]:
    """What both processes see: 'actions' `[E, A]` float32, 'ended' `[E]` bool and one array per observation group, and how many
    bytes they take. Without memory there are no arrays."""
    shapes = {"actions": ((n_envs, len(spec.actions)), np.dtype(np.float32)), "ended": ((n_envs,), np.dtype(bool))}
    shapes |= {f"observed/{g.name}": ((n_envs, *g.shape), np.dtype(g.dtype)) for g in spec.observation.groups}
    found, at = {}, 0
    for name, (shape, dtype) in shapes.items():
        n = int(np.prod(shape))
        if memory is not None:
            found[name] = np.frombuffer(memory, dtype, n, at).reshape(shape)
        at += -(-n * dtype.itemsize // 64) * 64  # aligned
    return found, at
