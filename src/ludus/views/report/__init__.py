"""The report: one HTML file with every picture inside, made from the record (and a world, for the films).

The sections are templates of their own in `templates/`; each gets the plain data of a query and addresses of pictures, so a page
that is served may use the same ones with other addresses.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ludus.data.store import EpisodeStore
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError
from ludus.views import figures, queries, text
from ludus.worlds.base import World


def write_report(record: Record, world: World, library: SkillLibrary) -> Path:
    """Write `report.html` into the run directory and return its path.

    Runs without OpenGL get a report without films, which says so.
    """
    page = render("page.html", style=style(), **_content(record, world, library))
    # a record of elsewhere may hold halves of surrogate pairs
    record.write_file("report.html", page.encode(errors="replace"))
    return record.path("report.html")


def render(template: str, **values: Any) -> str:
    """A template of `templates/`, filled in. Every text in it is escaped; control characters are left out."""
    return environment("ludus.views.report").get_template(template).render(values)


def style() -> Markup:
    """The style sheet."""
    return Markup((files("ludus.views.report") / "report.css").read_text("utf-8"))


@cache
def environment(*packages: str) -> Environment:
    """Where the templates of these packages are found, the first that has one: every text in them is escaped, and control
    characters are left out."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    made.globals["text"] = text
    made.globals["sparkline"] = sparkline
    return made


def _clean(value: Any) -> Any:
    return text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _content(record: Record, world: World, library: SkillLibrary) -> dict[str, Any]:
    """What the templates show."""
    header, status = queries.run_header(record), queries.run_status(record)
    success, curves = queries.success(record, library), queries.learning_curves(record, library)
    times, chat = queries.phase_times(record), queries.chat(record)
    return {
        "header": header,
        "status": status,
        "growth": queries.growth(record, library),
        "families": queries.families(record, library),
        "gates": queries.gates(record),
        "success": success,
        "success_picture": data_uri(figures.success_bars(success)) if success.templates else None,
        "curves": curves,
        "curves_picture": data_uri(figures.learning_curves(curves)) if curves.curves else None,
        "verdict_scores": queries.verdict_scores(record, library),
        "plans": queries.plans(record),
        "films": _films(record, world),
        "chat": chat,
        "pictures": _pictures(record, (p for topic in chat.topics for p in topic.postings)),
        "skills": queries.skills(record, library),
        "calls": queries.model_calls(record),
        "times": times,
        "times_picture": data_uri(figures.time_bars(times)) if times else None,
    }


def sparkline(points: Sequence[queries.CurvePoint]) -> Markup:
    """Success rates, 0 at the bottom and 1 at the top, as a small drawing in the line."""
    rates = [p.rate.rate for p in points if p.rate is not None]
    width, height, edge = 110, 30, 3  # pixels
    across = (width - 2 * edge) / max(1, len(rates) - 1)
    at = [(edge + i * across, height - edge - rate * (height - 2 * edge)) for i, rate in enumerate(rates)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    dot = '<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(*at[-1]) if at else ""
    said = "success " + ", ".join(f"{r:.2f}" for r in rates)
    return Markup(
        f'<svg class="spark" role="img" aria-label="{said}" width="{width}" height="{height}"><title>{said}</title>'
        f'<polyline points="{line}"/>{dot}</svg>'
    )


def data_uri(data: bytes, kind: str = "png") -> str:
    """A picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _pictures(record: Record, postings: Iterable[queries.Posting]) -> Mapping[str, str]:
    """Path of a picture -> its address, of those that are there."""
    paths = dict.fromkeys(path for posting in postings for path in posting.images)
    return {path: data_uri(record.path(path).read_bytes()) for path in paths if record.path(path).is_file()}


def _films(record: Record, world: World) -> dict[str, Any]:
    """Films of the notable episodes: `{"films": [(episode, address), ...], "refusal": why there are none}`."""
    store, notable = EpisodeStore(record), queries.notable_episodes(record)
    try:
        films = [(episode, data_uri(figures.episode_film(store.load(episode.id), world), "gif")) for episode in notable]
    except LudusError as error:
        return {"films": [], "refusal": str(error)}
    return {"films": films, "refusal": None}
