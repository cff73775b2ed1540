"""How surprising a count is: stored successes are few, and many of them are accidents."""

from __future__ import annotations

import math

UNLIKELY = 0.05
"""A count that chance leaves this low with at most this probability speaks against a candidate."""


def at_most(k: int, n: int, p: float) -> float:
    """Probability of at most k of n independent events of probability p."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    chosen = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1))
    return math.fsum(math.exp(c + i * math.log(p) + (n - i) * math.log1p(-p)) for i, c in enumerate(chosen))
