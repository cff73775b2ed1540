"""The regression gate: whether a new policy replaces the incumbent.

Both policies try the same starts, so that a pair of episodes says +1 (only the new one succeeds), -1 (only the old one) or 0.
Three questions are asked about the mean of these, in each family of skills: is it above `least_gain`, is it below minus
`tolerance`, is it above minus `harmful_loss`? The first two are answered by e-values (`ludus.lab.betting`), which may be looked
at again and again; the third by a score test at each look. What is promised and under which null: docs/method.md, "Gate and
acceptance"; what was measured: docs/results.md, "Gate".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from ludus.lab.analysis import wilson
from ludus.lab.betting import discount, factors, interval, log_e
from ludus.types import LudusError

PRACTISED, ACCEPTED, POOLED = 0.5, 0.25, 0.25
"""Shares of the evidence of a gain: families that are practised, where gains are looked for, the other accepted ones, and all
families as one. Chosen before any data, as they must be."""
MOST_FOCUS = 3
"""Episodes of one skill in one look say the less the more there are, see `GateSettings.alike`."""
MOST_SKILLS = 12
"""A look at a larger family takes as many episodes as one at so many skills, for the same reason."""


@dataclass(frozen=True)
class PairedCount:
    """Pairs of episodes of one family ('stack X on Y') at one look; both policies start a pair from the same seed.

    Raises:
        LudusError: a count is negative, or they add up to more than n.
    """

    family: str
    n: int
    both: int  # pairs in which both policies succeed
    only_old: int
    only_new: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_old, self.only_new) < 0 or self.both + self.only_old + self.only_new > self.n:
            raise LudusError(f"{self} is no count of pairs; both, only_old and only_new are parts of n")

    @property
    def mirrored(self) -> PairedCount:
        """The same pairs with the policies exchanged."""
        return replace(self, only_old=self.only_new, only_new=self.only_old)


@dataclass(frozen=True)
class GateSettings:
    """Tolerances (success rates) and error rates (per gate, over all of its looks).

    Raises:
        LudusError: a number out of its range.
    """

    tolerance: float = 0.05
    """A family that lost more than this, shown with confidence, stops the new policy."""
    harmful_loss: float = 0.1
    """An accepted family must be shown to have lost less than this before the new policy is promoted."""
    least_gain: float = 0.05
    """A family that rose by less did not gain: policies that learned nothing new differ by so much."""
    false_promotion: float = 0.0005
    """Greatest chance that a policy is promoted which gained no more than `least_gain` in any family. Half of the .001 that is
    the aim: the other half is for retrained policies that learned nothing and are better by luck."""
    false_alarm: float = 0.005
    """Greatest chance that a loss is declared where no accepted family lost more than `tolerance`."""
    missed_harm: float = 0.1
    """Chance, about, that a policy is promoted which lost `harmful_loss` in an accepted family; of larger losses, less."""
    max_looks: int = 4
    """A gate without a decision by then leaves the incumbent."""
    alike: float = 0.03
    """Correlation of the episodes of one look, as in `ludus.experimenter.curves.ALIKE`: a retrained policy is now better, now
    worse, though nothing was learned. Evidence of a look of n pairs for a gain or a loss is divided by 1 + (n - 1) * alike."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= self.harmful_loss < 1 or not 0 <= self.least_gain < 1 or self.harmful_loss == 0:
            text = f"tolerance {self.tolerance}, harmful_loss {self.harmful_loss}, least_gain {self.least_gain}"
            raise LudusError(f"{text}: must be between 0 and 1, tolerance not above harmful_loss")
        if not all(0 < rate < 1 for rate in (self.false_promotion, self.false_alarm, self.missed_harm)):
            raise LudusError("false_promotion, false_alarm and missed_harm must be between 0 and 1, exclusive")
        if self.max_looks < 1 or not 0 <= self.alike < 1:
            raise LudusError(f"max_looks {self.max_looks} must be at least 1, alike {self.alike} in [0, 1)")

    @property
    def needed(self) -> float:
        """Log e-value at which a gain is shown."""
        return -math.log(self.false_promotion)

    def least_hold(self, look: int) -> float:
        """Score at which a family has held: half of `missed_harm` is spent at the last look, the rest at those before it."""
        last = look >= self.max_looks
        error = self.missed_harm / (1 if self.max_looks == 1 else 2 if last else 2 * (self.max_looks - 1))
        return NormalDist().inv_cdf(1 - error)


FamilyVerdict = Literal["lost", "gained", "held", "open"]


@dataclass(frozen=True)
class FamilyEvidence:
    """What the pairs of one family say. E-values as natural logarithms."""

    family: str
    n: int  # pairs of all looks
    difference: float  # success of the new policy less that of the old one; 0 without pairs
    interval: tuple[float, float]  # 95 % confidence sequence of the difference between these two policies
    gain: float  # log e-value against 'gained least_gain or less'
    loss: float  # log e-value against 'lost tolerance or less'
    hold: float  # score of 'lost less than harmful_loss': at a loss of just as much standard normal
    verdict: FamilyVerdict


@dataclass(frozen=True)
class GateDecision:
    """Promote, keep the incumbent, or (None) look again."""

    promote: bool | None
    reason: str
    gain: float  # greatest log e-value against 'gained nowhere' of the looks so far
    families: tuple[FamilyEvidence, ...]  # by name
    open: tuple[str, ...]
    """Families that the decision waits for: give the next look's episodes to them, see `allot`."""


DEFAULT = GateSettings()


def decide(
    counts: Sequence[PairedCount],
    accepted: Set[str],
    look: int,
    settings: GateSettings = DEFAULT,
    has_gained: bool = False,
    gain_before: float = -math.inf,
    practised: Set[str] = frozenset(),
) -> GateDecision:
    """Decide after `look` looks. Without a gain the incumbent stays: replacing it by an equal again and again adds up losses too
    small to see. A gain that was shown once stays shown, whatever the later looks at other families bring: the chance that
    evidence *ever* is so great is what is bounded.

    Args:
        counts: one per family and look, in any order; a family may be left out of a look.
        accepted: families that must not be lost.
        look: number of looks so far, from 1.
        has_gained: a gain was shown in another way, such as a skill that the new policy is good enough at to be accepted; then
            only losses are looked for.
        gain_before: `GateDecision.gain` of the look before.
        practised: accepted families in which gains are looked for as in those that are not accepted. Chosen before any data.

    Raises:
        LudusError: look is less than 1; no pairs, or none of an accepted family.
    """
    if look < 1:
        raise LudusError(f"look {look}: count looks from 1")
    looks: dict[str, list[PairedCount]] = {name: [] for name in sorted({c.family for c in counts})}
    for count in counts:
        looks[count.family].append(count)
    missing = sorted(name for name in accepted if not sum(c.n for c in looks.get(name, ())))
    if missing or not looks:
        raise LudusError(f"no pairs of {missing or 'any family'}; let both policies try every accepted family")
    wealth = np.stack([_log_wealth(c, settings.least_gain, settings.alike) for c in looks.values()])
    shares = _shares(list(looks), accepted - practised)
    least = settings.needed - np.log(shares)
    families = tuple(
        _family(name, looks[name], (float(log_e(wealth[i])), least[i]), (look, len(accepted)), settings)
        for i, name in enumerate(looks)
    )
    gain = max(float(_gain(wealth, shares)), gain_before, settings.needed if has_gained else -math.inf)
    promote, reason = _rule(families, accepted, gain, look, settings)
    if promote and has_gained:
        reason = "a practised skill is good enough to be accepted; accepted skills held"
    if (
        promote is None
        and gain < settings.needed
        and _best_gain(looks, wealth, shares, look, settings) < settings.needed
    ):
        promote, reason = False, "nothing gained, and the looks that are left could hardly show a gain"
    wanted = () if promote is not None else _open(families, accepted, gain >= settings.needed)
    return GateDecision(promote, reason, gain, families, wanted)


def first_look(members: Mapping[str, int], episodes: int) -> dict[str, int]:
    """Pairs of each family in the first look: `episodes` per skill, but as many as three skills have where a family is so small
    that it would hardly be seen ('open the gripper' is one skill, 'stack X on Y' six), and not more than `MOST_SKILLS` have.

    Args:
        members: number of skills of each family.
    """
    return {name: episodes * min(max(n, MOST_FOCUS), MOST_SKILLS) for name, n in members.items()}


def allot(families: Sequence[str], members: Mapping[str, int], episodes: int) -> dict[str, int]:
    """Pairs of each of these families in the next look. What a look at all families with `episodes` pairs per skill costs is
    shared among the skills of these: at most `MOST_FOCUS` times as many per skill, and no more per family than `MOST_SKILLS` have
    in the first look. None gets less than in the first look: with fewer a small one could never be shown to have held.

    Args:
        members: number of skills of each family that was looked at.
    """
    sizes = {name: min(n, MOST_SKILLS) for name, n in members.items()}
    each = episodes * sum(sizes.values()) // max(sum(sizes[name] for name in families), 1)
    focus, most = min(each, MOST_FOCUS * episodes), MOST_SKILLS * episodes
    first = first_look({name: members[name] for name in families}, episodes)
    return {name: max(min(focus * sizes[name], most), n) for name, n in first.items()}


def spread(pairs: int, captions: Sequence[str], draw: np.random.Generator) -> dict[str, int]:
    """Pairs of each skill of a family: equally many, and one more for some that are drawn; those without any are left out."""
    each, more = divmod(pairs, len(captions))
    favoured = set(draw.choice(len(captions), more, replace=False).tolist())
    return {caption: n for i, caption in enumerate(captions) if (n := each + (i in favoured))}


def _rule(
    families: Sequence[FamilyEvidence], accepted: Set[str], gain: float, look: int, settings: GateSettings
) -> tuple[bool | None, str]:
    lost = [f for f in families if f.family in accepted and f.verdict == "lost"]
    if lost:
        numbers = ", ".join(f"{f.family!r} {f.difference:+.2f} ({f.n} pairs)" for f in lost)
        return False, f"lost more than {settings.tolerance:g}: {numbers}"
    unsure = [f.family for f in families if f.family in accepted and f.verdict == "open"]
    if gain >= settings.needed and not unsure:
        best = max(families, key=lambda f: f.gain)
        return True, f"gained, most in {best.family!r} ({best.difference:+.2f}); accepted skills held"
    if look < settings.max_looks:
        return None, "no decision yet"
    if gain >= settings.needed:
        return False, f"gained, but not shown to have lost less than {settings.harmful_loss:g}: {', '.join(unsure)}"
    return False, "nothing gained with confidence"


def _open(families: Sequence[FamilyEvidence], accepted: Set[str], gained: bool) -> tuple[str, ...]:
    """Accepted families that may have lost, and, until a gain is shown, those that may have gained."""
    return tuple(
        f.family
        for f in families
        if (f.family in accepted and f.verdict == "open")
        or (not gained and f.verdict != "gained" and (f.family not in accepted or f.difference > 0))
    )


# --- evidence ----------------------------------------------------------------------------------------------------


def _family(
    name: str, looks: Sequence[PairedCount], gain: tuple[float, float], when: tuple[int, int], settings: GateSettings
) -> FamilyEvidence:
    """
    Args:
        gain: evidence of a gain, and how much of it shows one.
        when: number of the look, and of accepted families.
    """
    n, old, new = (sum(getattr(c, field) for c in looks) for field in ("n", "only_old", "only_new"))
    loss = float(log_e(_log_wealth([c.mirrored for c in looks], settings.tolerance, settings.alike)))
    # Not divided for alikeness: whether it did lose is a question about these two policies, whose episodes are independent.
    hold = _noninferiority(n, old, new, settings.harmful_loss)
    verdict: FamilyVerdict = "open"
    if loss >= math.log(max(when[1], 1) / settings.false_alarm):
        verdict = "lost"
    elif gain[0] >= gain[1]:
        verdict = "gained"
    elif hold >= settings.least_hold(when[0]):
        verdict = "held"
    return FamilyEvidence(name, n, (new - old) / max(n, 1), interval(n, old, new), gain[0], loss, hold, verdict)


def _noninferiority(n: int, old: int, new: int, loss: float) -> float:
    """Tango's score statistic (1998, Statistics in Medicine 17) of 'the new policy loses this much or more' in n pairs: standard
    normal where it loses just as much, greater where less. Without pairs 0."""
    if n == 0:
        return 0.0
    # The likeliest distribution with just this loss: the chance that only the old one succeeds is a root of a quadratic.
    b = old * (1 + 3 * loss) + new * (1 + loss) + 2 * (n - old - new) * loss
    only_old = (b + math.sqrt(max(b * b - 8 * n * old * loss * (1 + loss), 0))) / (4 * n)
    return ((new - old) / n + loss) / math.sqrt((2 * only_old - loss - loss * loss) / n)


def _log_wealth(looks: Iterable[PairedCount], margin: float, alike: float) -> np.ndarray:
    """`[N_BETS]`: log wealth of each bet on 'the mean difference is above the margin'."""
    rows = np.array([(c.only_old, c.n - c.only_old - c.only_new, c.only_new) for c in looks])
    return (rows / np.array([[discount(c.n, alike)] for c in looks])).sum(0) @ factors(margin, -1)


def _shares(families: Sequence[str], known: Set[str]) -> np.ndarray:
    """`[F + 1]`: weight of each family's evidence of a gain, and of all as one. They add up to 1.

    Args:
        known: families that are accepted and not practised.
    """
    rest = np.array([name in known for name in families])
    shares = np.append(np.where(rest, ACCEPTED / max(rest.sum(), 1), PRACTISED / max((~rest).sum(), 1)), POOLED)
    return shares / shares.sum()


def _gain(wealth: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """`[..., F, N_BETS] -> [...]`: log of the weighted mean of the families' e-values and the pooled one. It is an e-value
    against 'gained nowhere' (Vovk and Wang 2021, Annals of Statistics 49); the pooled one needs families with other episodes."""
    evidence = log_e(np.concatenate([wealth, wealth.sum(-2, keepdims=True)], -2))
    return np.logaddexp.reduce(evidence + np.log(shares), -1)


def _best_gain(
    looks: Mapping[str, Sequence[PairedCount]],
    wealth: np.ndarray,
    shares: np.ndarray,
    look: int,
    settings: GateSettings,
) -> float:
    """The evidence of a gain if, in all remaining looks, one family, or all alike, bring as many successes of only the new
    policy as the upper bound of their rate so far, and as few of only the old one as the lower bound."""

    def further(new: int, old: int, n: int) -> np.ndarray:
        pairs = PairedCount("", n, 0, old, new)
        return (settings.max_looks - look) * _log_wealth([pairs], settings.least_gain, settings.alike)

    def best(counts: Sequence[PairedCount], n: int) -> np.ndarray:
        new, old, seen = (sum(getattr(c, field) for c in counts) for field in ("only_new", "only_old", "n"))
        most = math.ceil(n * wilson(new, seen)[1])
        return further(most, min(math.floor(n * wilson(old, seen)[0]), n - most), n)

    most = [max(c.n for c in counts) for counts in looks.values()]
    nothing = np.stack([further(0, 0, n) for n in most])
    bounds = np.stack([best(counts, n) for counts, n in zip(looks.values(), most, strict=True)])
    alone = wealth + nothing + np.eye(len(most))[:, :, None] * (bounds - nothing)
    every = [c for counts in looks.values() for c in counts]
    alike = wealth + np.stack([best(every, n) for n in most])
    return float(max(_gain(alone, shares).max(), _gain(alike, shares)))
