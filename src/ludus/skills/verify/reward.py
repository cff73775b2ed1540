"""Checks on a reward: does it lead to the success, and to nothing else?"""

from __future__ import annotations

import numpy as np

from ludus.skills.verify.chance import UNLIKELY, at_most
from ludus.skills.verify.evidence import MIN_WAYS, Scores
from ludus.skills.verify.verdict import Check
from ludus.types import Observations

MIN_SUCCESSES = 10
"""Observations with success from which a quantile of the reward is taken."""
LOW, HIGH = 0.2, 0.95
"""Quantiles that stand for the reward of success and for the most that is paid without it. A good reward may lag at the edge of
a wide success: hovering is paid half while the block is still rising."""
HIGH_REWARD = 0.8
"""A reward this high counts as full."""
NEARLY_FULL_REWARD = 0.95
"""Where the evidence shows no success, only a reward this high counts as paid without it."""
LEAST_HIGH_REWARD = 0.5
"""What a success must pay at least, even where everything else pays less."""
RISE = 0.01
"""Along a way where the reward gains less, it is flat."""
RISING_SHARE = 0.3
"""Of the ways along which the reward must rise, but for chance. Not more: stored success is often an accident, such as a block
that was knocked off; along the ways of such a success no reward rises."""
NEAR_SUCCESS = 5
"""Observations (a quarter of a second at 20 Hz) at the begin and at the end of a way that are compared."""
LEAST_SPREAD = 0.1
"""A reward that varies less over all observations without success leads nowhere: most of the way it says nothing ..."""
MIN_TOLD = 100
"""... unless it varies over those at which the prerequisites hold, and there are so many: there the skill can be told."""
DWELL = 20
"""Observations (a second at 20 Hz) that a full reward without success may last if success follows: a block that was let go comes
to rest sooner (14 at most in 41,216 observations of the teacher's base skills) ..."""
FOLLOWS = 40
"""... and within how many observations it must follow."""
STRAY = 40, 0.001
"""Observations, or share of all stored ones, at which a full reward may come to nothing (a block that falls again). Good
candidates had 30 at most in 41,216, rewards that forget a condition 75 and more."""
GOAL_TOLERANCE = 0.02
"""Share of observations with success at which the goal need not hold: two ways of measuring disagree at their edges."""
STILL_SHARE = 0.8
"""Of the reward of success; a skill that is given more at its beginning pays for holding still."""


def success_pays(scores: Scores, composed: Observations | None) -> Check:
    """Where the success holds, the reward must be high: absolutely, or above nearly all that is paid without success."""
    name, low, where = "success_pays", *_paid(scores, composed)
    if low is None:
        return Check(name, True, f"not judged: {where}")
    other = float(np.quantile(scores.reward[scores.others], HIGH)) if len(scores.others) else 0.0
    text = f"reward is {low:.2f} {where}, and {other:.2f} (95 % quantile) without success"
    if low >= HIGH_REWARD or (low >= LEAST_HIGH_REWARD and low > other):
        return Check(name, True, text)
    example = ""
    if len(scores.successful):
        example = "; " + scores.at(int(scores.successful[np.argmin(scores.reward[scores.successful])]))
    return Check(name, False, f"{text}; let the success pay most, such as by a last stage that is 1 there{example}")


def rises(scores: Scores) -> Check:
    """Along stored ways to success the reward must rise before the success, or it guides nobody there."""
    ways = scores.ways
    if len(ways) < MIN_WAYS:
        return Check(
            "rises", True, f"not judged: {len(ways)} ways to success in stored episodes, {MIN_WAYS} are needed"
        )
    before = np.array([scores.reward[max(b, t - NEAR_SUCCESS) : t].mean() for b, t in ways])
    first = np.array([scores.reward[b : min(t, b + NEAR_SUCCESS)].mean() for b, t in ways])
    gains = before - first
    n_rising = int(np.count_nonzero(gains >= RISE))
    text = (
        f"along {len(ways)} ways to success the reward goes from {first.mean():.2f} to {before.mean():.2f} just before it, "
        f"and rises along {n_rising}"
    )
    if at_most(n_rising, len(ways), RISING_SHARE) > UNLIKELY:
        return Check("rises", True, text)
    flattest = ways[int(np.argmin(gains))][1] - 1
    problem = f"{text}, fewer than {RISING_SHARE:.0%}; pay for what comes before success"
    return Check("rises", False, f"{problem}; {scores.at(flattest)}, just before success")


def not_hackable(scores: Scores, composed: Observations | None, is_sibling: bool = False) -> Check:
    """High reward without success, success without the goal, pay for holding still, a reward that nothing changes (not asked of
    a sibling, see `verify`)."""
    full = _full(scores, composed)
    constant = "" if is_sibling else _constant(scores)
    problem = constant or _still(scores, full) or _goal(scores, composed) or _without_success(scores, full)
    if problem:
        return Check("not_hackable", False, problem)
    goal = " and the goal holds where it succeeds" if scores.written.goal is not None else ""
    return Check("not_hackable", True, f"rewards of {full:.2f} and more come with success{goal}")


def _paid(scores: Scores, composed: Observations | None) -> tuple[float | None, str]:
    """The reward of success (low quantile), and where that was found."""
    if len(scores.successful) >= MIN_SUCCESSES or (len(scores.successful) and composed is None):
        paid = scores.reward[scores.successful]
        return float(np.quantile(paid, LOW)), f"where success holds (20 % quantile of {len(paid)} observations)"
    if composed is not None:
        paid = scores.written.reward.evaluate(composed)
        return float(np.max(paid)), f"at {len(paid)} composed observations with success (the best)"
    return None, "success holds nowhere in the evidence"


def _full(scores: Scores, composed: Observations | None) -> float:
    """The reward that a success typically gets. A reward of skills with a wide success may be low at its edge."""
    if len(scores.successful):
        return max(LEAST_HIGH_REWARD, float(np.median(scores.reward[scores.successful])))
    paid, _ = _paid(scores, composed)
    return NEARLY_FULL_REWARD if paid is None else max(LEAST_HIGH_REWARD, paid)


def _constant(scores: Scores) -> str:
    told = scores.reward[~scores.success & scores.ready]
    without = scores.reward[~scores.success]
    low, high = np.quantile(without, (0.01, 0.99)) if len(without) else (0.0, 0.0)
    # A skill that keeps what others built is paid nothing where that does not stand, which is nearly everywhere.
    if high - low >= LEAST_SPREAD or (
        len(told) >= MIN_TOLD and np.ptp(np.quantile(told, (0.01, 0.99))) >= LEAST_SPREAD
    ):
        return ""
    return (
        f"the reward hardly depends on anything: without success it is {low:.3f} to {high:.3f} (1 and 99 % quantile); "
        "let it grow with what leads to the success, such as the distance that remains"
    )


def _still(scores: Scores, full: float) -> str:
    begins = scores.beginnings[~scores.success[scores.beginnings]]
    if not len(begins):
        return ""
    paid = float(np.median(scores.reward[begins]))
    if paid < STILL_SHARE * full:
        return ""
    return (
        f"holding still pays: at {len(begins)} beginnings, before anything was done, the reward is {paid:.2f} already "
        f"(success: {full:.2f}); {scores.at(int(begins[0]))}"
    )


def _goal(scores: Scores, composed: Observations | None) -> str:
    goal = scores.written.goal
    if goal is None:
        return ""
    seen = scores.evidence.together if scores.success.any() else composed
    if seen is None:
        return ""
    success = scores.success if scores.success.any() else np.ones(1, bool)
    reached = goal.evaluate(seen, scores.cache if seen is scores.evidence.together else None)
    wrong = np.flatnonzero(success & ~reached)
    n_success = int(np.count_nonzero(np.broadcast_to(success, reached.shape)))
    if len(wrong) <= GOAL_TOLERANCE * n_success:
        return ""
    example = scores.at(int(wrong[0])) if scores.success.any() else "these are composed observations"
    return (
        f"success without the change that was asked for: at {len(wrong)} of {n_success} observations with success, "
        f"{goal} does not hold; {example}; let the success demand it"
    )


def _without_success(scores: Scores, full: float) -> str:
    n, ends = scores.evidence.n_stored, scores.evidence.ends
    begin, end = scores.evidence.runs((scores.reward[:n] >= full) & ~scores.success[:n])
    following = np.append(np.where(scores.success[:n], np.arange(n), n + FOLLOWS), n + FOLLOWS)
    following = np.minimum.accumulate(following[::-1])[::-1][end]  # the next success
    episode_end = ends[np.searchsorted(ends, begin, "right")] if len(begin) else begin
    excused = (end - begin < DWELL) & (following - end < FOLLOWS) & (following < episode_end)
    begin, end = begin[~excused], end[~excused]
    stray = int((end - begin).sum())
    if stray <= max(STRAY[0], STRAY[1] * n):
        return ""
    longest = int(np.argmax(end - begin))
    example = scores.at(int(begin[longest] + end[longest]) // 2)
    return (
        f"high reward without success: {stray} stored observations, {len(begin)} times, are paid {full:.2f} or more, do not "
        f"succeed, and do not soon lead to success; {example}; pay this less than success"
    )
