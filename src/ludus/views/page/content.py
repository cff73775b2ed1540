"""What each tab shows, as HTML: queries in, templates out. Parameters are those of the page's address."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from markupsafe import Markup

from ludus.data.store import EpisodeStore
from ludus.record import Record, tables
from ludus.types import LudusError
from ludus.views import charts, passports, queries
from ludus.views.page.film import COLUMNS, Reel
from ludus.views.page.place import Place
from ludus.views.report import environment

Params = Mapping[str, str]
PER_PAGE = 50
"""Runs or episodes."""
MESSAGES = 80
"""Of the room, at a time."""
FEW = 3
"""Settings of a run that are shown at once."""
LONG = 260
"""Characters of a message from which on it is folded."""


def render(template: str, **values: Any) -> str:
    """A template of the page, or of the report, filled in; see `report.environment`."""
    made = environment("ludus.views.page", "ludus.views.report")
    return made.get_template(template, globals={"link": link, "charts": charts, "long": LONG}).render(values)


def link(name: str, tab: str, /, **params: Any) -> str:
    """The address of a tab of a run, without parameters that are empty."""
    kept = {k: v for k, v in params.items() if v not in ("", None)}
    return f"/run/{quote(name, safe='')}/{tab}" + (f"?{urlencode(kept)}" if kept else "")


# --- all runs ------------------------------------------------------------------------------------------------------


def index(place: Place, params: Params) -> str:
    """The runs, the newest first, with the settings in which they differ."""
    lines = place.lines()
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
    page = _number(params.get("page"))
    shown = wanted[page * PER_PAGE : (page + 1) * PER_PAGE]
    return render(
        "index.html",
        place=place.where.name,
        lines=shown,
        total=len(wanted),
        settings=[setting for setting in queries.differing(shown) if setting != "seed"],
        few=FEW,
        choices=choices,
        params=params,
        pages=_pages(len(wanted), page, lambda n: "/?" + urlencode({**params, "page": n})),
    )


def head(place: Place, name: str, tab: str) -> str:
    """The line above each tab: which run, how it stands, where else to look."""

    def made() -> str:
        with place.open(name) as record:
            status = queries.run_status(record)
            return render("head.html", name=name, tab=tab, tabs=tuple(TABS), alone=place.is_run, status=status)

    return place.kept((name, tab, "head"), place.pulse(name), made)


def body(place: Place, name: str, tab: str, params: Params) -> str:
    """What the tab shows.

    Raises:
        LudusError: no such run, or one that cannot be read.
    """

    def made() -> str:
        with place.open(name) as record:
            try:
                return TABS[tab](place, record, name, params)
            except LudusError as error:  # of a world or a shard that is not here; the other tabs do without
                return render("refusal.html", why=str(error))

    whole = tab != "room" and not params
    return place.kept((name, tab), place.pulse(name).step, made) if whole else made()


# --- the room ------------------------------------------------------------------------------------------------------


def talk(place: Place, name: str, params: Params) -> tuple[int, str]:
    """The room, and the number of the last message that it shows.

    Raises:
        LudusError: no such run, or one that cannot be read.
    """
    with place.open(name) as record:
        return _talk(record, name, params)


def room(place: Place, record: Record, name: str, params: Params) -> str:
    """The conversation, the newest at the end."""
    return _talk(record, name, params)[1]


def _talk(record: Record, name: str, params: Params) -> tuple[int, str]:
    before = _number(params.get("before")) or None
    postings = queries.postings(record, wanted(params), before, limit=MESSAGES)
    senders, kinds = queries.speakers(record)
    line = queries.run_line(record)
    earlier = None
    if len(postings) == MESSAGES:
        earlier = link(name, "room", **{**params, "before": postings[0].number})
    shown = render(
        "room.html",
        name=name,
        messages=messages(record, name, postings),
        earlier=earlier,
        newest=link(name, "room", **{k: v for k, v in params.items() if k != "before"}) if before else None,
        choices={"round": range(1, line.rounds + 1), "sender": senders, "kind": kinds},
        params=params,
    )
    return postings[-1].number if postings else 0, shown


def wanted(params: Params) -> queries.Wanted:
    """The filter in the address of the room."""
    return queries.Wanted(*(params.get(k, "") for k in ("round", "sender", "kind", "words")))


def messages(record: Record, name: str, postings: tuple[queries.Posting, ...]) -> Markup:
    """Messages one below the other, with a heading where another step begins."""
    calls = queries.call_costs(record, [f"{p.plan}/{q}" for p in postings if p.plan for q in ("propose", "decompose")])
    pictures = {path: link(name, "picture", path=path) for p in postings for path in p.images}
    return Markup(render("messages.html", postings=postings, pictures=pictures, calls=calls))


# --- learning ------------------------------------------------------------------------------------------------------


def learning(place: Place, record: Record, name: str, params: Params) -> str:
    """A curve per template, which policy acts, and how good the verdicts were."""
    library = place.library(record)
    curves, gates = queries.learning_curves(record, library), queries.gates(record)
    e = tables.evaluations.c
    query = sa.select(e.step, sa.func.max(e.update).label("update")).where(
        e.run_id == record.run_id, e.stage == "curve"
    )
    updates = {row["step"]: row["update"] for row in record.query(query.group_by(e.step))}
    return render(
        "learning.html",
        curves=curves,
        last=_last_update(curves),
        best=[updates[g.tried] for g in gates if g.promoted and g.tried in updates],
        gates=gates,
        growth=queries.growth(record, library),
        verdict_scores=queries.verdict_scores(record, library),
    )


def _last_update(curves: queries.LearningCurves) -> int:
    """Where the curves end."""
    return max((p.update for c in curves.curves for p in c.points), default=1)


# --- skills --------------------------------------------------------------------------------------------------------


def skills(place: Place, record: Record, name: str, params: Params) -> str:
    """The library as a table, or the passport of one skill."""
    library = place.library(record)
    curves = queries.learning_curves(record, library)
    by_template = {c.template: c for c in curves.curves}
    if not params.get("skill"):
        return render(
            "library.html",
            name=name,
            rows=queries.family_rows(record, library),
            curves=by_template,
            families=queries.families(record, library),
            gates=(),
        )
    found = queries.passport(record, library, params["skill"])
    failed = None
    if params.get("failures"):
        failed = queries.failures(EpisodeStore(record), library, found.captions)
    curve = by_template.get(found.template)
    return render(
        "passport.html",
        name=name,
        found=found,
        paragraphs=tuple(passports.paragraphs(found, failed)),
        asked=bool(params.get("failures")),
        curve=charts.learning_curve(curve, curves.round_starts, _last_update(curves)) if curve else None,
    )


# --- episodes ------------------------------------------------------------------------------------------------------


def episodes(place: Place, record: Record, name: str, params: Params) -> str:
    """The list of episodes, or one of them."""
    if params.get("id"):
        return _episode(place, record, name, params["id"])
    page = _number(params.get("page"))
    asked = queries.EpisodesWanted(*(params.get(k, "") for k in ("skill", "phase", "result")))
    found = queries.episodes(record, asked, page * PER_PAGE, PER_PAGE)
    choices = {
        "skill": [s["caption"] for s in record.skills()],
        "phase": queries.phases(record),
        "result": ("success", "failure"),
    }
    pages = _pages(found.total, page, lambda n: link(name, "episodes", **{**params, "page": n}))
    return render("episodes.html", name=name, found=found, choices=choices, params=params, pages=pages)


def _episode(place: Place, record: Record, name: str, id: str) -> str:
    entry = queries.episode_entry(record, id)
    if entry is None:
        raise LudusError(f"no episode {id!r} in this run; the list of episodes has all of them")
    library = place.library(record)
    hz = place.with_world(record, lambda world: world.spec.control_hz)
    commands = queries.traces(EpisodeStore(record).load(id), library)
    reel = Reel.of(entry.steps, hz)
    return render(
        "episode.html",
        name=name,
        entry=entry,
        commands=commands,
        traces=charts.episode_traces(commands, entry.steps),
        reel=reel,
        rows=-(-reel.n // COLUMNS),
        columns=COLUMNS,
        sheet=link(name, "film", id=id),
        hz=hz,
    )


# --- cost ----------------------------------------------------------------------------------------------------------


def cost(place: Place, record: Record, name: str, params: Params) -> str:
    """Calls per role, time per kind of work, and what each skill that was written has cost."""
    work: dict[str, list[float]] = {}
    for step in record.steps():
        what = re.sub(r"/\d+$", "", re.sub(r"^round/\d+/", "rounds: ", step.name))
        work.setdefault(what, []).append(step.seconds)
    times = [queries.PhaseTime(what, len(seconds), sum(seconds)) for what, seconds in work.items()]
    try:
        families, refusal = queries.family_costs(record, place.library(record)), None
    except LudusError as error:
        families, refusal = (), str(error)
    return render(
        "cost.html",
        calls=queries.model_calls(record),
        times=sorted(times, key=lambda t: -t.seconds),
        families=families,
        refusal=refusal,
    )


TABS: dict[str, Callable[[Place, Record, str, Params], str]] = {
    "room": room,
    "learning": learning,
    "skills": skills,
    "episodes": episodes,
    "cost": cost,
}
"""Name in the address -> what makes it."""


def _number(text: str | None) -> int:
    """A number of an address; 0 for anything else."""
    return int(text) if text and re.fullmatch(r"\d{1,12}", text) else 0


def _pages(total: int, page: int, address: Callable[[int], str]) -> dict[str, Any]:
    """What leads from a page of a list to the next."""
    last = max(0, (total - 1) // PER_PAGE)
    return {
        "first": page * PER_PAGE + 1 if total else 0,
        "last": min(total, (page + 1) * PER_PAGE),
        "total": total,
        "newer": address(page - 1) if page > 0 else None,
        "older": address(page + 1) if page < last else None,
    }
