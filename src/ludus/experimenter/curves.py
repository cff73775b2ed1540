"""Judges a learning curve by a Bayesian forecast of how it would go on.

Every curve `p(u) = p0 + (p1 - p0) / (1 + (h / u) ** k)`, a logistic in the logarithm of the updates u, on a grid of start p0,
plateau p1, half-way point h and steepness k is weighed by the likelihood of the points. Steep ones are flat, then rise;
shallow ones rise from the start and saturate slowly. The posterior says how much more success `HORIZON` times the training
would bring. Noise, few episodes and missing points need no special cases: they leave the posterior wide, and the answer
'unclear'.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ludus.types import Curve, Verdict

HORIZON = 3.0
"""'More training' is this many times the training so far."""
WORTHWHILE = 0.1
"""A rise in success rate worth training on for."""
USEFUL = 0.2
"""Below this success rate a flat curve is stuck rather than converged."""
SURE_TO_STOP = 0.7
"""Least posterior probability for 'converged' or 'stuck': a wrong one ends a training that was worth its while."""
SURE_TO_GO_ON = 0.55
"""Least posterior probability for 'learning', which costs no more than the 'unclear' that is said below both."""
MIN_POINTS = 3
"""Fewer points than this are no curve."""

# The prior, chosen on simulated curves of other shapes and on two trainings that are not in the exam (docs/log.md).
FLAT, FALLING = 0.25, 0.05
"""Mass of 'nothing changes at all' and of a fall, which is noise or forgetting and rarer than learning."""
HALF_WAY, FACTOR = 4.0, 4.0
"""Median of h in intervals between points, and its spread: evaluations are about as frequent as changes,
give or take a factor. So what is flat for three points may well rise yet, and what is flat for ten hardly."""
ALIKE = 0.03
"""Correlation of the episodes of one point, which share a policy that is now better, now worse: n of them say as much as
n / (1 + (n - 1) * ALIKE) independent ones (Kish's design effect)."""


@dataclass(frozen=True)
class Forecast:
    """What the points so far say. Success rates."""

    now: float
    """Posterior mean at the last point."""
    later: float
    """Posterior mean at HORIZON times the training."""
    converged: float
    """Probability of at least USEFUL now, and less than WORTHWHILE more to come."""
    learning: float
    """Probability of WORTHWHILE or more to come."""
    stuck: float
    """Probability of less than USEFUL now, and less than WORTHWHILE more to come."""


def forecast(curve: Curve) -> Forecast:
    """Posterior of the curve's future. An empty curve gives the prior."""
    p0, p1, half_way, steepness, mass = _grid()
    end, intervals = max(curve.updates, default=1) or 1, max(len(curve.updates), 1)

    def rate(u: float) -> np.ndarray:
        return p0 + (p1 - p0) / (1 + (half_way / u) ** steepness)

    log_posterior = np.log(mass) - (np.log(half_way * intervals / HALF_WAY) / np.log(FACTOR)) ** 2 / 2
    for u, k, n in zip(curve.updates, curve.successes, curve.n, strict=True):
        p = rate(max(u, 1) / end)
        log_posterior += (k * np.log(p) + (n - k) * np.log1p(-p)) / (1 + max(n - 1, 0) * ALIKE)
    weight = np.exp(log_posterior - log_posterior.max())
    weight /= weight.sum()
    now, later = rate(1.0), rate(HORIZON)
    more = later - now >= WORTHWHILE
    return Forecast(
        now=float(weight @ now),
        later=float(weight @ later),
        converged=float(weight[~more & (now >= USEFUL)].sum()),
        learning=float(weight[more].sum()),
        stuck=float(weight[~more & (now < USEFUL)].sum()),
    )


def judge(curve: Curve) -> Verdict:
    """The most probable of converged, learning and stuck; 'unclear' where none is probable enough, or where going on is
    worth it though nothing is likely to come: one chance in five of a skill is more than a tenth."""
    total = sum(curve.n)
    if len(curve.updates) < MIN_POINTS:
        points = len(curve.updates)
        return Verdict(curve.caption, "unclear", 0.5, f"{points} point(s) are too few; {MIN_POINTS} are the least")
    f = forecast(curve)
    probability, judgement = max((f.converged, "converged"), (f.learning, "learning"), (f.stuck, "stuck"))
    numbers = f"about {f.now:.2f} now, {f.later:.2f} expected at {HORIZON:g} times the training ({total} episodes)"
    split = f"converged {f.converged:.2f}, learning {f.learning:.2f}, stuck {f.stuck:.2f}"
    if probability < (SURE_TO_GO_ON if judgement == "learning" else SURE_TO_STOP):
        return Verdict(curve.caption, "unclear", 1 - probability, f"{numbers}; too close to call: {split}")
    if judgement != "learning" and f.later - f.now >= WORTHWHILE:
        return Verdict(curve.caption, "unclear", 1 - probability, f"{numbers}; too much to lose by stopping: {split}")
    return Verdict(curve.caption, judgement, probability, numbers)


@cache
def _grid() -> tuple[np.ndarray, ...]:
    """The models, flattened: p0, p1, h in units of the training so far, k, prior mass but for that of h."""
    levels = np.array([0.01, 0.03, 0.07, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.93, 0.97, 0.99])
    half_ways = np.geomspace(1 / 64, 16, 25)
    p0, p1, h, k = (a.ravel() for a in np.meshgrid(levels, levels, half_ways, [1, 1.5, 2, 3, 4.5, 7], indexing="ij"))
    kept = (p1 >= p0) | (k == 3)  # of falls one kind is enough
    p0, p1, h, k = p0[kept], p1[kept], h[kept], k[kept]
    # A skill mostly starts low, and one that is learned at all is mostly learned well.
    shape = np.where(p1 > p0, (1 - p0) ** 2 * np.where(p1 > 0.85, 2, 1), 1.0)
    group = np.select([p0 == p1, p1 < p0], [0, 1], 2)
    mass = np.array([FLAT, FALLING, 1 - FLAT - FALLING]) / np.bincount(group, shape)
    return p0, p1, h, k, shape * mass[group]
