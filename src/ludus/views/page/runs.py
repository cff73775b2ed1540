"""What is shown of all runs: their list, and the curves of several over each other."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from ludus.types import LudusError, unknown
from ludus.views import queries
from ludus.views.page.place import UNREADABLE, Place
from ludus.views.page.rendering import PER_PAGE, Params, number, pages, render

FEW = 3
"""Settings of a run that are shown at once."""
MOST_COMPARED = 6
"""Runs: as many as there are colours (`page.css`)."""


def index(place: Place, params: Params) -> str:
    """The runs, the newest first, with the settings in which they differ."""
    lines, unread = place.lines_soon()
    readable = [line for line in lines if line.error is None]
    choices = {
        "world": sorted({line.world for line in readable}),
        "experimenter": sorted({", ".join(line.experimenter) for line in readable}),
        "state": sorted({line.state or "" for line in readable}),
    }
    wanted = [
        line
        for line in lines
        if params.get("world", "") in ("", line.world)
        and params.get("experimenter", "") in ("", ", ".join(line.experimenter))
        and params.get("state", "") in ("", line.state)
    ]
    page = number(params.get("page"))
    shown = wanted[page * PER_PAGE : (page + 1) * PER_PAGE]
    return render(
        "index.html",
        place=place.where.name,
        lines=shown,
        found={} if unread else place.conclusions(shown),
        total=len(wanted),
        unread=unread,
        settings=[setting for setting in queries.differing(shown) if setting != "seed"],
        few=FEW,
        most=MOST_COMPARED,
        choices=choices,
        params=params,
        pages=pages(len(wanted), page, lambda n: "/?" + urlencode({**params, "page": n})),
    )


def compare(place: Place, names: Sequence[str]) -> str:
    """Chosen runs beside each other: the settings in which they differ, and their curves, a chart per family of skills.

    Raises:
        LudusError: no such run, one that cannot be read, fewer than two or more than `MOST_COMPARED`.
    """
    names = list(dict.fromkeys(names))
    if not 2 <= len(names) <= MOST_COMPARED:
        raise LudusError(f"{len(names)} runs were chosen; choose 2 to {MOST_COMPARED} in the list of runs")
    lines = {line.name: line for line in place.lines()}
    for name in names:
        if name not in lines:
            raise unknown("run", name, tuple(lines))
    chosen = [lines[name] for name in names if lines[name].error is None]
    curves, refusals = [], [f"{n}: {lines[n].error}" for n in names if lines[n].error]
    for line in chosen:
        try:
            with place.open(line.name) as record:
                curves.append(queries.learning_curves(record, place.library(record)))
        except UNREADABLE as error:
            curves.append(queries.LearningCurves((), (), ()))
            refusals.append(f"{line.name}: {error}")
    families = queries.together(curves)
    return render(
        "compare.html",
        place=place.where.name,
        lines=chosen,
        settings=queries.settings_beside(chosen),
        families=families,
        numbers=[(line.name, [of.curves[k] for of in families]) for k, line in enumerate(chosen)],
        last=max((p.update for of in families for c in of.curves if c for p in c.points), default=1),
        refusals=refusals,
    )
