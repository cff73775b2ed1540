"""Named child seeds of the run's seed: the only source of randomness in ludus.

`rng(seed, "round", 3, "collect")` is the same generator on every machine, whatever was drawn before. So a stage can be
skipped, repeated or run elsewhere without changing the random numbers of other stages.
"""

from __future__ import annotations

import hashlib

import numpy as np


def child(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the path `names` under `seed`."""
    path = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big") >> 1


def successive(seed: int, *names: str | int, n: int) -> list[int]:
    """n seeds that follow each other, for the episodes of a measurement: a world with K given starts that takes number
    `seed % K` begins n = K episodes at each of them once."""
    first = child(seed, *names)
    return [(first + i) % 2**63 for i in range(n)]


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for the path `names` under `seed`."""
    return np.random.Generator(np.random.PCG64(child(seed, *names)))
