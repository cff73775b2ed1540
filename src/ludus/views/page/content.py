"""What each tab of a run shows, as HTML: queries in, templates out. Parameters are those of the page's address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from markupsafe import Markup

from ludus.data.store import EpisodeStore
from ludus.experiment import checkpoints
from ludus.record import Record
from ludus.types import LudusError
from ludus.views import charts, passports, queries, report, rerun, text
from ludus.views.page.film import COLUMNS, Reel
from ludus.views.page.place import Place
from ludus.views.page.present import now
from ludus.views.page.rendering import PER_PAGE, Params, link, mark, number, pages, render

MESSAGES = 80
"""Of the room, at a time."""
SPOKEN = 160
"""Characters of a new message that are read aloud at once."""


def head(place: Place, name: str, tab: str) -> str:
    """The line above each tab: which run, how it stands, where else to look."""

    def made() -> str:
        with place.open(name) as record:
            found = queries.conclusion(record, place.interventions(name))
            return render("head.html", name=name, tab=tab, tabs=tuple(TABS), alone=place.is_run, found=found)

    return place.kept(name, (tab, "head"), place.pulse(name), made)


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

    if tab == "room":  # has what was said since the last step
        return made()
    return place.kept(name, (tab, *sorted(params.items())), place.pulse(name).step, made)


# --- the room ------------------------------------------------------------------------------------------------------


def talk(place: Place, name: str, params: Params, operator: bool) -> tuple[int, str]:
    """The number of the last message that the room shows, and the room.

    Args:
        operator: whether the visitor may decide on what is open, see `messages`.

    Raises:
        LudusError: no such run, or one that cannot be read.
    """
    with place.open(name) as record:
        return _talk(place, record, name, params, operator)


def room(place: Place, record: Record, name: str, params: Params) -> str:
    """The conversation, the newest at the end."""
    return _talk(place, record, name, params, operator=False)[1]


def _talk(place: Place, record: Record, name: str, params: Params, operator: bool) -> tuple[int, str]:
    before = number(params.get("before")) or None
    postings = queries.postings(record, wanted(params), before, limit=MESSAGES)
    senders, kinds = queries.speakers(record)
    line = queries.run_line(record)
    earlier = None
    if len(postings) == MESSAGES:
        earlier = link(name, "room", **{**params, "before": postings[0].number})
    shown = render(
        "room.html",
        name=name,
        messages=messages(place, record, name, postings, operator),
        earlier=earlier,
        newest=link(name, "room", **{k: v for k, v in params.items() if k != "before"}) if before else None,
        choices={"round": range(1, line.rounds + 1), "sender": senders, "kind": kinds},
        params=params,
    )
    return postings[-1].number if postings else 0, shown


def wanted(params: Params) -> queries.Wanted:
    """The filter in the address of the room."""
    return queries.Wanted(*(params.get(k, "") for k in ("round", "sender", "kind", "words")))


def messages(place: Place, record: Record, name: str, postings: tuple[queries.Posting, ...], operator: bool) -> Markup:
    """Messages one below the other, with a heading where another step begins.

    Args:
        operator: with buttons beside what can still be decided.
    """
    still = _still_open(place, record, name) if operator else None
    calls = queries.call_costs(record, [f"{p.plan}/{q}" for p in postings if p.plan for q in ("propose", "decompose")])
    pictures = {path: link(name, "picture", path=path, of=mark(record)) for p in postings for path in p.images}
    return Markup(render("messages.html", postings=postings, pictures=pictures, calls=calls, still=still))


def news(postings: Sequence[queries.Posting]) -> str:
    """What came in, in one sentence, for who hears the page."""
    last = postings[-1]
    return f"{text.count(len(postings), 'new message')}; the last by {last.sender}: {text.clean(last.text)[:SPOKEN]}"


def _still_open(place: Place, record: Record, name: str) -> queries.StillOpen:
    now, done = place.pulse(name), place.interventions(name)
    return place.kept(name, "still open", (now.step, now.message), lambda: queries.still_open(record, done))


def orders(place: Place, name: str) -> str:
    """Buttons for what is said often: they follow how the run stands."""
    with place.open(name) as record:
        still = _still_open(place, record, name)
        waiting = still.waiting
        with suppress(LudusError):  # without the run's world: one by one
            template = place.library(record).template if waiting else str
            waiting = tuple(dict.fromkeys(map(template, waiting)))  # decided together
        return render("orders.html", still=still, waiting=waiting)


# --- learning ------------------------------------------------------------------------------------------------------


def learning(place: Place, record: Record, name: str, params: Params) -> str:
    """A curve per template, which policy acts, and how good the verdicts were."""
    library = place.library(record)
    return render(
        "learning.html",
        growth=queries.growth(record, library),
        kept=_checkpoints(record),
        **report.learning(record, library),
    )


def _checkpoints(record: Record) -> tuple[tuple[str, bool], ...]:
    """The training steps whose checkpoint is kept, and whether it is the one that acts."""
    steps = checkpoints.training_steps(record)
    acting = checkpoints.best_step(record) if steps else ""
    there = record.names("checkpoints")
    return tuple((s, s == acting) for s in steps if checkpoints.name_of(s) in there)


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
        )
    found = queries.passport(record, library, params["skill"])
    failed = None
    if params.get("failures"):
        failed = queries.failures(EpisodeStore(record), library, found.captions)
    curve = by_template.get(found.template)
    clips = queries.best_and_worst(record, found.captions)
    hz = place.with_world(record, lambda world: world.spec.control_hz) if clips else 1.0
    return render(
        "passport.html",
        name=name,
        found=found,
        clips=[(clip, Reel.of(clip.last - clip.first, hz)) for clip in clips],
        columns=COLUMNS,
        of=mark(record),
        paragraphs=tuple(passports.paragraphs(found, failed)),
        asked=bool(params.get("failures")),
        curve=charts.learning_curve(curve, curves.round_starts, curves.last) if curve else None,
    )


# --- episodes ------------------------------------------------------------------------------------------------------


def episodes(place: Place, record: Record, name: str, params: Params) -> str:
    """The list of episodes, or one of them."""
    if params.get("id"):
        return _episode(place, record, name, params["id"])
    page = number(params.get("page"))
    asked = queries.EpisodesWanted(*(params.get(k, "") for k in ("skill", "phase", "result")))
    found = queries.episodes(record, asked, page * PER_PAGE, PER_PAGE)
    choices = {
        "skill": [s["caption"] for s in record.skills()],
        "phase": queries.phases(record),
        "result": ("success", "failure"),
    }
    through = pages(found.total, page, lambda n: link(name, "episodes", **{**params, "page": n}))
    return render("episodes.html", name=name, found=found, choices=choices, params=params, pages=through)


def _episode(place: Place, record: Record, name: str, id: str) -> str:
    entry = queries.episode_entry(record, id)
    if entry is None:
        raise LudusError(f"no episode {id!r} in this run; the list of episodes has all of them")
    library = place.library(record)
    hz = place.with_world(record, lambda world: world.spec.control_hz)
    attempts = queries.traces(EpisodeStore(record).load(id), library)
    reel = Reel.of(entry.steps, hz)
    return render(
        "episode.html",
        name=name,
        entry=entry,
        attempts=attempts,
        traces=charts.episode_traces(attempts, entry.steps),
        reel=reel,
        rows=-(-reel.n // COLUMNS),
        columns=COLUMNS,
        sheet=link(name, "film", id=id, of=mark(record)),
        recording=link(name, "recording", id=id, of=mark(record)) if rerun.is_installed() else None,
        hz=hz,
    )


# --- cost ----------------------------------------------------------------------------------------------------------


def cost(place: Place, record: Record, name: str, params: Params) -> str:
    """Calls per role, time per kind of work, and what each skill that was written has cost."""
    try:
        costs, refusal = queries.family_costs(record, place.library(record)), None
    except LudusError as error:
        costs, refusal = (), str(error)
    return render(
        "cost.html",
        calls=queries.model_calls(record),
        times=queries.work_times(record),
        costs=costs,
        refusal=refusal,
    )


TABS: dict[str, Callable[[Place, Record, str, Params], str]] = {
    "now": now,
    "room": room,
    "learning": learning,
    "skills": skills,
    "episodes": episodes,
    "cost": cost,
}
"""Name in the address -> what makes it."""
