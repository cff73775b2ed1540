"""The picture of docs/architecture.md: `python docs/architecture.py` writes docs/architecture.png.

Boxes are the rooms of src/ludus, higher ones import lower ones; coloured arrows are what flows during a run.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

OUT = Path(__file__).with_suffix(".png")
INK, GREY = "#222222", "#6b7280"
FILL = {
    "top": "#eef2f7",
    "lab": "#f5f0e3",
    "decide": "#e6eefb",
    "learn": "#e6f5ea",
    "act": "#fdeee0",
    "base": "#f0f0f0",
}
FLOW = {"decide": "#2f5fb3", "learn": "#22804a", "act": "#c05d12", "record": "#7a3e9d"}

# name, (left, bottom, width, height), fill, what stands below the name
ROOMS = (
    ("cli", (0.2, 11.15, 12.6, 0.6), "top", "parse, call, print"),
    ("views", (0.2, 10.2, 12.6, 0.65), "top", "queries that return plain data  →  terminal, report"),
    ("experiment", (0.2, 9.05, 8.2, 0.8), "top", "compose.py puts the parts together, loop.py is the method"),
    ("exam", (8.7, 9.05, 4.1, 0.8), "top", "examines an experimenter"),
    ("scale", (0.2, 8.15, 12.6, 0.65), "act", "runs the tasks of a collection on a Ray cluster, if asked to"),
    (
        "experimenter",
        (0.2, 3.95, 4.5, 0.95),
        "decide",
        "planner, VLM, person or recording;\nall calls go through the ledger",
    ),
    ("agents", (8.9, 3.95, 3.9, 0.95), "learn", "Agent (pac/), Trainer,\nbackends, policies"),
    ("worlds", (5.0, 2.45, 2.7, 0.95), "act", "E simulations, encoder,\nteacher (blocks/, ogbench/)"),
    ("data", (8.9, 2.45, 3.9, 0.95), "learn", "store  →  relabel  →  sampler"),
    (
        "skills",
        (0.2, 1.25, 7.5, 0.75),
        "base",
        "predicates, expressions, library: reward and success of any observation",
    ),
    ("record", (0.2, 0.2, 12.6, 0.65), "base", "the run: rows of a database, and a directory of arrays and pictures"),
    ("types · config · seeding", (0.2, -0.75, 12.6, 0.6), "base", "data between rooms, settings, named random seeds"),
)
PARTS = (  # of lab
    ("analysis", (0.45, 5.85, 1.9, 1.0), "decide", "reads curves,\nstops training"),
    ("curriculum", (2.75, 5.85, 1.95, 1.0), "decide", "asks for plans,\nfinds gaps"),
    ("embodiment", (5.45, 5.85, 2.25, 1.0), "act", "rolls out E robots,\nscores, packs episodes"),
    ("actors", (9.7, 5.85, 2.85, 1.0), "act", "policy, teacher\nor random"),
)
# points of the line, colour, text, where the text is centred
ARROWS = (
    (((1.1, 5.85), (1.1, 4.9)), "decide", "curves", (0.68, 5.25)),
    (((1.6, 4.9), (1.6, 5.85)), "decide", "verdicts", (2.08, 5.25)),
    (((3.45, 5.85), (3.45, 4.9)), "decide", "questions", (2.92, 5.25)),
    (((3.95, 4.9), (3.95, 5.85)), "decide", "answers", (4.42, 5.25)),
    (((4.7, 6.35), (5.45, 6.35)), "decide", "plans", (5.07, 6.55)),
    (((6.2, 5.85), (6.2, 3.4)), "act", "actions\n[E, A]", (5.72, 4.55)),
    (((6.75, 3.4), (6.75, 5.85)), "act", "observations\n[E, …]", (7.35, 3.95)),
    (((7.7, 6.55), (9.7, 6.55)), "act", "observations,\ncaptions", (8.7, 6.88)),
    (((9.7, 6.15), (7.7, 6.15)), "act", "actions", (8.7, 5.97)),
    (((10.9, 4.9), (10.9, 5.85)), "learn", "policy", (11.4, 5.2)),
    (((7.3, 5.85), (7.3, 4.65), (8.3, 4.65), (8.3, 2.9), (8.9, 2.9)), "act", "episodes", (7.85, 4.82)),
    (((10.9, 3.4), (10.9, 3.95)), "learn", "batches", (11.5, 3.67)),
    (((7.7, 1.62), (9.6, 1.62), (9.6, 2.45)), "learn", "reward, success", (8.75, 1.8)),
    (((10.9, 2.45), (10.9, 0.85)), "record", "shards", (10.45, 1.3)),
    (((12.8, 4.4), (13.15, 4.4), (13.15, 0.65), (12.8, 0.65)), "record", "checkpoints, metrics", (13.34, 2.6)),
    (((0.2, 6.35), (-0.2, 6.35), (-0.2, 0.52), (0.2, 0.52)), "record", "messages", (-0.42, 3.4)),
    (((12.8, 0.38), (13.6, 0.38), (13.6, 10.52), (12.8, 10.52)), "record", "rows", (13.78, 6.0)),
)
UPRIGHT = ("messages", "rows", "checkpoints, metrics")


def main() -> None:
    figure, axis = plt.subplots(figsize=(13.5, 11.5))
    axis.set_xlim(-1.1, 14.1)
    axis.set_ylim(-1.1, 11.95)
    axis.axis("off")
    _box(axis, "lab", (0.2, 5.6, 12.6, 2.3), "lab", "", title_at=(6.5, 7.6))
    axis.text(6.5, 7.3, "the modules of the method; they talk in a room that a person can join", **_style(9.5, GREY))
    for room in (*ROOMS, *PARTS):
        _box(axis, *room)
    for points, colour, text, place in ARROWS:
        _arrow(axis, points, FLOW[colour])
        upright = 90 if text in UPRIGHT else 0
        axis.text(*place, text, rotation=upright, **_style(9.5, FLOW[colour]))
    axis.annotate("", (-0.85, -0.6), (-0.85, 11.6), arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 1.2})
    axis.text(-1.02, 8.6, "imports point down", rotation=90, **_style(9.5, GREY))
    figure.tight_layout(pad=0.3)
    figure.savefig(OUT, dpi=110, metadata={"Software": None})


def _style(size: float, colour: str) -> dict[str, object]:
    return {"fontsize": size, "color": colour, "ha": "center", "va": "center"}


def _box(axis: Axes, name: str, place, fill: str, text: str, title_at: tuple[float, float] | None = None) -> None:
    left, bottom, width, height = place
    shape = FancyBboxPatch(
        (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.08", facecolor=FILL[fill], edgecolor=GREY
    )
    axis.add_patch(shape)
    lines = text.count("\n") + 1 if text else 0
    middle, centre = left + width / 2, bottom + height / 2
    x, y = title_at or (middle, centre + 0.11 * lines + 0.02)
    axis.text(x, y, name, fontweight="bold", **_style(12, INK))
    if text:
        axis.text(middle, centre - 0.15, text, **_style(9.5, INK))


def _arrow(axis: Axes, points, colour: str) -> None:
    for start, end in pairwise(points):
        last = end == points[-1]
        style = "-|>" if last else "-"
        axis.add_patch(
            FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=14, lw=1.8, color=colour, shrinkA=0, shrinkB=0)
        )


if __name__ == "__main__":
    main()
