"""Rounds as a picture: `python benchmarks/results/rounds.py OUT.png runs/results/zero0`.

How the commands of each collection of a store ended, in the order of collecting: success at the end per family, 95 %
Wilson intervals.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ludus.experiment.build import build
from ludus.lab.analysis import pool, wilson
from ludus.record import Record


def main() -> None:
    out, directory = Path(sys.argv[1]), Path(sys.argv[2])
    points: dict[str, list[tuple[int, float, float, float]]] = {}
    with Record.open(directory, write=False) as record, build(record) as parts:
        steps = [s.name.split("/")[1] for s in record.steps() if s.name.startswith("collect/")]
        for k, name in enumerate(dict.fromkeys(steps)):
            for tally in pool(record.tallies(f"collect/{name}/"), parts.library):
                low, high = wilson(tally.successes, tally.n)
                points.setdefault(tally.caption, []).append((k, tally.successes / tally.n, low, high))
    figure, axis = plt.subplots(figsize=(8, 4))
    for family in dict.fromkeys(map(parts.library.family, parts.library.captions)):
        if family in points:
            k, rate, low, high = zip(*points[family], strict=True)
            (line,) = axis.plot(k, rate, marker="o", markersize=3, label=family)
            axis.fill_between(k, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set_xlabel("round of own episodes")
    axis.set_ylabel("success at the end, while collecting")
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
