"""The report: one HTML file with every picture inside, made from the record alone (and a world, for the films)."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from ludus.config import ROLES, Config
from ludus.data.store import EpisodeStore
from ludus.lab.analysis import add_point, aggregate, wilson
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import Curve, Episode, LudusError, Outcome, SuccessCount
from ludus.views import figures
from ludus.worlds.base import World

STYLE = (files("ludus.views") / "report.css").read_text()


def write_report(record: Record, world: World, library: SkillLibrary) -> Path:
    """Write `report.html` into the run directory and return its path.

    Runs without OpenGL get a report without films, which says so.
    """
    parts = [
        _header(record),
        _success(record, library),
        _curves(record, library),
        _tasks(record),
        _films(record, world, library),
        _chat(record),
        _skills(record),
        _calls(record),
        _time(record),
    ]
    head = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<link rel=icon href='data:,'><title>ludus: {escape(record.directory.name)}</title><style>{STYLE}</style>"
    )
    record.write_file("report.html", (head + "<main>" + "".join(parts) + "</main></html>").encode())
    return record.path("report.html")


def _header(record: Record) -> str:
    config, steps = record.config, record.steps()
    minutes = sum(s.seconds for s in steps) / 60
    versions = ", ".join(f"{k} {v}" for k, v in record.versions.items())
    n_episodes = len(EpisodeStore(record))
    numbers = {
        "episodes": f"{n_episodes:,}",
        "updates": f"{max((e.update for e in record.evaluations()), default=0):,}",
        "rounds": str(config.experiment.rounds),
        "skills": str(len(record.skills())),
        "minutes": f"{minutes:.1f}",
    }
    cards = "".join(f"<div class=card><b>{v}</b>{k}</div>" for k, v in numbers.items())
    began = time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.created))
    return (
        f"<h1>ludus experiment</h1><p class=lead>World <b>{escape(config.world.name)}</b>, seed {config.seed}, began "
        f"{began} UTC. Experimenter: {escape(_players(config))}.</p><div class=numbers>{cards}</div>"
        f"<p class=dim><code>{escape(record.command)}</code><br>{escape(versions)}; "
        f"{config.training.threads} torch threads</p>"
    )


def _players(config: Config) -> str:
    names = {role: getattr(config.experimenter, role) for role in ROLES}
    if len(set(names.values())) == 1:
        return names["propose"]
    return ", ".join(f"{role}: {name}" for role, name in names.items())


def _success(record: Record, library: SkillLibrary) -> str:
    data = record.success_counts("seed-data")
    stages = {"seed data": data} | {
        label: [e.count for e in record.evaluations(stage)]
        for label, stage in (("before the rounds", "before"), ("after the rounds", "after"))
    }
    picture = figures.success_bars({k: aggregate(v, library) for k, v in stages.items() if v})
    rows = []
    for caption in dict.fromkeys(t.caption for v in stages.values() for t in v):
        cells = "".join(f"<td>{_rate([t for t in v if t.caption == caption])}" for v in stages.values())
        rows.append(f"<tr><td>{escape(caption)}{cells}")
    n = record.config.experiment.final_episodes
    heads = "".join(f"<th>{k}" for k in stages)
    return (
        f"<h2>Success per skill, before and after</h2><section>{_image(picture)}<p class=dim>Skills pooled over "
        f"objects; 95 % Wilson intervals. Before and after: {n} episodes per skill on the same fresh scattered starts, "
        f"temperature {record.config.training.evaluation_temperature:g}, success at the last "
        f"step of the skill. Seed data: what the noisy teacher did.</p>"
        f"<details><summary>Every skill</summary><table><tr><th>skill{heads}{''.join(rows)}</table></details></section>"
    )


def _rate(counts: Sequence[SuccessCount]) -> str:
    if not counts or not counts[0].n:
        return "–"
    t = counts[0]
    low, high = wilson(t.successes, t.n)
    return f"{t.successes / t.n:.2f} <span class=dim>[{low:.2f}, {high:.2f}] of {t.n}</span>"


def _curves(record: Record, library: SkillLibrary) -> str:
    curves: dict[str, Curve] = {}
    updates: dict[int, list[SuccessCount]] = {}
    for e in record.evaluations("curve"):
        updates.setdefault(e.update, []).append(e.count)
    for update, counts in updates.items():
        for count in aggregate(counts, library):
            curves[count.caption] = add_point(curves.get(count.caption), update, count)
    if not curves:
        return "<h2>Learning curves</h2><section>None: nothing was trained.</section>"
    verdicts: dict[str, list[tuple[int, str]]] = {}
    starts: dict[int, int] = {}
    for round_, update, verdict in record.verdicts():
        verdicts.setdefault(verdict.caption, []).append((update, verdict.judgement))
        starts[round_] = min(update, starts.get(round_, update))
    begun = [max((u for u in updates if u < first), default=first) for r, first in starts.items() if r > 0]
    decisions = "".join(f"<li>{escape(m.text)}" for m in record.messages("decision")[-3:])
    picture = figures.learning_curves(list(curves.values()), verdicts, begun)
    return (
        f"<h2>Learning curves and verdicts</h2><section>{_image(picture)}<p class=dim>Marks are the analyst's "
        f"verdicts when it looked. The last decisions on stopping:</p><ul>{decisions}</ul></section>"
    )


def _tasks(record: Record) -> str:
    outcomes = {m.payload.get("plan"): m.text for m in record.messages("outcome")}
    rows = []
    for round_, plan in record.plans():
        gaps = "; ".join(g.missing or g.step for g in plan.gaps)
        steps = f"gap: {gaps}" if gaps else " → ".join(plan.captions)
        result = outcomes.get(plan.id, "not executed").removeprefix(f"{plan.proposal.task}: ")
        stated = f"{plan.proposal.success_probability:.0%}"
        cells = (str(round_), plan.proposal.task, plan.proposal.why, stated, steps, result)
        rows.append("<tr>" + "".join(f"<td>{escape(c)}" for c in cells))
    heads = "".join(f"<th>{h}" for h in ("round", "task", "why", "stated P", "plan", "outcome"))
    return f"<h2>Tasks proposed, plans, outcomes</h2><section><table><tr>{heads}{''.join(rows)}</table></section>"


def price(calls: Sequence[Mapping[str, Any]]) -> str:
    """What calls cost, in USD: what is not known is not nothing."""
    known = [c["usd"] for c in calls if c["usd"] is not None and not c["replayed"]]
    unknown = sum(c["usd"] is None and not c["replayed"] for c in calls)
    parts = [f"{sum(known):.4f}"] if known or not unknown else []
    return " and ".join(parts + ([f"{unknown} calls of unknown price"] if unknown else []))


def _calls(record: Record) -> str:
    """What was asked of models and people, and what it used."""
    calls = record.calls()
    if not calls:
        return ""
    rows = []
    for role in (*ROLES, None):
        of = [c for c in calls if role in (None, c["role"])]
        if not of:
            continue
        cells = (
            role or "all",
            len(of),
            sum(c["replayed"] for c in of),
            sum(c["answer"] is None for c in of),
            sum(max(0, c["turns"] - 1) for c in of),
            sum(c["retries"] for c in of),
            f"{sum(c['tokens_in'] for c in of):,}",
            f"{sum(c['tokens_out'] for c in of):,}",
            price(of),
            f"{sum(c['seconds'] for c in of):.1f}",
        )
        rows.append("<tr>" + "".join(f"<td>{escape(str(c))}" for c in cells))
    names = (
        "role",
        "calls",
        "replayed",
        "without answer",
        "repairs",
        "retries",
        "tokens in",
        "tokens out",
        "USD",
        "seconds",
    )
    heads = "".join(f"<th>{h}" for h in names)
    models = ", ".join(sorted({c["model"] for c in calls}))
    return (
        f"<h2>Calls to models</h2><section><p>{escape(models)}</p><table><tr>{heads}{''.join(rows)}</table>"
        f"<p class=dim>Seconds are added up over calls, of which several were under way at once.</p></section>"
    )


def _films(record: Record, world: World, library: SkillLibrary) -> str:
    store, films = EpisodeStore(record), []
    by_episode: dict[str, list[Outcome]] = {}
    for outcome in record.outcomes("round"):
        by_episode.setdefault(outcome.episode, []).append(outcome)
    try:
        for title, id in _choose(by_episode):
            films.append(
                f"<figure>{_film(store.load(id), world)}<figcaption>{title}: {escape(id)}</figcaption></figure>"
            )
    except LudusError as error:
        films = [f"<p>No films: {escape(str(error))}</p>"]
    body = "".join(films) or "<p>No episode was collected in a round.</p>"
    return f"<h2>What the robot did</h2><section class=films>{body}</section>"


def _choose(by_episode: dict[str, list[Outcome]]) -> list[tuple[str, str]]:
    """The best episode (all skills succeeded, most skills, highest reward) and one that failed early."""
    if not by_episode:
        return []

    def merit(id: str) -> tuple[float, int, float]:
        outcomes = by_episode[id]
        successes = sum(o.success_at_end for o in outcomes)
        return successes / len(outcomes), successes, sum(o.reward for o in outcomes)

    best, worst = max(by_episode, key=merit), min(by_episode, key=merit)
    chosen = [("Best episode", best)]
    if not all(o.success_at_end for o in by_episode[worst]):
        chosen.append(("A failed episode", worst))
    return chosen


def _film(episode: Episode, world: World, frames_per_s: float = 10) -> str:
    every = max(1, round(world.spec.control_hz / frames_per_s))
    at = range(0, episode.n_steps + 1, every)
    frames = world.frames({g: a[::every] for g, a in episode.observations.items()}, size=320)
    captions = [
        next(s.caption for s in reversed(episode.segments) if s.start <= min(t, episode.n_steps - 1)) for t in at
    ]
    return _image(figures.film(frames, captions, frames_per_s), "gif")


def _chat(record: Record) -> str:
    groups: dict[str, list[str]] = {}
    for posted in record.posted():
        m = posted.message
        part = "/".join((posted.step or "notes").split("/")[:2])
        pictures = "".join(_image(data) for data in _files(record, m.images))
        groups.setdefault(part, []).append(
            f"<div class='message {escape(m.kind)}'><span class=who>{escape(m.sender)} → {escape(m.addressee)} · "
            f"{escape(m.kind)}</span><br>{escape(m.text)}{pictures}</div>"
        )
    sections = "".join(
        f"<details{' open' if part.startswith('round/1') else ''}><summary>{escape(part)} ({len(messages)} messages)"
        f"</summary>{''.join(messages)}</details>"
        for part, messages in groups.items()
    )
    return f"<h2>The chat</h2><section>{sections}</section>"


def _files(record: Record, paths: Iterable[str]) -> list[bytes]:
    return [record.path(p).read_bytes() for p in paths if record.path(p).is_file()]


def _skills(record: Record) -> str:
    rows = "".join(
        f"<tr><td>{escape(s['caption'])}<td>{'base' if s['base'] else 'round ' + str(s['round'])}"
        f"<td><code>{escape(s['success'])}</code>"
        for s in record.skills()
    )
    return (
        f"<h2>Skills</h2><section><details><summary>{len(record.skills())} skills and what success means</summary>"
        f"<table><tr><th>skill<th>since<th>success{rows}</table></details></section>"
    )


def _time(record: Record) -> str:
    seconds: dict[str, float] = {}
    for step in record.steps():
        part = step.name.rsplit("/", 1)[0] if "/" in step.name else step.name
        seconds[part] = seconds.get(part, 0) + step.seconds
    return f"<h2>Time spent</h2><section>{_image(figures.time_bar(seconds))}</section>"


def _image(data: bytes, kind: str = "png") -> str:
    return f"<img alt='' src='data:image/{kind};base64,{base64.b64encode(data).decode()}'>"
