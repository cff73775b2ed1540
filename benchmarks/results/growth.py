"""Growth of one or more runs as a picture: `python benchmarks/results/growth.py OUT.png RUN [RUN ...]`.

One panel per run: success of each family of skills that was written in it, over its rounds, from the starts of the learning
curves, with 95 % Wilson intervals; a star where the family was accepted, a cross where it was dropped. A family has one colour
in all panels.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ludus.experiment.library import recorded_library
from ludus.record import Record
from ludus.views.queries import families
from ludus.worlds.registry import make_world

ENDS = {"accepted": "*", "dropped": "X"}


def draw(axes: Axes, run: Path, colours: dict[str, str]) -> None:
    with Record.open(run, write=False) as record, closing(make_world(record.config.world)) as world:
        found = families(record, recorded_library(record, world))
        axes.set_title(f"{record.config.world.n_blocks} blocks, seed {record.config.seed}")
        by_template = {f.template: f for f in reversed(found) if f.template}  # one may have joined in two rounds
        for template, family in reversed(by_template.items()):
            round_of = {v.update: v.round for v in family.verdicts}
            points = [(round_of[p.update], p.rate) for p in family.points if p.update in round_of and p.rate]
            if not points:
                continue
            at, rates = [n for n, _ in points], [r.rate for _, r in points]
            colour = colours.setdefault(template, f"C{len(colours)}")
            axes.plot(at, rates, "-o", color=colour, markersize=4)
            axes.fill_between(at, [r.low for _, r in points], [r.high for _, r in points], color=colour, alpha=0.12)
            for decision in family.decisions:
                if decision.status in ENDS and decision.round in at:
                    rate = rates[at.index(decision.round)]
                    axes.plot(decision.round, rate, ENDS[decision.status], color=colour, markersize=15, zorder=4)
    axes.set(ylim=(-0.02, 1.04), xlabel="round")
    axes.grid(alpha=0.3)


def main() -> None:
    out, *runs = map(Path, sys.argv[1:])
    figure, axes = plt.subplots(1, len(runs), figsize=(4 + 4 * len(runs), 4), sharey=True, squeeze=False)
    colours = dict[str, str]()
    for panel, run in zip(axes[0], runs, strict=True):
        draw(panel, run, colours)
    axes[0][0].set_ylabel("success at the end of the skill")
    shown = [Line2D([], [], color=colour, marker="o", markersize=4, label=name) for name, colour in colours.items()]
    axes[0][-1].legend(handles=shown, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    main()
