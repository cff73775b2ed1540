"""The report: one HTML file with every picture inside, made from the record (and a world, for the films).

It is short: what was asked, what came of it, what grew, what it cost; the rest is folded. The parts are templates in
`templates/`, which the page of `ludus serve` uses too: each gets the plain data of a query and addresses of pictures.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ludus.data.store import EpisodeStore
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError
from ludus.views import charts, figures, queries, text
from ludus.views.report import prose
from ludus.worlds.base import World

STILLS = 6
"""Pictures of an episode."""
FRAMES_PER_S = 5
"""Of its film: half as many as elsewhere, since drawing them is most of the time that a report takes."""
MOST_MESSAGES = 100
"""Of a round's conversation."""


def write_report(record: Record, world: World, library: SkillLibrary) -> Path:
    """Write `report.html` into the run directory and return its path.

    Runs without OpenGL get a report without films, which says so.
    """
    page = render("page.html", style=style(), prose=prose, **_content(record, world, library))
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
    made.globals |= {"text": text, "charts": charts}
    return made


def _clean(value: Any) -> Any:
    return text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# --- what the templates show ---------------------------------------------------------------------------------------


def _content(record: Record, world: World, library: SkillLibrary) -> dict[str, Any]:
    header = queries.run_header(record)
    talks = _talks(record, header.rounds_begun)
    return {
        "header": header,
        "found": queries.conclusion(record),
        "families": queries.families(record, library),
        "rows": queries.family_rows(record, library),
        "success": queries.success(record, library),
        "films": _films(record, world),
        "calls": queries.model_calls(record),
        "times": queries.work_times(record),
        "costs": queries.family_costs(record, library),
        "interventions": queries.interventions(record),
        "plans": queries.plans(record),
        "skills": queries.skills(record, library),
        "talks": talks,
        "pictures": _pictures(record, talks[0][1] if talks else ()),
        **learning(record, library),
    }


def learning(record: Record, library: SkillLibrary) -> dict[str, Any]:
    """What `curves.html` shows: a curve per template, which policy acts, and how good the verdicts were."""
    gates, updates = queries.gates(record), queries.trained_to(record)
    return {
        "curves": queries.learning_curves(record, library),
        "gates": gates,
        "updates": updates,
        "promoted": [updates[g.tried] for g in gates if g.promoted and g.tried in updates],
        "verdict_scores": queries.verdict_scores(record, library),
    }


def _talks(record: Record, rounds: int) -> list[tuple[int, tuple[queries.Posting, ...]]]:
    """Round -> its last messages, of the first and the last round."""
    wanted = dict.fromkeys((1, rounds)) if rounds else ()
    return [(n, queries.postings(record, queries.Wanted(round=str(n)), limit=MOST_MESSAGES)) for n in wanted]


def data_uri(data: bytes, kind: str) -> str:
    """A picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _pictures(record: Record, postings: Iterable[queries.Posting]) -> Mapping[str, str]:
    """Path of a scene's picture -> its address, of those that are there."""
    paths = dict.fromkeys(path for posting in postings if posting.kind == "scene" for path in posting.images)
    return {path: data_uri(record.file(path).read_bytes(), "png") for path in paths if record.holds(path)}


def _films(record: Record, world: World) -> dict[str, Any]:
    """Stills and films of the notable episodes: `{"films": [...], "refusal": why there are none}`."""
    store, films = EpisodeStore(record), list[dict[str, Any]]()
    try:
        for episode in queries.notable_episodes(record):
            frames, captions = figures.episode_frames(store.load(episode.id), world, FRAMES_PER_S)
            shown = np.linspace(0, len(frames) - 1, min(STILLS, len(frames))).astype(int)
            stills = [data_uri(figures.still(frames[i]), "webp") for i in shown]
            film = data_uri(figures.film(frames, captions, FRAMES_PER_S, "webp"), "webp")
            films.append({"episode": episode, "stills": stills, "film": film})
    except LudusError as error:
        return {"films": [], "refusal": str(error)}
    return {"films": films, "refusal": None}
