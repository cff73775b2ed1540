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
SURE_TO_GO_ON = 0.55
"""Least probability for 'learning', which costs no more than the 'unclear' that is said instead."""
RISING, SURE_ALONE = 0.3, 0.8
"""Below this probability of learning before the correction the points show no rise: then the correction, which knows that others
like it rose in the end, must be this sure."""
MIN_POINTS = 3
"""Fewer points than this are no curve."""

# --- the prior of the forecast, chosen on simulated curves and on two trainings that are not in the exam (docs/log.md) ---

FLAT, FALLING = 0.25, 0.05
"""Mass of 'nothing changes at all' and of a fall, which is noise or forgetting and rarer than learning."""
HALF_WAY, FACTOR = 4.0, 4.0
"""Median of h in intervals between points, and its spread: evaluations are about as frequent as changes,
give or take a factor. So what is flat for three points may well rise yet, and what is flat for ten hardly."""
ALIKE = (0.03, 0.1, 0.3)
"""Correlation of the episodes of one point, which share a policy that is now better, now worse: n of them say as much as
n / (1 + (n - 1) * ALIKE) independent ones (Kish's design effect). Published benchmarks have .16 to .32, trainings of the
blocks world .03; forecasts under each of the three are averaged."""

# --- the correction, fitted on the published curves of tdmpc2, BRO and SimBa by: python benchmarks/judge.py --curves PATH ---

SMALLEST = 1e-4
"""Added to the forecast's probabilities, so that no log odds are beyond what other curves can correct."""
BEFORE = 3
"""Points before the last one that it is compared with."""


@dataclass(frozen=True)
class Correction:
    """A multinomial logistic regression that is added to the forecast's log odds."""

    means: tuple[float, ...]
    """Of each feature of `evidence`, over the curves that it was fitted to ..."""
    spreads: tuple[float, ...]
    """... and their standard deviations."""
    weights: tuple[tuple[float, ...], tuple[float, ...]]
    """Of converged and of stuck, each against learning: one for each feature, and the intercept."""


CORRECTION = Correction(
    means=(-1.366, -0.989, 0.018, 0.041, 0.331, -1.29),
    spreads=(3.337, 2.722, 0.07, 0.174, 0.347, 2.582),
    weights=(
        (-0.449, 0.109, -0.777, 0.508, 0.776, 0.698, -1.627),
        (-0.63, 0.655, -0.682, -0.039, -0.998, -0.948, -3.442),
    ),
)
"""Of 1,523 trainings, and of the same pooled over seeds; `benchmarks/judge.py` says how the two were weighed."""

# --- members of a pooled curve ---

LEAST_PRACTICE = 128
"""Episodes in which a skill was commanded before it may be 'stuck'. Blocks come to stand beside each other by accident in 3 % of
the episodes of a run; where that is a skill's chance, all of 128 fail one time in fifty."""
BEHIND = 2.58
"""Standard errors in the interval of a member's rate: 99 %, because a template has many members and one of them
is always the worst."""


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
    foreseen: float = 0.0
    """`learning` as it was before the correction."""


def forecast(curve: Curve) -> Forecast:
    """The posterior of the curve's future with its three probabilities corrected; of a curve without episodes, as it is."""
    found = posterior(curve)
    return corrected(found, evidence(curve, found), CORRECTION) if sum(curve.n) else found


def judge(curve: Curve) -> Verdict:
    """Converged or stuck, whichever is likelier, where 'learning' is at most `STILL_LEARNING` likely; 'learning' where it is
    the likeliest of the three and sure enough; else 'unclear', which stops nothing: one chance in four of a skill
    is worth its updates."""
    points = sum(n > 0 for n in curve.n)
    if points < MIN_POINTS:
        return Verdict(curve.caption, "unclear", 0.5, f"{points} point(s) are too few; {MIN_POINTS} are the least")
    return decide(curve, forecast(curve))


def decide(curve: Curve, f: Forecast) -> Verdict:
    """The verdict on a curve with this future; see `judge`."""
    probability, judgement = max((f.converged, "converged"), (f.learning, "learning"), (f.stuck, "stuck"))
    numbers = (
        f"about {f.now:.2f} now, {f.later:.2f} expected at {HORIZON:g} times the training ({sum(curve.n)} episodes)"
    )
    split = f"converged {f.converged:.2f}, learning {f.learning:.2f}, stuck {f.stuck:.2f}"
    if judgement == "learning" and probability < (SURE_TO_GO_ON if f.foreseen >= RISING else SURE_ALONE):
        return Verdict(curve.caption, "unclear", 1 - probability, f"{numbers}; no clear rise and no clear end: {split}")
    if judgement != "learning" and f.learning > STILL_LEARNING:
        return Verdict(curve.caption, "unclear", 1 - probability, f"{numbers}; too much to lose by stopping: {split}")
    return Verdict(curve.caption, judgement, probability, f"{numbers}; {split}")


# --- the forecast ------------------------------------------------------------------------------------------------


def posterior(curve: Curve) -> Forecast:
    """The forecast before it is corrected: a mean over `ALIKE`. An empty curve gives the prior."""
    p0, p1, half_way, mass, pair = _grid()
    end, intervals = max(curve.updates, default=1) or 1, max(len(curve.updates), 1)

    def rate(u: float) -> np.ndarray:
        return p0 + (p1 - p0) * _risen(u)[pair]

    prior = np.log(mass) - (np.log(half_way * intervals / HALF_WAY) / np.log(FACTOR)) ** 2 / 2
    logs = np.tile(prior, (len(ALIKE), 1))
    for u, k, n in zip(curve.updates, curve.successes, curve.n, strict=True):
        p = rate(max(u, 1) / end)
        likelihood = k * np.log(p) + (n - k) * np.log1p(-p)
        for row, alike in zip(logs, ALIKE, strict=True):
            row += likelihood / (1 + max(n - 1, 0) * alike)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weight = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
    now, later = rate(1.0), rate(HORIZON)
    more = later - now >= WORTHWHILE
    return Forecast(
        now=float(weight @ now),
        later=float(weight @ later),
        converged=float(weight[~more & (now >= USEFUL)].sum()),
        learning=float(weight[more].sum()),
        stuck=float(weight[~more & (now < USEFUL)].sum()),
    )


LEVELS = np.array([0.01, 0.03, 0.07, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.93, 0.97, 0.99])
HALF_WAYS, STEEPNESSES = np.geomspace(1 / 64, 16, 25), np.array([1, 1.5, 2, 3, 4.5, 7])
ONE_FALL = 3
"""The steepness of falls: one kind is enough."""


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


def judge_family(pooled: Curve, members: Sequence[Curve] = (), practised: int | None = None) -> Verdict:
    """The verdict on the pooled curve of a template, unless its members or too little practice tell otherwise.

    The mean of a template hides a member that has not begun. 'converged' needs every member near the mean: where the interval
    of a member's recent rate lies more than WORTHWHILE below it, the verdict is 'learning' if one of these members is, else
    'unclear'. 'stuck' needs that no member works (one that is clearly above USEFUL makes it 'unclear'), and practice.

    Args:
        pooled: successes and episodes of the members, added up per point.
        members: their own curves; none leave the pooled verdict as it is.
        practised: episodes in which a robot was told to do it; None where that is not known.
    """
    verdict = judge(pooled)
    weak, able = weak_members(pooled, members), [m for m in members if _recent_interval(m)[0] > USEFUL]
    unclear = replace(verdict, judgement="unclear", probability=1 - verdict.probability)
    if verdict.judgement == "converged" and weak:
        why = f"converged on average, but behind: {_names(weak)}; {verdict.why}"
        rising = [v.probability for v in map(judge, weak) if v.judgement == "learning"]
        if rising:
            return replace(verdict, judgement="learning", probability=max(rising), why=why)
        return replace(unclear, why=why)
    if verdict.judgement == "stuck" and able:
        return replace(unclear, why=f"stuck on average, but these work: {_names(able)}; {verdict.why}")
    if verdict.judgement == "stuck" and practised is not None and practised < LEAST_PRACTICE:
        few = f"practised in {practised} episodes; 'stuck' needs {LEAST_PRACTICE}"
        return replace(unclear, why=f"{few}; {verdict.why}")
    return verdict


def _names(members: Sequence[Curve]) -> str:
    return ", ".join(m.caption for m in members)


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
