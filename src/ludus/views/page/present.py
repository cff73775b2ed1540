"""The tab *Now*: what the robots, the training and the experimenter are doing, as far as the record knows."""

from __future__ import annotations

from ludus.record import Record
from ludus.views import queries
from ludus.views.page.film import MOSAIC, MOSAIC_COLUMNS
from ludus.views.page.place import Place
from ludus.views.page.rendering import Params, link, render


def gauges(place: Place, name: str) -> str:
    """How fast the run goes and what is left, which changes every second."""

    def made() -> str:
        with place.open(name) as record:
            return render("gauges.html", now=queries.now(record))

    return place.kept((name, "gauges"), place.pulse(name), made)


def now(place: Place, record: Record, name: str, params: Params) -> str:
    """The latest episodes, the plans that wait, calls and budget."""
    latest = queries.episodes(record, limit=MOSAIC).entries
    return render(
        "now.html",
        name=name,
        now=queries.now(record),
        latest=latest,
        mosaic=link(name, "mosaic", id=[e.id for e in latest]),
        columns=MOSAIC_COLUMNS,
        rows=-(-len(latest) // MOSAIC_COLUMNS),
    )
