"""Rounds as a picture: `python benchmarks/results/rounds.py OUT.png runs/results/zero0 runs/results/high0`.

How the commands of each collection from the world's first kind of start ended, store after store, in the order of
collecting: success at the end, or at any step with `--once`, per template, with 95 % Wilson intervals.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ludus.experiment.library import recorded_library
from ludus.lab.analysis import aggregate, wilson
from ludus.record import Record
from ludus.worlds.registry import make_world


def main() -> None:
    once = "--once" in sys.argv
    out, *directories = (Path(a) for a in sys.argv[1:] if a != "--once")
    points: dict[str, list[tuple[int, float, float, float]]] = {}
    n, templates = 0, {}
    for directory in directories:
        with Record.open(directory, write=False) as record, closing(make_world(record.config.world)) as world:
            library = recorded_library(record, world)
            templates |= dict.fromkeys(map(library.template, library.captions))
            steps = [s.name.split("/")[1] for s in record.steps() if s.name.startswith("collect/")]
            for name in dict.fromkeys(steps):
                if record.result(f"collect/{name}/request")["start"] not in (None, world.spec.starts[0]):
                    continue
                for count in aggregate(record.success_counts(f"collect/{name}/"), library):
                    successes = count.successes_once if once else count.successes
                    low, high = wilson(successes, count.n)
                    points.setdefault(count.caption, []).append((n, successes / count.n, low, high))
                n += 1
    figure, axis = plt.subplots(figsize=(8, 4))
    for template in templates:
        if template in points:
            k, rate, low, high = zip(*points[template], strict=True)
            (line,) = axis.plot(k, rate, marker="o", markersize=3, label=template)
            axis.fill_between(k, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set_xlabel("round of own episodes")
    axis.set_ylabel(f"success at {'any step' if once else 'the end'}, while collecting")
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
