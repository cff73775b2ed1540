"""Judges a learning curve: a Bayesian forecast of how it would go on, corrected by what became of published curves.

**Forecast.** Every curve `p(u) = p0 + (p1 - p0) / (1 + (h / u) ** k)`, a logistic in the logarithm of the updates u, on a grid of
start p0, plateau p1, half-way point h and steepness k is weighed by the likelihood of the points. Steep ones are flat, then
rise; shallow ones rise from the start and saturate slowly. The posterior says how much more success `HORIZON` times the training
would bring.

**Correction.** The grid knows one rise and no fall, so it takes a dip for noise and a plateau for the end. A multinomial logistic
regression on its log odds and on four features of the last points (`evidence`) mends that. Its coefficients come from published
trainings of other robots and learners; `benchmarks/judge.py` fits them and measures the judge on sources that were held out.

Noise, few episodes and missing points need no special cases: they leave the probabilities even, and the answer 'unclear'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ludus.types import Curve, Verdict

HORIZON = 3.0
"""'More training' is this many times the training so far."""
WORTHWHILE = 0.1
"""A rise in success rate worth training on for."""
USEFUL = 0.2
"""Below this success rate a flat curve is stuck rather than converged."""
STILL_LEARNING = 0.25
"""Greatest probability of 'learning' at which a training may be stopped. Chosen on the published curves, sources held out in
turn, as the value that keeps premature stops below one in twenty (docs/log.md)."""
SURE_TO_GO_ON, RISING = 0.45, 0.3
"""Least probability for 'learning', which costs no more than the 'unclear' that is said instead; and least probability before
the correction, so that a curve which shows no rise is not called so because others like it rose in the end."""


@cache
def _grid() -> tuple[np.ndarray, ...]:
    """The models, flattened: p0, p1, h in units of the training so far, prior mass but for that of h; and which of the pairs
    of `_risen` each has."""
    p0, p1, h, k = (a.ravel() for a in np.meshgrid(LEVELS, LEVELS, HALF_WAYS, STEEPNESSES, indexing="ij"))
    kept = np.flatnonzero((p1 >= p0) | (k == ONE_FALL))
    p0, p1, h = p0[kept], p1[kept], h[kept]
    # A skill mostly starts low, and one that is learned at all is mostly learned well.
    shape = np.where(p1 > p0, (1 - p0) ** 2 * np.where(p1 > 0.85, 2, 1), 1.0)
    group = np.select([p0 == p1, p1 < p0], [0, 1], 2)
    mass = np.array([FLAT, FALLING, 1 - FLAT - FALLING]) / np.bincount(group, shape)
    return p0, p1, h, shape * mass[group], kept % (len(HALF_WAYS) * len(STEEPNESSES))


def _risen(u: float) -> np.ndarray:
    """The share of its rise that a curve has made at u, in units of the training so far; of each pair of h and k."""
    return (1 / (1 + (HALF_WAYS[:, None] / u) ** STEEPNESSES)).ravel()


# --- the correction ----------------------------------------------------------------------------------------------


def log_odds(f: Forecast) -> np.ndarray:
    """`[2]`: of converged and of stuck against learning."""
    return np.log((np.array([f.converged, f.stuck]) + SMALLEST) / (f.learning + SMALLEST))


def evidence(curve: Curve, found: Forecast) -> np.ndarray:
    """`[6]`: the forecast's two log odds; how far the last point lies below the `BEFORE` points before it; by how much the
    last third of the points is above the third before; the last rate; and the log odds of the rate of the last third.

    Args:
        curve: at least one point.
    """
    k, n = np.array(curve.successes, float), np.array(curve.n, float)
    third = max(1, len(k) // 3)
    last, recent = _rate(k, n, slice(-1, None)), _rate(k, n, slice(-third, None))
    earlier, before = _rate(k, n, slice(-2 * third, -third)), _rate(k, n, slice(-1 - BEFORE, -1))
    fall, trend = max(0.0, before - last), recent - earlier
    return np.array([*log_odds(found), fall, trend, last, math.log(recent / (1 - recent))])


def _rate(k: np.ndarray, n: np.ndarray, which: slice) -> float:
    """Posterior mean under Jeffreys' prior, so that it is never 0 or 1."""
    return (k[which].sum() + 0.5) / (n[which].sum() + 1)


def corrected(found: Forecast, evidence: np.ndarray, correction: Correction) -> Forecast:
    """The forecast with other probabilities: those of the regression, whose offset are its own."""
    x = (evidence - np.array(correction.means)) / np.array(correction.spreads)
    converged, stuck = log_odds(found) + np.array(correction.weights) @ np.append(x, 1.0)
    odds = np.exp(np.array([converged, 0.0, stuck]) - max(converged, 0.0, stuck))
    converged, learning, stuck = (float(p) for p in odds / odds.sum())
    return replace(found, converged=converged, learning=learning, stuck=stuck, foreseen=found.learning)


# --- members of a pooled curve -----------------------------------------------------------------------------------


def judge_family(pooled: Curve, members: Sequence[Curve]) -> Verdict:
    """The verdict on the pooled curve of a template, unless its members tell otherwise.

    The mean of a template hides a member that has not begun. 'converged' needs every member near the mean: where the interval
    of a member's recent rate lies more than WORTHWHILE below it, the verdict is 'learning' if one of these members is, else
    'unclear'. 'stuck' needs that no member works: where one is clearly above USEFUL, the verdict is 'unclear'.

    Args:
        pooled: successes and episodes of the members, added up per point.
        members: their own curves; none leave the pooled verdict as it is.
    """
    verdict = judge(pooled)
    if verdict.judgement == "converged":
        weak = weak_members(pooled, members)
        if weak:
            why = f"converged on average, but behind: {', '.join(m.caption for m in weak)}; {verdict.why}"
            own = [judge(m) for m in weak]
            rising = [v.probability for v in own if v.judgement == "learning"]
            if rising:
                return Verdict(pooled.caption, "learning", max(rising), why)
            return Verdict(pooled.caption, "unclear", 1 - verdict.probability, why)
    if verdict.judgement == "stuck":
        able = [m.caption for m in members if _recent_interval(m)[0] > USEFUL]
        if able:
            why = f"stuck on average, but these work: {', '.join(able)}; {verdict.why}"
            return Verdict(pooled.caption, "unclear", 1 - verdict.probability, why)
    return verdict


def weak_members(pooled: Curve, members: Sequence[Curve]) -> tuple[Curve, ...]:
    """Members whose recent rate is, with confidence, more than WORTHWHILE below that of the pooled curve."""
    k, n = _recent(pooled)
    if not n:
        return ()
    return tuple(m for m in members if _recent_interval(m)[1] < k / n - WORTHWHILE)


def _recent(curve: Curve) -> tuple[int, int]:
    """Successes and episodes of the last third of the points."""
    third = max(1, len(curve.n) // 3)
    return sum(curve.successes[-third:]), sum(curve.n[-third:])


def _recent_interval(curve: Curve) -> tuple[float, float]:
    """Wilson interval at `BEHIND` standard errors of the recent rate; (0, 1) without episodes."""
    k, n = _recent(curve)
    if not n:
        return 0.0, 1.0
    z2, rate = BEHIND**2, k / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = BEHIND / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return centre - half, centre + half
