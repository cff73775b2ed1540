"""Learning curves laid over each other: `python benchmarks/results/curves.py OUT.png before=RUN,RUN after=RUN,RUN`.

One line per run, one colour per name; left all skills, right the stacks. Success on the curves' starts, over updates.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ludus.record import Record

Point = tuple[int, str, int, int]
"""Update, caption, episodes, successes."""


def points(run: Path) -> list[Point]:
    with Record.open(run, write=False) as record:
        return [(e.update, e.count.caption, e.count.n, e.count.successes) for e in record.evaluations("curve")]


def draw(out: Path, runs: Mapping[str, Sequence[Iterable[Point]]]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, (title, begin) in zip(axes, (("all skills", ""), ("stack, stack and leave", "stack")), strict=True):
        for k, (name, curves) in enumerate(runs.items()):
            for i, curve in enumerate(curves):
                tried, done = defaultdict[int, int](int), defaultdict[int, int](int)
                for update, caption, n, successes in curve:
                    if caption.startswith(begin):
                        tried[update] += n
                        done[update] += successes
                rates = [done[u] / tried[u] for u in sorted(tried)]
                axis.plot(sorted(tried), rates, color=f"C{k}", marker=".", alpha=0.8, label=None if i else name)
        axis.set_title(title)
        axis.set_xlabel("updates")
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("success at the end")
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    given = (argument.partition("=") for argument in sys.argv[2:])
    draw(Path(sys.argv[1]), {name: [points(Path(run)) for run in runs.split(",")] for name, _, runs in given})
