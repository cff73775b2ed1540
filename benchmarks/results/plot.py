"""Sweeps as a picture: `python benchmarks/results/plot.py OUT.png runs/results/sweep-*.json`.

One panel per setting; success of each template over its values, with 95 % Wilson intervals, at temperature 0.333.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHOWN = ("hover X above Y", "stack X on Y", "stack X on Y and leave")


def main() -> None:
    out, *paths = map(Path, sys.argv[1:])
    panels: dict[str, dict[str, Any]] = defaultdict(dict)
    for path in paths:
        assignments = [a.split("=") for a in path.stem.removeprefix("sweep-").split(",")]
        setting = " / ".join(name for name, _ in assignments)
        measured = json.loads(path.read_text())["measured"]
        chosen = min(measured, key=lambda m: abs(m["temperature"] - 0.333))
        panels[setting]["\n".join(value for _, value in assignments)] = {t["caption"]: t for t in chosen["templates"]}
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4), sharey=True, squeeze=False)
    for axis, (setting, values) in zip(axes[0], panels.items(), strict=True):
        names = sorted(values, key=lambda v: [float(x) for x in v.split("\n")])
        for k, template in enumerate(t for t in SHOWN if all(t in v for v in values.values())):
            found = [values[n][template] for n in names]
            rates = [f["rate"] for f in found]
            low = [r - f["wilson"][0] for r, f in zip(rates, found, strict=True)]
            high = [f["wilson"][1] - r for r, f in zip(rates, found, strict=True)]
            places = [i + (k - 1) * 0.06 for i in range(len(names))]
            axis.errorbar(places, rates, [low, high], marker="o", capsize=3, label=template)
        axis.set_xticks(range(len(names)), names)
        axis.set_xlabel(setting)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("success at the end")
    axes[0][-1].legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
