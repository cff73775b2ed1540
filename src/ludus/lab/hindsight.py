"""How verdicts on learning curves turned out: what became of a training, and stated probabilities against it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ludus.experimenter.curves import HORIZON, USEFUL, WORTHWHILE
from ludus.lab.analysis import wilson
from ludus.types import Curve, Judgement, Verdict

Count = tuple[int, int]
"""Successes, episodes."""
Z = 1.645
"""Of the intervals behind the truth of a curve: each end of a 90 % interval is overstepped one time in twenty."""
AROUND = 1 / 8
"""Points within this share of HORIZON times an update tell what became of it."""
EDGES = (0.0, 0.5, 0.7, 0.85, 1.0)
"""Ends of the bins of stated probabilities: few, because a run has few verdicts."""


def rise(now: Count, later: Count) -> tuple[float, float]:
    """90 % interval of the later success rate less the one now: Newcombe 1998, method 10, from two Wilson intervals."""
    (a, n), (b, m) = now, later
    (low_a, high_a), (low_b, high_b) = wilson(a, n, Z), wilson(b, m, Z)
    p, q = a / n, b / m
    return q - p - math.hypot(q - low_b, high_a - p), q - p + math.hypot(high_b - q, p - low_a)


def truth(now: Count, later: Count) -> Judgement:
    """What became of a training: `now` when it was judged, `later` at `curves.HORIZON` times the training.

    learning: at least WORTHWHILE more came, by the lower end of its interval; converged or stuck: less did, by the upper
    end, from at least or below USEFUL; unclear: the intervals leave it open.
    """
    least, most = rise(now, later)
    low, high = wilson(*now, Z)
    if least >= WORTHWHILE:
        return "learning"
    if most < WORTHWHILE and low >= USEFUL:
        return "converged"
    if most < WORTHWHILE and high < USEFUL:
        return "stuck"
    return "unclear"


def became(curve: Curve, update: int) -> Judgement:
    """The truth of a whole curve at one of its updates; 'unclear' also where no point is around HORIZON times it."""
    points = list(zip(curve.updates, curve.successes, curve.n, strict=True))
    now = next(((k, n) for u, k, n in points if u == update and n), None)
    later = [(k, n) for u, k, n in points if update > 0 and abs(u / (HORIZON * update) - 1) <= AROUND and n]
    if now is None or not later:
        return "unclear"
    return truth(now, (sum(k for k, _ in later), sum(n for _, n in later)))


@dataclass(frozen=True)
class ScoredVerdict:
    """A verdict, and what became of its curve."""

    update: int
    verdict: Verdict
    truth: Judgement

    @property
    def right(self) -> bool:
        return self.verdict.judgement == self.truth


def score(verdicts: Iterable[tuple[int, Verdict]], curves: Sequence[Curve]) -> list[ScoredVerdict]:
    """The `(update, verdict)` that can be scored: those with a judgement on a curve whose truth there is clear.

    Args:
        curves: the whole ones, of the same captions.
    """
    whole = {c.caption: c for c in curves}
    found = []
    for update, verdict in verdicts:
        if verdict.judgement != "unclear" and verdict.caption in whole:
            true = became(whole[verdict.caption], update)
            if true != "unclear":
                found.append(ScoredVerdict(update, verdict, true))
    return found


@dataclass(frozen=True)
class StatedBin:
    """Verdicts whose stated probability lies in `[low, high)`, the last bin's end included."""

    low: float
    high: float
    n: int
    right: int
    stated: float
    """Mean stated probability."""


def calibration(scored: Sequence[ScoredVerdict]) -> list[StatedBin]:
    """The bins that are not empty."""
    found = []
    for low, high in pairwise(EDGES):
        inside = [
            s for s in scored if low <= s.verdict.probability < high or (high == s.verdict.probability == EDGES[-1])
        ]
        if inside:
            stated = sum(s.verdict.probability for s in inside) / len(inside)
            found.append(StatedBin(low, high, len(inside), sum(s.right for s in inside), stated))
    return found
