"""Whether a family of skills is good enough to be accepted. What is promised: docs/method.md, "Gate and acceptance"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ludus.lab.analysis import wilson
from ludus.lab.betting import N_BETS, discount, factors, log_e
from ludus.types import Judgement, LudusError, SuccessCount


@dataclass(frozen=True)
class AcceptanceSettings:
    """When a family of skills is accepted. Success rates.

    Raises:
        LudusError: a number out of its range.
    """

    success: float = 0.8
    """Least share of successes, pooled over the family."""
    lower: float = 0.7
    """Least lower end of its 95 % Wilson interval; a member whose upper end is below this is behind."""
    floor: float = 0.6
    """Whose true success is this or less is accepted in any of `rounds` rounds with a chance of at most `false_acceptance`."""
    false_acceptance: float = 0.05
    rounds: int = 24
    alike: float = 0.03
    """Correlation of the episodes of one look, as in `ludus.experimenter.curves.ALIKE`."""

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.lower <= self.success <= 1 or self.floor == 1:
            text = f"floor {self.floor}, lower {self.lower}, success {self.success}"
            raise LudusError(f"{text}: must rise and lie between 0 and 1")
        if not 0 < self.false_acceptance < 1 or self.rounds < 1 or not 0 <= self.alike < 1:
            text = f"false_acceptance {self.false_acceptance}, rounds {self.rounds}, alike {self.alike}"
            raise LudusError(f"{text}: must be in (0, 1), at least 1, and in [0, 1)")


@dataclass(frozen=True)
class Acceptance:
    """Whether one policy's success at a family is enough."""

    accepted: bool
    reason: str
    n: int
    rate: float  # pooled over members; 0 without episodes
    interval: tuple[float, float]  # its 95 % Wilson interval
    evidence: float  # log e-value against 'true success is at most the floor'
    behind: tuple[str, ...]  # members whose upper 95 % bound is below `lower`


DEFAULT = AcceptanceSettings()


def accept(looks: Sequence[Sequence[SuccessCount]], settings: AcceptanceSettings = DEFAULT) -> Acceptance:
    """Decide on one policy's episodes of one round, from seeded starts that training never draws from. It may be asked after
    each look, and in each round with that round's looks.

    Args:
        looks: per look, the counts of the family's members.
    """
    members: dict[str, tuple[int, int]] = {}
    log_wealth = np.zeros(N_BETS)
    for look in looks:
        for c in look:
            k, n = members.get(c.caption, (0, 0))
            members[c.caption] = k + c.successes, n + c.n
        successes, tries = sum(c.successes for c in look), sum(c.n for c in look)
        wealth = np.array([tries - successes, successes]) @ factors(settings.floor, 0)
        log_wealth += wealth / discount(tries, settings.alike)
    successes, n = (sum(column) for column in zip((0, 0), *members.values(), strict=True))
    rate, (low, high), evidence = successes / max(n, 1), wilson(successes, n), float(log_e(log_wealth))
    behind = tuple(sorted(name for name, (k, m) in members.items() if wilson(k, m)[1] < settings.lower))
    numbers = f"{successes} of {n}, 95 % interval {low:.2f} to {high:.2f}"
    if rate < settings.success:
        missing = f": less than {settings.success:g}"
    elif low < settings.lower:
        missing = f": the lower end is less than {settings.lower:g}"
    elif behind:
        missing = f", but members are behind: {', '.join(behind)}"
    elif evidence < math.log(settings.rounds / settings.false_acceptance):
        missing = f": too few episodes to rule out {settings.floor:g} in {settings.rounds} rounds"
    else:
        missing = ""
    return Acceptance(not missing, numbers + missing, n, rate, (low, high), evidence, behind)


def most_rounds(judgement: Judgement, rounds: int) -> float:
    """After how many rounds of practice a template that is not accepted is given up: half of `rounds` if its curve is stuck; as
    many as `AcceptanceSettings.rounds`, for which its error rate holds, while it is learning."""
    longer = max(rounds, AcceptanceSettings.rounds)
    return {"stuck": rounds / 2, "learning": float(longer)}.get(judgement, float(rounds))
