"""Growth of one or more runs as a picture: `python benchmarks/results/growth.py OUT.png RUN [RUN ...]`.

One panel per run: success of each family of skills that was written in it, over its rounds, from the starts of the learning
curves, with 95 % Wilson intervals; a star where the family was accepted, a cross where it was dropped.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ludus.experiment.library import recorded_library
from ludus.record import Record
from ludus.views.queries import families
from ludus.worlds.registry import make_world

ENDS = {"accepted": "*", "dropped": "X"}


def draw(axes: Axes, run: Path) -> None:
    with Record.open(run, write=False) as record, closing(make_world(record.config.world)) as world:
        found = families(record, recorded_library(record, world))
        axes.set_title(f"{record.config.world.n_blocks} blocks, seed {record.config.seed}")
        by_template = {f.template: f for f in reversed(found) if f.template}  # one may have joined in two rounds
        for i, family in enumerate(reversed(by_template.values())):
            round_of = {v.update: v.round for v in family.verdicts}
            points = [(round_of[p.update], p.rate) for p in family.points if p.update in round_of and p.rate]
            if not points:
                continue
            at, rates = [n for n, _ in points], [r.rate for _, r in points]
            colour = f"C{i}"
            axes.plot(at, rates, "-o", color=colour, markersize=4, label=family.template)
            axes.fill_between(at, [r.low for _, r in points], [r.high for _, r in points], color=colour, alpha=0.12)
            for decision in family.decisions:
                if decision.status in ENDS and decision.round in at:
                    rate = rates[at.index(decision.round)]
                    axes.plot(decision.round, rate, ENDS[decision.status], color=colour, markersize=15, zorder=4)
    axes.set(ylim=(-0.02, 1.02), xlabel="round", ylabel="success at the end of the skill")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def main() -> None:
    out, *runs = map(Path, sys.argv[1:])
    figure, axes = plt.subplots(1, len(runs), figsize=(10 * len(runs), 4), sharey=True, squeeze=False)
    for panel, run in zip(axes[0], runs, strict=True):
        draw(panel, run)
    figure.tight_layout()
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    main()
