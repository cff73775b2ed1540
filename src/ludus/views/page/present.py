"""The tab *Now*: what the robots, the training and the experimenter are doing, as far as the record knows."""

from __future__ import annotations

from ludus.lab.standing import standing
from ludus.record import Record
from ludus.views import queries
from ludus.views.page.film import MOSAIC, MOSAIC_COLUMNS
from ludus.views.page.place import Place
from ludus.views.page.rendering import Params, link, mark, render


def gauges(place: Place, name: str) -> str:
    """How fast the run goes and what is left, which changes every second."""

    return place.kept(name, "gauges", place.pulse(name), lambda: render("gauges.html", now=_now(place, name)))


def _now(place: Place, name: str) -> queries.Now:
    """Both parts of the tab show it."""

    def asked() -> queries.Now:
        with place.open(name) as record:
            return queries.now(record, standing(place.interventions(name)))

    return place.kept(name, "now asked", place.pulse(name), asked)


def now(place: Place, record: Record, name: str, params: Params) -> str:
    """The latest episodes, the plans that wait, calls and budget."""
    latest = queries.episodes(record, limit=MOSAIC).entries
    return render(
        "now.html",
        name=name,
        now=_now(place, name),
        latest=latest,
        mosaic=link(name, "mosaic", id=[e.id for e in latest], of=mark(record)),
        columns=MOSAIC_COLUMNS,
        rows=-(-len(latest) // MOSAIC_COLUMNS),
    )
