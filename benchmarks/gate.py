"""Error rates and power of `ludus.lab.gate`: `python benchmarks/gate.py [--parts null clean loss gain ...] [--n 10000]`.

Prints one JSON object. Nothing is trained: two policies are success rates per family, and the episodes of a pair, which have
the same start, fail together more often than by chance (Gaussian copula, correlation `--shared`). Noise between two policies
that learned nothing new is of three kinds:

- same: both have the same rates, as two copies of one policy have;
- retrained: each policy's rate of each family is drawn anew from a Beta distribution around the same mean, with correlation
  `alike` between episodes, and stays so at all looks: the new policy may be better or worse in truth, by luck;
- per_look: rates are drawn anew at every look, around the same mean: in truth both are equal.

The other rules get all looks of all families: `always` promotes; `points` promotes a higher mean over families if no accepted one
fell by more than .05; `mcnemar` promotes if at any look the exact one-sided test of any family (Fisher's sign test on
discordant pairs, p < .05, or .001) shows a gain, and none of an accepted family shows a loss.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ludus.lab.acceptance import AcceptanceSettings, accept
from ludus.lab.analysis import wilson
from ludus.lab.gate import GateDecision, GateSettings, PairedCount, allot, decide, first_look
from ludus.seeding import rng
from ludus.types import SuccessCount

EPISODES = 8
"""Pairs per member in the first look, as in the default run."""
MEMBERS = {"open": 1, "reach": 3, "grasp": 3, "lift": 3, "hover": 6, "stack": 6, "leave": 6, "beside": 6}
ACCEPTED = frozenset(MEMBERS) - {"beside"}
MASTERED = {**dict.fromkeys(MEMBERS, 0.99), "open": 1.0, "beside": 0.02}
"""The default run: what is accepted hardly fails, what is practised hardly succeeds."""
MIXED = {
    "open": 0.95,
    "reach": 0.98,
    "grasp": 0.95,
    "lift": 0.95,
    "hover": 0.9,
    "stack": 0.9,
    "leave": 0.85,
    "beside": 0.5,
}
THREE_BLOCKS = {**MEMBERS, "beside_leave": 6, "pyramid": 6, "pyramid_leave": 6, "tower": 6}
FOUR_BLOCKS = {
    "open": 1,
    **dict.fromkeys(("reach", "grasp", "lift"), 4),
    **dict.fromkeys(("hover", "stack", "leave", "beside", "beside_leave"), 12),
    **dict.fromkeys(("row", "pyramid", "tower"), 24),
}
GROWN = {**MASTERED, "stack": 0.97, "leave": 0.94, "beside": 0.9, "beside_leave": 0.9}
"""A library in which three families of twelve are practised at the same time."""
BASE = {name: n for name, n in MEMBERS.items() if name != "beside"}
WEAK = {"open": 1.0, "reach": 0.3, "grasp": 0.8, "lift": 0.8, "hover": 0.2, "stack": 0.1, "leave": 0.05}
LATER = {"open": 1.0, "reach": 0.85, "grasp": 0.88, "lift": 0.88, "hover": 0.25, "stack": 0.3, "leave": 0.2}
"""Base skills after a training on few and poor episodes, and after a round or two (benchmarks/results/paper.toml)."""
NORMAL = NormalDist()
Rule = Callable[[Sequence[Mapping[str, PairedCount]]], bool]


@dataclass(frozen=True)
class Pair:
    """Two policies. Success rates per family."""

    old: Mapping[str, float]
    new: Mapping[str, float]
    alike: float = 0.0
    """Of rates that are drawn anew at every look."""
    shared: float = 0.5

    def look(self, pairs: Mapping[str, int], draw: np.random.Generator) -> list[PairedCount]:
        return [self._count(name, n, draw) for name, n in pairs.items()]

    def _count(self, family: str, n: int, draw: np.random.Generator) -> PairedCount:
        start = draw.standard_normal(n) * math.sqrt(self.shared)
        old, new = (
            start + draw.standard_normal(n) * math.sqrt(1 - self.shared)
            < _quantile(_drawn(rates[family], self.alike, draw))
            for rates in (self.old, self.new)
        )
        return PairedCount(family, n, int((old & new).sum()), int((old & ~new).sum()), int((new & ~old).sum()))


def _drawn(rate: float, alike: float, draw: np.random.Generator) -> float:
    """From the Beta distribution of this mean under which two episodes correlate by `alike`."""
    if alike == 0 or rate in (0, 1):
        return rate
    return float(draw.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike))


def _quantile(rate: float) -> float:
    return -math.inf if rate < 1e-12 else math.inf if rate > 1 - 1e-12 else NORMAL.inv_cdf(rate)


def run_gate(
    pair: Pair,
    members: Mapping[str, int],
    accepted: frozenset[str],
    settings: GateSettings,
    draw: np.random.Generator,
    episodes: int = EPISODES,
    practised: frozenset[str] = frozenset(),
) -> tuple[GateDecision, int, int]:
    """`(decision, looks, pairs)`, with later looks at open families only."""
    counts: list[PairedCount] = []
    pairs = first_look(members, episodes)
    look, gain = 0, -math.inf
    while True:
        look += 1
        counts += pair.look(pairs, draw)
        decision = decide(counts, accepted, look, settings, gain_before=gain, practised=practised)
        if decision.promote is not None:
            return decision, look, sum(c.n for c in counts)
        gain = decision.gain
        pairs = allot(decision.open, members, episodes)


# --- other rules -------------------------------------------------------------------------------------------------


def _points(looks: Sequence[Mapping[str, PairedCount]]) -> bool:
    n = {f: sum(look[f].n for look in looks) for f in MEMBERS}
    rise = {f: sum(look[f].only_new - look[f].only_old for look in looks) / n[f] for f in MEMBERS}
    return sum(rise.values()) > 0 and all(rise[f] >= -0.05 for f in ACCEPTED)


def _mcnemar(level: float) -> Rule:
    def rule(looks: Sequence[Mapping[str, PairedCount]]) -> bool:
        old, new = dict.fromkeys(MEMBERS, 0), dict.fromkeys(MEMBERS, 0)
        for look in looks:
            for f, c in look.items():
                old[f], new[f] = old[f] + c.only_old, new[f] + c.only_new
            if any(_sign_test(old[f], new[f]) < level for f in ACCEPTED):
                return False
            if any(_sign_test(new[f], old[f]) < level for f in MEMBERS):
                return True
        return False

    return rule


def _sign_test(more: int, fewer: int) -> float:
    """One-sided p-value of at least this many `more` among the discordant pairs."""
    n = more + fewer
    return sum(math.comb(n, k) for k in range(more, n + 1)) / 2**n


BASELINES: dict[str, Rule] = {
    "always": lambda _: True,
    "points": _points,
    "mcnemar_.05": _mcnemar(0.05),
    "mcnemar_.001": _mcnemar(0.001),
}


# --- parts -------------------------------------------------------------------------------------------------------


def null(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """Retrains that learned nothing."""
    rows = []
    for levels_name, levels in (("mastered", MASTERED), ("mixed", MIXED)):
        for kind, alike in (("same", 0.0), ("per_look", 0.03), ("retrained", 0.03), ("retrained", 0.07)):
            draw = rng(seed, "gate", "null", levels_name, kind, int(1000 * alike))
            promoted, worse, alarms, wrong, looks, rules = 0, 0, 0, 0, 0, dict.fromkeys(BASELINES, 0)
            for i in range(n):
                pair = _pair(levels, levels, kind, alike, shared, draw)
                decision, used, _ = run_gate(pair, MEMBERS, ACCEPTED, settings, draw)
                promoted += decision.promote is True
                worse += decision.promote is True and all(pair.new[f] <= pair.old[f] for f in MEMBERS)
                alarms += decision.reason.startswith("lost")
                wrong += _false_alarm(decision, pair, settings)
                looks += used
                if i < n // 20:
                    seen = _all_looks(pair, settings, draw)
                    for name, rule in BASELINES.items():
                        rules[name] += rule(seen)
            rows.append(
                {
                    "levels": levels_name, "noise": kind, "alike": alike, "n": n,
                    "promoted": promoted, "promoted_95": _95(promoted, n),
                    "promoted_better_at_nothing": worse, "loss_declared": alarms, "false_alarms": wrong,
                    "looks": round(looks / n, 2),
                    "others": {name: round(k / (n // 20), 4) for name, k in rules.items()},
                }
            )  # fmt: skip
    return rows


def clean(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """Retrains that lost nothing and gained in the practised family: how many are promoted, how often a loss is declared."""
    rows = []
    for levels_name, levels in (("mastered", MASTERED), ("mixed", MIXED)):
        for before, after in ((0.0, 0.5), (0.5, 0.9)):
            for kind, alike in (("same", 0.0), ("per_look", 0.03), ("retrained", 0.03)):
                draw = rng(seed, "gate", "clean", levels_name, kind, int(10 * after))
                promoted, declared, alarms, looks, pairs = 0, 0, [], 0, 0
                for _ in range(n):
                    pair = _pair({**levels, "beside": before}, {**levels, "beside": after}, kind, alike, shared, draw)
                    decision, used, cost = run_gate(pair, MEMBERS, ACCEPTED, settings, draw)
                    promoted += decision.promote is True
                    declared += decision.reason.startswith("lost")
                    alarms.append(_false_alarm(decision, pair, settings))
                    looks, pairs = looks + used, pairs + cost
                in_ten = sum(any(alarms[i : i + 10]) for i in range(0, n, 10))
                rows.append(
                    {
                        "levels": levels_name, "beside": [before, after], "noise": kind, "n": n, "promoted": promoted / n,
                        "loss_declared": declared / n,
                        "false_alarms": sum(alarms) / n, "tens_with_a_false_alarm": in_ten / (n / 10),
                        "looks": round(looks / n, 2), "pairs": round(pairs / n),
                    }
                )  # fmt: skip
    return rows


def loss(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """The practised family rises from 0 to .5 and one accepted family falls: how often the new policy is stopped."""
    rows = []
    for family, level in (
        ("open", 1.0),
        ("open", 0.95),
        ("reach", 1.0),
        ("reach", 0.95),
        ("stack", 1.0),
        ("stack", 0.95),
        ("stack", 0.85),
    ):
        for fall in (0.0, 0.05, 0.1, 0.2):
            for kind, alike in (("same", 0.0), ("per_look", 0.03)):
                draw = rng(seed, "gate", "loss", family, int(100 * level), int(100 * fall), kind)
                levels = {**MASTERED, family: level, "beside": 0.0}
                stopped, declared = 0, 0
                for _ in range(n):
                    pair = _pair(levels, {**levels, family: level - fall, "beside": 0.5}, kind, alike, shared, draw)
                    decision, _, _ = run_gate(pair, MEMBERS, ACCEPTED, settings, draw)
                    stopped += decision.promote is False
                    declared += decision.reason.startswith("lost")
                rows.append(
                    {"family": family, "members": MEMBERS[family], "level": level, "loss": fall, "noise": kind, "n": n,
                     "stopped": stopped / n, "stopped_95": _95(stopped, n), "loss_declared": declared / n}
                )  # fmt: skip
    return rows


def gain(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """Only one family gains, of 1, 3 or 6 members: how often the new policy is promoted."""
    rows = []
    for size in (1, 3, 6):
        for before, after in ((0.0, 0.1), (0.0, 0.2), (0.0, 0.5), (0.5, 0.7), (0.5, 0.9), (0.8, 1.0)):
            draw = rng(seed, "gate", "gain", size, int(10 * before), int(10 * after))
            members, levels = {**MEMBERS, "beside": size}, {**MASTERED, "beside": before}
            promoted, looks = 0, 0
            for _ in range(n):
                pair = Pair(levels, {**levels, "beside": after}, 0.0, shared)
                decision, used, _ = run_gate(pair, members, ACCEPTED, settings, draw)
                promoted, looks = promoted + (decision.promote is True), looks + used
            row = {"members": size, "from": before, "to": after, "n": n}
            rows.append(row | {"promoted": promoted / n, "looks": round(looks / n, 2)})
    return rows


def growing(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """Three families of twelve are practised and gain: how often the new policy is promoted, and what it costs."""
    rows, accepted = [], frozenset(GROWN)
    for blocks, members in ((3, THREE_BLOCKS), (4, FOUR_BLOCKS)):
        practised = [name for name in members if name not in accepted]
        for before, after in (
            ((0.0, 0.0, 0.0), (0.3, 0.1, 0.1)),
            ((0.3, 0.2, 0.1), (0.6, 0.4, 0.3)),
            ((0.5, 0.3, 0.5), (0.77, 0.75, 0.6)),
            ((0.6, 0.4, 0.3), (0.7, 0.5, 0.4)),
            ((0.6, 0.4, 0.3), (0.6, 0.4, 0.3)),
        ):
            old, new = ({**GROWN, **dict(zip(practised, rates, strict=True))} for rates in (before, after))
            for kind, alike in (("same", 0.0), ("per_look", 0.03)):
                draw, promoted, pairs = rng(seed, "gate", "growing", blocks, str(after), kind), 0, 0
                for _ in range(n):
                    pair = _pair(old, new, kind, alike, shared, draw)
                    decision, _, cost = run_gate(pair, members, accepted, settings, draw)
                    promoted, pairs = promoted + (decision.promote is True), pairs + cost
                row = {"blocks": blocks, "from": before, "to": after, "noise": kind, "n": n}
                rows.append(row | {"promoted": promoted / n, "pairs": round(pairs / n)})
    return rows


def weak(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """A weak start, from which nothing, half of what the next rounds bring, or all of it was learned: how often the new policy is
    promoted, with few and with the usual pairs, at two settings of `experiment.false_promotion`."""
    rows, accepted = [], frozenset(BASE)
    practised = frozenset(name for name in BASE if WEAK[name] < 0.8)
    for gained in (0.0, 0.5, 1.0):
        new = {name: old + gained * (LATER[name] - old) for name, old in WEAK.items()}
        for kind, alike in (("same", 0.0), ("retrained", 0.03)):
            for episodes in (4, 8):
                for error in (0.0005, 0.05):
                    draw, promoted, pairs, better = rng(seed, "gate", "weak", str(gained), kind, episodes), 0, 0, 0
                    for _ in range(n):
                        pair = _pair(WEAK, new, kind, alike, shared, draw)
                        own = replace(settings, false_promotion=error)
                        decision, _, cost = run_gate(pair, BASE, accepted, own, draw, episodes, practised)
                        promoted, pairs = promoted + (decision.promote is True), pairs + cost
                        rise = sum(m * (pair.new[name] - pair.old[name]) for name, m in BASE.items())
                        better += decision.promote is True and rise > 0
                    row = {"gained": gained, "noise": kind, "episodes": episodes, "false_promotion": error, "n": n}
                    more = {"promoted": promoted / n, "better": better / max(promoted, 1), "pairs": round(pairs / n)}
                    rows.append(row | more)
    return rows


def chain(n: int, seed: int, shared: float, settings: GateSettings) -> list[dict[str, Any]]:
    """Thirty gates in a row with retrains that learned nothing (`retrained`, .03): what becomes of accepted families."""
    rows, gates = [], 30
    for name, rule in {"gate": None, **BASELINES}.items():
        draw, chains = rng(seed, "gate", "chain"), max(n // 10, 1)
        promoted, change, worst = 0, 0.0, 0.0
        for _ in range(chains):
            first = old = {f: _drawn(p, 0.03, draw) for f, p in MIXED.items()}
            for _ in range(gates):
                pair = Pair(old, {f: _drawn(p, 0.03, draw) for f, p in MIXED.items()}, 0.0, shared)
                if rule is None:
                    better = run_gate(pair, MEMBERS, ACCEPTED, settings, draw)[0].promote is True
                else:
                    better = rule(_all_looks(pair, settings, draw))
                old, promoted = pair.new if better else old, promoted + better
            change += sum(old[f] - first[f] for f in ACCEPTED) / len(ACCEPTED)
            worst += min(old[f] - first[f] for f in ACCEPTED)
        row = {"rule": name, "chains": chains, "gates": gates, "promoted_per_chain": promoted / chains}
        rows.append(row | {"change_of_accepted": round(change / chains, 3), "of_the_worst": round(worst / chains, 3)})
    return rows


def acceptance(n: int, seed: int) -> list[dict[str, Any]]:
    """A family of equal members asked in as many rounds as the error rate holds for, after each of up to four looks a round."""
    rows = []
    for size in (1, 3, 6):
        for rate in (0.6, 0.7, 0.8, 0.85, 0.9, 0.95):
            for kind, alike in (("same", 0.0), ("retrained", 0.03)):
                draw = rng(seed, "gate", "acceptance", size, int(100 * rate), kind)
                once, ever, wrongly = 0, 0, 0
                for _ in range(n):
                    first, rounds, truth = None, 0, 1.0
                    for rounds in range(1, AcceptanceSettings.rounds + 1):
                        truth = _drawn(rate, alike, draw)
                        if _accepted(size, truth, draw):
                            first = rounds
                            break
                    once, ever = once + (first == 1), ever + (first is not None)
                    wrongly += first is not None and truth < 0.7
                row = {"members": size, "true": rate, "noise": kind, "n": n, "first_round": once / n}
                row |= {"ever": ever / n, "ever_95": _95(ever, n), "accepted_below_.7": wrongly / n}
                rows.append(row)
    return rows


def _accepted(size: int, rate: float, draw: np.random.Generator) -> bool:
    looks: list[list[SuccessCount]] = []
    for _ in range(4):
        k = draw.binomial(EPISODES, rate, size)
        looks.append([SuccessCount(str(i), "", EPISODES, int(s), int(s)) for i, s in enumerate(k)])
        if accept(looks).accepted:
            return True
    return False


def _all_looks(pair: Pair, settings: GateSettings, draw: np.random.Generator) -> list[dict[str, PairedCount]]:
    every = {name: EPISODES * n for name, n in MEMBERS.items()}
    return [{c.family: c for c in pair.look(every, draw)} for _ in range(settings.max_looks)]


def _false_alarm(decision: GateDecision, pair: Pair, settings: GateSettings) -> bool:
    """Whether a loss is declared of a family that in truth lost no more than is tolerated."""
    declared = [f.family for f in decision.families if f.verdict == "lost" and f.family in ACCEPTED]
    return any(pair.old[f] - pair.new[f] <= settings.tolerance for f in declared)


def _pair(
    old: Mapping[str, float],
    new: Mapping[str, float],
    kind: str,
    alike: float,
    shared: float,
    draw: np.random.Generator,
) -> Pair:
    if kind == "retrained":
        old, new = ({f: _drawn(p, alike, draw) for f, p in rates.items()} for rates in (old, new))
    return Pair(old, new, alike if kind == "per_look" else 0.0, shared)


def _95(k: int, n: int) -> list[float]:
    return [round(x, 5) for x in wilson(k, n)]


def main() -> None:
    parts = {"null": null, "clean": clean, "loss": loss, "gain": gain, "growing": growing, "weak": weak, "chain": chain}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=(*parts, "acceptance"), default=[*parts, "acceptance"])
    parser.add_argument("--n", type=int, default=10_000, help="null retrains per row; a tenth of it in the other parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shared", type=float, default=0.5, help="correlation of two policies' luck with a start")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    for name in options.parts:
        began, few = time.monotonic(), options.n // 10
        if name == "acceptance":
            result[name] = acceptance(few, options.seed)
        else:
            n = options.n if name == "null" else few
            result[name] = parts[name](n, options.seed, options.shared, GateSettings())
        result[f"{name}_seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
