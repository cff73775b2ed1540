"""How good is the statistical judge of learning curves? Fits its correction and measures it on sources that were held out.

    python benchmarks/judge.py --curves PATH           # JSON: held out by source, online rule, the exam
    python benchmarks/judge.py --curves PATH --fit     # the constants of `ludus.experimenter.curves`, fitted to all sources
    python benchmarks/judge.py --curves PATH --as-is   # no fit: `curves.judge` as it stands, for comparing versions of it

PATH is JSON lines, gzipped: `source, algo, task, seed, u` (steps), `k` successes of `n` episodes per point; lines without `u` are
skipped. A curve is one seed, or all seeds of a task and an algorithm added up, which is what a template of skills is here.

Questions are made as the exam makes them (`benchmarks/exam_bank.py`): every prefix whose triple is there; 4, 8, 16 or all
episodes per point, every point or every second; the truth by the exam's rule from all episodes. One point of a single seed has
too few for a clear truth: there, 'now' is all points within an eighth, as 'later' is.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ludus.exam.metrics import calibration_error
from ludus.exam.parts import STOPS, UNDECIDED, three_way_brier
from ludus.exam.questions import load, truth
from ludus.experimenter import curves
from ludus.lab.hindsight import AROUND
from ludus.seeding import rng
from ludus.types import Curve, Verdict

EPISODES = (4, 8, 16, 10**9)
"""Per point, at most; the last shows all."""
CLASSES = ("converged", "learning", "stuck")
RIDGE = 3.0
"""Penalty on the squared weights of standardised features; a curve counts one, however many questions it gives."""
POOLED_WEIGHT = 4.0
"""Of a curve pooled over seeds, of which there are a quarter as many as single ones."""
ONLINE_EVERY = 4
"""The online rule is tried on every pooled curve and on every fourth single one."""
HIGH = 0.9
"""Questions below this success now are reported apart: above it little is left to judge."""


@dataclass(frozen=True)
class Recorded:
    """A whole training."""

    source: str
    kind: str
    """'single' or 'pooled'."""
    name: str
    u: np.ndarray
    k: np.ndarray
    n: np.ndarray

    def around(self, at: float) -> tuple[int, int]:
        """Successes and episodes of the points around this update."""
        near = np.abs(self.u / at - 1) <= AROUND
        return int(self.k[near].sum()), int(self.n[near].sum())

    def shown(self, points: np.ndarray, k: np.ndarray, n: np.ndarray) -> Curve:
        """What the judge sees of these points."""
        columns = ((int(x) for x in column) for column in (self.u[points], k, n))
        return Curve(self.name, *(tuple(column) for column in columns))


@dataclass(frozen=True)
class Question:
    """A first part of a training."""

    recorded: int
    curve: Curve
    truth: str
    source: str
    kind: str
    rate: float
    """Success now, over all episodes."""


def recorded(path: Path) -> list[Recorded]:
    """Every single seed, then the same pooled: points that at least half of the seeds have."""
    single, groups = [], defaultdict(list)
    with gzip.open(path, "rt") as file:
        for row in filter(lambda r: "u" in r, map(json.loads, file)):
            n = row["n"] if isinstance(row["n"], list) else [row["n"]] * len(row["u"])
            name = f"{row['source']}/{row['algo']}/{row['task']}"
            u, k, n = (np.array(column) for column in (row["u"], row["k"], n))
            single.append(Recorded(row["source"], "single", f"{name}/{row['seed']}", u, k, n))
            groups[row["source"], name].append(single[-1])
    pooled = []
    for (source, name), seeds in groups.items():
        points = Counter(u for s in seeds for u in s.u)
        u = np.array(sorted(p for p, times in points.items() if 2 * times >= len(seeds)))
        k, n = (np.array([sum(getattr(s, c)[s.u == p].sum() for s in seeds) for p in u]) for c in ("k", "n"))
        pooled.append(Recorded(source, "pooled", name, u, k, n))
    return single + pooled


def questions(trainings: Sequence[Recorded]) -> list[Question]:
    """Those with a clear truth."""
    found = []
    for number, t in enumerate(trainings):
        for i in range(curves.MIN_POINTS - 1, len(t.u)):
            end = t.u[i]
            later = t.around(curves.HORIZON * end) if end else (0, 0)
            if not end or curves.HORIZON * end > t.u[-1] or not later[1]:
                continue
            now = t.around(end) if t.kind == "single" else (int(t.k[i]), int(t.n[i]))
            right = truth(now, later)
            if right == "unclear":
                continue
            for e, episodes in enumerate(EPISODES):
                draw, points = rng(0, "judge", t.name, int(end), episodes), np.arange(i + 1)
                if len(points) >= 2 * curves.MIN_POINTS - 1 and draw.random() < 0.5:
                    points = points[::-2][::-1]
                k, n = t.k[points], t.n[points]
                if e > 0 and n.max() <= EPISODES[e - 1]:
                    break  # no more episodes than in the question before
                taken = np.minimum(n, episodes)
                curve = t.shown(points, draw.hypergeometric(k, n - k, taken), taken)
                found.append(Question(number, curve, right, t.source, t.kind, now[0] / now[1]))
    return found


# --- the fit -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """What the judge makes of curves before the correction."""

    curves: list[Curve]
    forecasts: list[curves.Forecast]
    evidence: np.ndarray

    @classmethod
    def of(cls, shown: Sequence[Curve]) -> Read:
        found = [curves.posterior(c) for c in shown]
        evidence = np.array([curves.evidence(c, f) for c, f in zip(shown, found, strict=True)])
        return cls(list(shown), found, evidence)

    def judge(self, i: int, correction: curves.Correction) -> Verdict:
        f = curves.corrected(self.forecasts[i], self.evidence[i], correction)
        return curves.decide(self.curves[i], f)


def fit(read: Read, asked: Sequence[Question], among: np.ndarray) -> curves.Correction:
    """The regression on these questions, by Newton's method. The forecast's log odds are its offset."""
    x = read.evidence[among]
    means, spreads = x.mean(0), x.std(0)
    x = np.concatenate([(x - means) / spreads, np.ones((len(x), 1))], axis=1)
    offset = np.array([curves.log_odds(read.forecasts[i]) for i in among])
    y = np.array([[asked[i].truth == c for c in ("converged", "stuck")] for i in among], float)
    times = Counter(asked[i].recorded for i in among)
    kinds = {"single": 1.0, "pooled": POOLED_WEIGHT}
    w = np.array([kinds[asked[i].kind] / times[asked[i].recorded] for i in among])
    penalty = np.diag([RIDGE] * (x.shape[1] - 1) + [0.0])
    weights = np.zeros((2, x.shape[1]))
    for _ in range(50):
        z = np.insert(offset + x @ weights.T, 1, 0.0, axis=1)
        z = np.exp(z - z.max(1, keepdims=True))
        p = (z / z.sum(1, keepdims=True))[:, [0, 2]]
        slope = ((y - p) * w[:, None]).T @ x - weights @ penalty
        bend = np.block(
            [
                [x.T @ (x * (w * p[:, a] * ((a == b) - p[:, b]))[:, None]) + (a == b) * penalty for b in (0, 1)]
                for a in (0, 1)
            ]
        )
        step = np.linalg.solve(bend, slope.ravel()).reshape(weights.shape)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    rows = [tuple(float(round(v, 3)) for v in row) for row in (means, spreads, *weights)]
    return curves.Correction(rows[0], rows[1], (rows[2], rows[3]))


# --- the scores --------------------------------------------------------------------------------------------------


def scores(truths: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The exam's."""
    pairs = list(zip(truths, verdicts, strict=True))
    if not pairs:
        return {"n": 0}
    stated = [(v.probability, v.judgement == t) for t, v in pairs if v.judgement != "unclear"]
    squares = [three_way_brier(p, right) for p, right in stated] + [UNDECIDED] * (len(pairs) - len(stated))
    rising = [v.judgement in STOPS for t, v in pairs if t == "learning"]
    settled = [v.judgement not in STOPS for t, v in pairs if t != "learning"]
    return {
        "n": len(pairs),
        "right": _mean([v.judgement == t for t, v in pairs]),
        "premature": _mean(rising),
        "late": _mean(settled),
        "brier": _mean(squares),
        "ece": round(calibration_error(stated) or 0.0, 3),
        "truths": dict(Counter(truths)),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if len(values) else None


def table(asked: Sequence[Question], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Scores of all, of each kind of curve and each source, and of questions that were not yet high."""

    def some(which: Any) -> dict[str, Any]:
        kept = [i for i, q in enumerate(asked) if which(q)]
        return scores([asked[i].truth for i in kept], [verdicts[i] for i in kept])

    found = {"all": some(lambda q: True), f"below {HIGH}": some(lambda q: q.rate < HIGH)}
    for kind in ("pooled", "single"):
        found[kind] = some(lambda q, kind=kind: q.kind == kind)
        found[f"{kind}, below {HIGH}"] = some(lambda q, kind=kind: q.kind == kind and q.rate < HIGH)
        for source in sorted({q.source for q in asked}):
            found[f"{kind}, {source}"] = some(lambda q, k=kind, s=source: (q.kind, q.source) == (k, s))
    return found


def online(t: Recorded, stops: Sequence[bool]) -> tuple[float, float]:
    """Success lost and training wasted by stopping at the first point that says so.

    Lost: success around the end less that around the stop, at least 0. Wasted: the share of the training from the first point
    after which no point is WORTHWHILE better, to the stop.
    """
    rates = np.array([k / n for k, n in (t.around(max(u, 1)) if u else (t.k[0], t.n[0]) for u in t.u)])
    best_to_come = np.maximum.accumulate(rates[::-1])[::-1]
    settled = int(np.argmax(best_to_come - rates < curves.WORTHWHILE))
    stop = next((i for i, s in enumerate(stops) if s), len(t.u) - 1)
    return max(0.0, rates[-1] - rates[stop]), max(0.0, float(t.u[stop] - t.u[settled])) / float(t.u[-1])


def prefixes(trainings: Sequence[Recorded]) -> tuple[list[int], list[Curve]]:
    """`(training, curve)` of each point at which the online rule asks."""
    found: list[tuple[int, Curve]] = []
    for number, t in enumerate(trainings):
        if t.kind == "pooled" or number % ONLINE_EVERY == 0:
            for i in range(len(t.u)):
                points = np.arange(i + 1)
                found.append((number, t.shown(points, t.k[points], t.n[points])))
    return [number for number, _ in found], [curve for _, curve in found]


def online_table(trainings: Sequence[Recorded], numbers: Sequence[int], stops: Sequence[bool]) -> dict[str, Any]:
    """Means over curves."""
    per_curve: dict[int, list[bool]] = defaultdict(list)
    for number, stop in zip(numbers, stops, strict=True):
        per_curve[number].append(stop)
    found: dict[str, Any] = {}
    for kind in ("pooled", "single"):
        losses = [online(trainings[c], s) for c, s in per_curve.items() if trainings[c].kind == kind]
        lost, wasted = (_mean(column) for column in zip(*losses, strict=True))
        found[kind] = {"n": len(losses), "success lost": lost, "training wasted": wasted}
    return found


def exam() -> dict[str, Any]:
    """The built-in exam's part analyse, by the module as it stands."""
    items = load().analyse
    return scores([item.truth for item in items], [curves.judge(item.curve) for item in items])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True, help="gzipped JSON lines")
    parser.add_argument("--fit", action="store_true", help="print the constants of all sources and stop")
    parser.add_argument("--as-is", action="store_true", help="judge as it stands, nothing fitted")
    options = parser.parse_args()
    trainings = recorded(options.curves)
    asked = questions(trainings)
    if options.as_is:
        numbers, shown = prefixes(trainings)
        verdicts = [curves.judge(q.curve) for q in asked]
        stops = [curves.judge(c).judgement in STOPS for c in shown]
        print(
            json.dumps(
                {**table(asked, verdicts), "online": online_table(trainings, numbers, stops), "exam": exam()}, indent=1
            )
        )
        return
    read = Read.of([q.curve for q in asked])
    if options.fit:
        print(fit(read, asked, np.arange(len(asked))))
        return
    sources = np.array([q.source for q in asked])
    fitted = {s: fit(read, asked, np.flatnonzero(sources != s)) for s in sorted(set(sources))}
    verdicts = [read.judge(i, fitted[q.source]) for i, q in enumerate(asked)]
    print(json.dumps(table(asked, verdicts), indent=1), file=sys.stderr)
    numbers, shown = prefixes(trainings)
    later = Read.of(shown)
    stops = [
        len(c.n) >= curves.MIN_POINTS and later.judge(i, fitted[trainings[t].source]).judgement in STOPS
        for i, (t, c) in enumerate(zip(numbers, shown, strict=True))
    ]
    print(
        json.dumps(
            {**table(asked, verdicts), "online": online_table(trainings, numbers, stops), "exam": exam()}, indent=1
        )
    )


if __name__ == "__main__":
    main()
