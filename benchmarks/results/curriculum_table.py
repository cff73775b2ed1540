"""Tables of what `curriculum.py` measured: `python benchmarks/results/curriculum_table.py runs/results/curriculum`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from ludus.lab.analysis import wilson

FIRST = "experimenter"
"""The arm that the others are compared with."""
ORDER = ("start", "none", "sequences", "progress", "weakest", "planner", FIRST)
T_975 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantile of Student's t with 0, 1, ... degrees of freedom (any table)."""
ALL = "all"
"""Stands for all templates together, which have about as many episodes each."""

Measured = Mapping[str, Any]
"""What one `<arm>.json` holds."""


def write_tables(out: Path) -> None:
    """`curriculum.json` and `curriculum.md` in `out`, of what was measured so far."""
    measured = [json.loads(p.read_text()) for p in sorted(out.glob("seed*/*.json"))]
    parts = {
        "base skills": [m for m in measured if not m["arm"].endswith("-new")],
        "new skills, after training on each arm's episodes": [
            dict(m, arm=m["arm"].removesuffix("-new")) for m in measured if m["arm"].endswith("-new")
        ],
    }
    found = {name: compare(of) for name, of in parts.items() if of}
    data = [{k: m[k] for k in ("seed", "arm", "data")} for m in parts["base skills"]]
    settings = measured[0]["settings"] if measured else {}
    (out / "curriculum.json").write_text(json.dumps({"settings": settings, "compared": found, "data": data}, indent=1))
    lines = [f"Settings: {', '.join(f'{k} {v}' for k, v in settings.items())}.", ""]
    for name, one in found.items():
        lines += _success_table(name, one) + _difference_table(one)
    (out / "curriculum.md").write_text("\n".join(lines + _data_table(parts["base skills"])) + "\n")


# --- numbers -----------------------------------------------------------------------------------------------------


def compare(measured: Sequence[Measured]) -> dict[str, Any]:
    """Success per arm and template, all seeds together, and `FIRST` less each other arm, paired by seed and start."""
    by_arm: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for m in measured:
        successes = {t: np.array(s, bool) for t, s in m["successes"].items()}
        by_arm.setdefault(m["arm"], {})[m["seed"]] = successes | {ALL: np.concatenate(list(successes.values()))}
    arms = [a for a in ORDER if a in by_arm]
    templates = list(next(iter(by_arm[arms[0]].values())))
    success = {a: {t: _rate([s[t] for s in by_arm[a].values()]) for t in templates} for a in arms}
    differences = {}
    for arm in arms if FIRST in by_arm else ():
        seeds = sorted(set(by_arm[arm]) & set(by_arm[FIRST]))
        if arm != FIRST and seeds:
            pairs = {t: [(by_arm[FIRST][s][t], by_arm[arm][s][t]) for s in seeds] for t in templates}
            differences[arm] = {"seeds": seeds} | {t: _difference(p) for t, p in pairs.items()}
    return {"success": success, "differences": differences}


def _rate(successes: Sequence[np.ndarray]) -> dict[str, Any]:
    n, k = sum(map(len, successes)), int(sum(s.sum() for s in successes))
    return {
        "n": n,
        "successes": k,
        "rate": k / n,
        "wilson": wilson(k, n),
        "per_seed": [float(s.mean()) for s in successes],
    }


def _difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Of `(one, other)` per seed: mean difference of the rates; its interval over seeds, which holds for other seeds; and over
    the episodes, which holds for these policies only."""
    each = [float(a.mean() - b.mean()) for a, b in pairs]
    one, other = (np.concatenate(x) for x in zip(*pairs, strict=True))
    half = T_975[len(each) - 1] * stdev(each) / math.sqrt(len(each)) if 1 < len(each) <= len(T_975) else None
    mean = fmean(each)
    over_seeds = None if half is None else (mean - half, mean + half)
    return {"per_seed": each, "mean": mean, "over_seeds": over_seeds, "over_episodes": paired_interval(one, other)}


def paired_interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """95 % interval of the difference of two success rates over the same n starts. Source: Newcombe 1998, Statistics in Medicine
    17:2635, method 10."""
    n, (a, b) = len(one), (int(one.sum()), int(other.sum()))
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    product = both * neither - (a - both) * (b - both)
    scale = math.sqrt(a * (n - a) * b * (n - b))
    phi = (max(product - n / 2, 0) if product > 0 else product) / scale if scale else 0.0
    (low_a, high_a), (low_b, high_b) = wilson(a, n), wilson(b, n)
    down, up = (a / n - low_a, high_b - b / n), (high_a - a / n, b / n - low_b)
    reach = [math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y)) for x, y in (down, up)]
    return (a - b) / n - reach[0], (a - b) / n + reach[1]


# --- text --------------------------------------------------------------------------------------------------------


def _success_table(name: str, found: Mapping[str, Any]) -> list[str]:
    success = found["success"]
    templates = list(next(iter(success.values())))
    lines = [f"Success on {name}, 95 % Wilson interval, n: all seeds together.", ""]
    lines += ["| arm | " + " | ".join(templates) + " |", "|---" * (len(templates) + 1) + "|"]
    for arm, rates in success.items():
        cells = []
        for template in templates:
            r = rates[template]
            cells.append(f"{r['rate']:.3f} [{r['wilson'][0]:.2f}, {r['wilson'][1]:.2f}], n {r['n']}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _difference_table(found: Mapping[str, Any]) -> list[str]:
    if not found["differences"]:
        return []
    lines = [
        f"'{FIRST}' less each other arm: mean over seeds (each seed); 95 % t interval over seeds; 95 % paired interval over "
        "episodes, for these policies only.",
        "",
    ]
    templates = list(next(iter(found["success"].values())))
    lines += ["| arm | " + " | ".join(templates) + " |", "|---" * (len(templates) + 1) + "|"]
    for arm, of in found["differences"].items():
        lines.append(f"| {arm} | " + " | ".join(_difference_text(of[t]) for t in templates) + " |")
    return [*lines, ""]


def _difference_text(d: Mapping[str, Any]) -> str:
    each = ", ".join(f"{x:+.2f}" for x in d["per_seed"])
    seeds = "–" if d["over_seeds"] is None else "[{:+.2f}, {:+.2f}]".format(*d["over_seeds"])
    return f"{d['mean']:+.3f} ({each}); {seeds}; [{d['over_episodes'][0]:+.2f}, {d['over_episodes'][1]:+.2f}]"


def _data_table(measured: Sequence[Measured]) -> list[str]:
    """Means over seeds, of the rounds' episodes only."""
    columns = {
        "episodes": lambda d: d["new"]["episodes"],
        "transitions": lambda d: d["new"]["transitions"],
        "graphs": lambda d: d["new"]["everywhere"]["graphs"],
        "entropy, bits": lambda d: d["new"]["everywhere"]["graph_entropy"],
        "shapes": lambda d: d["new"]["everywhere"]["shapes"],
        "graphs at ends": lambda d: d["new"]["ends"]["graphs"],
        "entropy at ends, bits": lambda d: d["new"]["ends"]["graph_entropy"],
        "shapes at ends": lambda d: d["new"]["ends"]["shapes"],
        "cells": lambda d: d["new"]["coverage"]["cells"],
        "share of cells": lambda d: d["new"]["coverage"]["share"],
        "seconds": lambda d: d["seconds"],
    }
    lines = [
        "What the rounds collected, mean over seeds: relation graphs, by name and by shape; cells where a block was.",
        "",
    ]
    lines += ["| arm | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for arm in ORDER:
        found = [m["data"] for m in measured if m["arm"] == arm]
        if found and arm != "start":
            lines.append(f"| {arm} | " + " | ".join(f"{fmean(map(c, found)):.4g}" for c in columns.values()) + " |")
    return lines


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]))
