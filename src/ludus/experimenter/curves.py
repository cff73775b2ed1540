"""Reads a learning curve: how would it go on? A small Bayesian forecast in place of a person's eye.

Every curve `p(u) = p0 + (p1 - p0) * (1 - exp(-(u - d) / tau))` for u > d, else p0, on a grid of start p0, plateau p1,
delay d and time constant tau (both in units of the training so far) is weighed by the binomial likelihood of the
points. The posterior answers what an analyst is asked: how much more would come from `HORIZON` times the training?
Noise, few episodes and missing points need no special cases: they leave the posterior wide, and the answer 'unclear'.
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
"""Least posterior probability for 'learning'; below both, 'unclear'."""
MIN_POINTS = 3
"""Fewer points than this are no curve."""


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
    p0, p1, delay, tau, log_prior = _grid()
    end = max(curve.updates, default=1) or 1

    def rate(u: float) -> np.ndarray:
        grown = -np.expm1(-np.maximum(u - delay, 0) / tau)
        return p0 + (p1 - p0) * grown

    log_posterior = log_prior.copy()
    for u, k, n in zip(curve.updates, curve.successes, curve.n, strict=True):
        p = rate(u / end)
        log_posterior += k * np.log(p) + (n - k) * np.log1p(-p)
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
    """The most probable of converged, learning and stuck; 'unclear' where none is probable enough."""
    total = sum(curve.n)
    if len(curve.updates) < MIN_POINTS:
        points = len(curve.updates)
        return Verdict(curve.caption, "unclear", 0.5, f"{points} point(s) are too few; {MIN_POINTS} are the least")
    f = forecast(curve)
    probability, judgement = max((f.converged, "converged"), (f.learning, "learning"), (f.stuck, "stuck"))
    numbers = f"about {f.now:.2f} now, {f.later:.2f} expected at {HORIZON:g} times the training ({total} episodes)"
    if probability < (SURE_TO_GO_ON if judgement == "learning" else SURE_TO_STOP):
        split = f"converged {f.converged:.2f}, learning {f.learning:.2f}, stuck {f.stuck:.2f}"
        return Verdict(curve.caption, "unclear", 1 - probability, f"{numbers}; too close to call: {split}")
    return Verdict(curve.caption, judgement, probability, numbers)


@cache
def _grid() -> tuple[np.ndarray, ...]:
    """The models, flattened: p0, p1, delay, tau, log prior."""
    levels = np.array([0.01, 0.03, 0.07, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.93, 0.97, 0.99])
    delays = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0])
    taus = np.array([0.03, 0.06, 0.1, 0.2, 0.4, 0.8, 1.6])
    p0, p1, delay, tau = (a.ravel() for a in np.meshgrid(levels, levels, delays, taus, indexing="ij"))
    flat, late = p0 == p1, delay >= 1
    # A third of the prior: nothing changes at all. A rise that has shown no sign yet is always possible and no data can
    # exclude it, so it gets little; a fall is noise or forgetting, rarer than learning. With these masses the stated
    # probabilities match the share of right answers on simulated curves (tests/test_experimenter_curves.py).
    group = np.select([flat, late, p1 < p0], [0, 1, 2], 3)
    mass = np.array([0.3, 0.03, 0.04, 0.63])
    log_prior = np.log(mass[group] / np.bincount(group, minlength=4)[group])
    return p0, p1, delay, tau, log_prior
