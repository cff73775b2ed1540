"""What few runs say of all runs: means of the middle, bootstrap intervals, and tests of paired differences.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, arXiv 2108.13264. There every
task is trained apart, and runs are drawn anew for each task. Here one policy does all skills of a run, which rise and fall
together: a run is drawn with all of its skills. Each arm of a study is a stratum: it is drawn from its own runs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np

from ludus.seeding import rng

COVERAGE = 0.95
MOST_ENUMERATED = 5
"""Runs of which every sample is taken (5^5); of more, `SAMPLES` are drawn."""
SAMPLES = 10_000
MOST_FLIPPED = 16
"""Pairs of which every choice of signs is taken (2^16); of more, as many are drawn."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""`[..., k]` scores -> `[...]`."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval over runs, which one run has not."""

    value: float
    interval: tuple[float, float] | None


def estimate(scores: np.ndarray, statistic: Statistic) -> Estimate:
    """A statistic over all scores, see `bootstrap`."""
    return Estimate(float(statistic(scores.reshape(-1))), bootstrap(scores, statistic))


def mean(scores: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return scores.mean(-1)


def iqm(scores: np.ndarray) -> np.ndarray:
    """The interquartile mean over the last axis: without the lowest and the highest quarter of the k scores, floor(k / 4) each.
    Of fewer than four it is the mean."""
    cut = scores.shape[-1] // 4
    return np.sort(scores, -1)[..., cut : scores.shape[-1] - cut].mean(-1)


def bootstrap(scores: np.ndarray, statistic: Statistic = mean) -> tuple[float, float] | None:
    """The 95 % percentile interval of a statistic over all scores, by drawing runs with replacement. The same scores give the
    same interval, in whatever order the runs are. None of a single run.

    Args:
        scores: `[n]`, or `[n, m]` for n runs with m scores each.
    """
    rows = scores.reshape(len(scores), -1)
    n = len(rows)
    if n < 2:
        return None
    rows = rows[np.lexsort(rows.T)]
    if n <= MOST_ENUMERATED:
        drawn = np.indices((n,) * n).reshape(n, -1).T
    else:
        drawn = rng(0, "bootstrap", n).integers(n, size=(SAMPLES, n))
    found = statistic(rows[drawn].reshape(len(drawn), -1))
    tail = (1 - COVERAGE) / 2  # of few samples the next value outwards
    return float(np.quantile(found, tail, method="lower")), float(np.quantile(found, 1 - tail, method="higher"))


# --- tests of paired differences -----------------------------------------------------------------------------------


def permutation_test(differences: np.ndarray) -> float:
    """Two-sided p of n paired differences `[n]`, if either order within a pair were as likely: the share of all choices of
    signs whose sum is at least as far from 0. Exact up to `MOST_FLIPPED` pairs."""
    n = len(differences)
    if n <= MOST_FLIPPED:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        extra = 0
    else:
        flipped = rng(0, "permutation", n).integers(2, size=(2**MOST_FLIPPED, n))
        extra = 1  # the signs as they are count as one of the choices
    sums = np.abs((1 - 2 * flipped) @ differences)
    far = sums >= abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    return float((far.sum() + extra) / (len(sums) + extra))


def sign_test(differences: np.ndarray) -> float:
    """Two-sided p of n paired differences `[n]`, by how many are above 0; ties are left out. Exact."""
    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    n = above + below
    tail = sum(comb(n, k) for k in range(min(above, below) + 1))
    return min(1.0, 2 * tail / 2**n)


TESTS: dict[str, Callable[[np.ndarray], float]] = {"permutation": permutation_test, "sign": sign_test}
"""What a study may name as its test."""


def least_p(n: int) -> float:
    """The smallest p that either test can give of n pairs."""
    return min(1.0, 2 / 2**n)
