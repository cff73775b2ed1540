"""Episodes, a page at a time, and what the skills say of one of them at each moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from ludus.record import tables
from ludus.record.reader import Reader
from ludus.skills.library import SkillLibrary
from ludus.types import Episode


@dataclass(frozen=True)
class EpisodeEntry:
    """A line in a list of episodes."""

    id: str
    phase: str  # 'round/1/collect': its step without the number
    actor: str
    start: str
    steps: int  # control steps
    captions: tuple[str, ...]  # what the robot was told, in order
    successes: tuple[bool, ...]  # of each attempt, at its end; empty where the episode was not scored
    reward: float | None  # mean over its attempts
    task: str | None = None  # of the plan that it carried out


@dataclass(frozen=True)
class Clip:
    """An attempt in an episode."""

    episode: str
    caption: str
    first: int  # observation at which it was given
    last: int  # observation at its end
    success: bool  # at its end
    reward: float | None


@dataclass(frozen=True)
class EpisodesWanted:
    """Which episodes are wanted; empty: all."""

    skill: str = ""  # a caption that was commanded
    phase: str = ""
    result: str = ""  # 'success' or 'failure' of the skill at its end, or of any attempt where no skill is given


@dataclass(frozen=True)
class EpisodePage:
    total: int  # that are wanted
    entries: tuple[EpisodeEntry, ...]


def episodes(record: Reader, wanted: EpisodesWanted = EpisodesWanted(), skip: int = 0, limit: int = 50) -> EpisodePage:
    """The latest episodes first."""
    e, o = tables.episodes.c, tables.outcomes.c
    where = [e.run_id == record.run_id]
    if wanted.phase:
        where.append(e.step.startswith(f"{wanted.phase}/", autoescape=True))
    if wanted.skill or wanted.result:
        told = sa.select(o.episode).where(o.run_id == record.run_id)
        if wanted.skill:
            told = told.where(o.caption == wanted.skill)
        if wanted.result:
            told = told.where(o.success_at_end == (wanted.result == "success"))
        where.append(e.id.in_(told))
    total = record.query(sa.select(sa.func.count().label("n")).select_from(tables.episodes).where(*where))[0]["n"]
    columns = (e.id, e.step, e.actor, e.start, e.steps, e.segments, e.info)
    rows = record.query(sa.select(*columns).where(*where).order_by(e.number.desc()).offset(skip).limit(limit))
    return EpisodePage(total, _entries(record, rows))


def episode_entry(record: Reader, id: str) -> EpisodeEntry | None:
    """The line of one episode; None where there is no such episode."""
    rows = record.rows(tables.episodes, tables.episodes.c.id == id)
    return _entries(record, rows)[0] if rows else None


def _entries(record: Reader, rows: Sequence[Mapping]) -> tuple[EpisodeEntry, ...]:
    p, scores = tables.plans.c, _scores(record, [row["id"] for row in rows])
    plans = {row["info"]["plan"] for row in rows if "plan" in row["info"]}
    tasks = sa.select(p.id, p.task).where(p.run_id == record.run_id, p.id.in_(plans))
    named = {row["id"]: row["task"] for row in record.query(tasks)} if plans else {}
    return tuple(_entry(row, scores.get(row["id"], []), named.get(row["info"].get("plan"))) for row in rows)


def _scores(record: Reader, ids: Sequence[str]) -> dict[str, list[tuple[bool, float]]]:
    o = tables.outcomes.c
    query = sa.select(o.episode, o.success_at_end, o.reward).where(o.run_id == record.run_id, o.episode.in_(ids))
    found: dict[str, list[tuple[bool, float]]] = {}
    for row in record.query(query.order_by(o.episode, o.segment)):
        found.setdefault(row["episode"], []).append((row["success_at_end"], row["reward"] or 0.0))
    return found


def _entry(row: Mapping, scores: Sequence[tuple[bool, float]], task: str | None) -> EpisodeEntry:
    return EpisodeEntry(
        row["id"],
        (row["step"] or "").rpartition("/")[0],
        row["actor"],
        row["start"],
        row["steps"],
        tuple(s[1] for s in row["segments"]),
        tuple(success for success, _ in scores),
        float(np.mean([reward for _, reward in scores])) if scores else None,
        task,
    )


def best_and_worst(record: Reader, captions: Sequence[str]) -> tuple[Clip, ...]:
    """Of the attempts of these skills: the success with the highest reward and the failure with the lowest, as far as there are
    such; the latest of equals."""
    o = tables.outcomes.c
    query = sa.select(o.episode, o.segment, o.caption, o.success_at_end, o.reward)
    query = query.where(o.run_id == record.run_id, o.caption.in_(captions))
    found = []
    for success, order in ((True, o.reward.desc()), (False, o.reward)):
        of = query.where(o.success_at_end.is_(success)).order_by(order, o.number.desc()).limit(1)
        for row in record.query(of):
            e = record.rows(tables.episodes, tables.episodes.c.id == row["episode"])
            if e:
                starts = [*(s[0] for s in e[0]["segments"]), e[0]["steps"]]
                bounds = starts[row["segment"]], starts[row["segment"] + 1]
                found.append(Clip(row["episode"], row["caption"], *bounds, success, row["reward"]))
    return tuple(found)


def phases(record: Reader) -> tuple[str, ...]:
    """What episodes were collected for, in order: 'seed-data', 'round/1/collect', ..."""
    t = tables.shards.c
    rows = record.query(sa.select(t.step).where(t.run_id == record.run_id).order_by(t.number))
    return tuple(dict.fromkeys((row["step"] or "").rpartition("/")[0] for row in rows))


# --- one episode -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConditionTrace:
    condition: str
    holds: tuple[bool, ...]  # at each observation


@dataclass(frozen=True)
class AttemptTrace:
    """One attempt of an episode, and what its skill says from its first observation to its last."""

    caption: str
    first: int  # observation at which it was given
    last: int  # observation at its end
    reward: tuple[float, ...]  # [last - first + 1], in [0, 1]
    conditions: tuple[ConditionTrace, ...]  # the parts of its success
    succeeded: int | None  # the first observation after an action at which its success holds
    success: bool  # at the end


def traces(episode: Episode, library: SkillLibrary) -> tuple[AttemptTrace, ...]:
    """Reward and conditions over time, per attempt. Attempts of skills that the library lacks are left out."""
    found = []
    for segment, first, last in episode.segment_bounds():
        if segment.caption not in library:
            continue
        seen = {g: v[first : last + 1] for g, v in episode.observations.items()}
        reward, success = library.rewards(segment.caption, seen)
        parts = library.parse(library[segment.caption])[1].parts()
        conditions = (ConditionTrace(str(p), tuple(p.evaluate(seen).tolist())) for p in parts)
        held = np.flatnonzero(success[1:])
        at = first + 1 + int(held[0]) if len(held) else None
        attempt = (tuple(reward.tolist()), tuple(conditions), at, bool(success[-1]))
        found.append(AttemptTrace(segment.caption, first, last, *attempt))
    return tuple(found)
