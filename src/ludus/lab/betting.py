"""Evidence by betting: e-values of a mean, valid after any number of looks.

A bet t in (0, 1) on 'the mean of x is above m', x in [low, high], multiplies its wealth by `1 + t (x - m) / (m - low)` per
observation. If the claim is false, whatever was seen before, the expected wealth never grows, and the chance that it ever
reaches 1/a is at most a (Ville 1939). The mean wealth over a fixed grid of bets (Cover's universal portfolio, 1991) is the
e-value.
Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS-B 86(1), 2024.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

N_BETS = 32
"""Twice as many change e-values of the gate's benchmark by less than a tenth."""
BETS = np.sin(np.pi / 2 * (np.arange(N_BETS) + 0.5) / N_BETS) ** 2
"""`[N_BETS]`. The arcsine grid puts bets at both ends: small ones for small differences, bold ones for 'it never happens'."""


@cache
def factors(margin: float, low: int) -> np.ndarray:
    """`[1 - low + 1, N_BETS]`: log of what each value low, ..., 1 multiplies the wealth of each bet on 'the mean is above the
    margin' by."""
    values = np.arange(low, 2)[:, None]
    return np.log1p(BETS * (values - margin) / (margin - low))


def log_e(log_wealth: np.ndarray) -> np.ndarray:
    """`[..., N_BETS] -> [...]`: log of the mean wealth."""
    top = log_wealth.max(-1)
    return top + np.log(np.exp(log_wealth - top[..., None]).mean(-1))


def discount(n: int, alike: float) -> float:
    """Kish's design effect: n episodes that correlate by `alike` say as much as n / discount independent ones. To take the root
    of a wealth keeps it valid (Jensen)."""
    return 1 + max(n - 1, 0) * alike


@cache
def interval(n: int, only_old: int, only_new: int, error: float = 0.05) -> tuple[float, float]:
    """Confidence sequence of the mean difference in n pairs: right at all looks at once with probability 1 - error. Ends are
    rounded outwards to .005. No pairs give (-1, 1)."""

    def bound(old: int, new: int) -> float:
        """The greatest margin that the mean is shown to exceed; e-values fall with the margin."""
        below, inside = -200, 200  # margins in 1/200: at `below` exceeded, at `inside` not
        while inside - below > 1:
            middle = (below + inside) // 2
            wealth = np.array([old, n - old - new, new]) @ factors(middle / 200, -1)
            if log_e(wealth) >= math.log(2 / error):
                below = middle
            else:
                inside = middle
        return below / 200

    return bound(only_old, only_new), -bound(only_new, only_old)
