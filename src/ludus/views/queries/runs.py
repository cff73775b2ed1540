"""What a run is, how far it has come, and what is running now."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from ludus.config import ROLES
from ludus.lab.oversight import LAST_STEP
from ludus.lab.rounds import last_round, planned_rounds
from ludus.record import StageState, tables
from ludus.record.reader import Reader, RunState
from ludus.types import Outcome
from ludus.views.queries.dialogue import postings

Kind = Literal["experiment", "training", "collection", "exam"]


# --- what the run is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunHeader:
    """What was asked for, and how much there is."""

    run_id: str
    name: str  # of the directory
    directory: str
    kind: Kind
    world: str
    seed: int
    experimenter: Mapping[str, str]  # role -> who plays it
    command: str
    versions: Mapping[str, str]  # package -> version
    threads: int  # of torch
    created: float  # seconds since 1970
    seconds: float  # of all steps
    rounds: int  # finished
    rounds_begun: int
    rounds_planned: int
    episodes: int
    updates: int
    skills: int
    plans: int
    calls: int
    messages: int


def run_header(record: Reader) -> RunHeader:
    """Configuration in short, versions and counts."""
    config, steps, m = record.config, record.steps(), tables.messages.c
    names = [s.name for s in steps]
    return RunHeader(
        run_id=record.run_id,
        name=record.directory.name or record.directory.resolve().name,  # a link lends its name
        directory=str(record.directory),
        kind=_kind(record, names),
        world=config.world.name,
        seed=record.seed,
        experimenter={role: getattr(config.experimenter, role) for role in ROLES},
        command=record.command,
        versions=dict(record.versions),
        threads=config.training.threads,
        created=record.created,
        seconds=sum(s.seconds for s in steps),
        rounds=_finished_rounds(names),
        rounds_begun=last_round(names),
        rounds_planned=planned_rounds(record),
        episodes=_episodes(record),
        updates=max((e.update for e in record.evaluations()), default=0),
        skills=len(record.skills()),
        plans=len(record.plans()),
        calls=len(record.calls()),
        messages=record.query(sa.select(sa.func.count().label("n")).where(m.run_id == record.run_id))[0]["n"],
    )


def _kind(record: Reader, steps: list[str]) -> Kind:
    if any(s.startswith("collect/") for s in steps) or record.repeated in ("collect", "import"):
        return "collection"
    if "course" in steps:
        return "training"
    return "exam" if record.repeated == "exam" else "experiment"


def _finished_rounds(steps: list[str]) -> int:
    """Rounds that were followed by something else: a later round, or the evaluation after all of them."""
    last = last_round(steps)
    return last if LAST_STEP in steps else max(0, last - 1)


def _episodes(record: Reader) -> int:
    return sum(shard["episodes"] for shard in record.rows(tables.shards))


# --- how far it has come -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collection:
    """What was asked for under one name of `ludus collect` or `ludus import`, and how much of it there is."""

    name: str
    made: int  # episodes
    asked: int


@dataclass(frozen=True)
class RunStatus:
    """How far a run has come and what is running now."""

    kind: Kind
    state: RunState  # see `Reader.state`; a collection is 'done' when all that was asked for is there
    stages: tuple[StageState, ...]  # not finished; under way if the state is 'running', else where the run stopped
    collections: tuple[Collection, ...]
    steps: int  # committed
    last_step: str | None
    last_sign: float | None  # of the process that writes; seconds since 1970
    error: str | None  # why it failed
    diverged: bool  # it failed because the training diverged, and would again


def run_status(record: Reader) -> RunStatus:
    """The state of a run as it is now."""
    steps, state, beat = [s.name for s in record.steps()], record.state(), record.heartbeat()
    collections = _collections(record, steps)
    if state != "running" and collections and all(c.made >= c.asked for c in collections):
        state = "done"
    failure = postings(record, limit=1)[-1] if state == "failed" else None
    return RunStatus(
        _kind(record, steps),
        state,
        () if state == "done" else _open_stages(record.stages()),
        collections,
        len(steps),
        steps[-1] if steps else None,
        beat.at if beat else None,
        failure.text if failure else None,
        failure is not None and failure.kind == "diverged",
    )


def _open_stages(stages: Sequence[StageState]) -> tuple[StageState, ...]:
    """The stages that are not finished, of the process that wrote last: an earlier one may have left some behind. A stage without
    an amount of work waits for somebody within another one."""
    latest = max((s.started for s in stages if s.finished is not None and s.total), default=0.0)
    return tuple(s for s in stages if s.finished is None and s.updated >= latest)


def _collections(record: Reader, steps: list[str]) -> tuple[Collection, ...]:
    names = [m[1] for s in steps if (m := re.fullmatch("collect/(.+)/request", s))]
    if not names:
        return ()
    rows = record.rows(tables.episodes, tables.episodes.c.step.startswith("collect/"))
    found = []
    for name in names:
        request = record.result(f"collect/{name}/request")
        # the world's own data may come as several episodes per seed; what is imported says nothing by its seeds
        made = [r["id" if "checksum" in request else "seed"] for r in rows if r["step"].startswith(f"collect/{name}/")]
        found.append(Collection(name, len(set(made)), request["seed_data"]["episodes"]))
    return tuple(found)


@dataclass(frozen=True)
class PhaseTime:
    """Steps of one kind of work."""

    name: str
    steps: int
    seconds: float


def phase_times(record: Reader) -> tuple[PhaseTime, ...]:
    """Time per phase, in the order they began: steps whose names differ in the last part only, 'round/1/collect'."""
    return _times(record, lambda name: name.rsplit("/", 1)[0])


def work_times(record: Reader) -> tuple[PhaseTime, ...]:
    """Time per kind of work, over all rounds, the longest first: 'rounds: collect'."""
    times = _times(record, lambda name: re.sub(r"/\d+$", "", re.sub(r"^round/\d+/", "rounds: ", name)))
    return tuple(sorted(times, key=lambda t: -t.seconds))


def _times(record: Reader, kind: Callable[[str], str]) -> tuple[PhaseTime, ...]:
    found: dict[str, list[float]] = {}
    for step in record.steps():
        found.setdefault(kind(step.name), []).append(step.seconds)
    return tuple(PhaseTime(name, len(seconds), sum(seconds)) for name, seconds in found.items())


# --- episodes worth watching -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NotableEpisode:
    title: str
    id: str
    captions: tuple[str, ...]  # what the robot was told, in order
    successes: int  # skills that succeeded at their end
    skills: int


def notable_episodes(record: Reader) -> tuple[NotableEpisode, ...]:
    """Of the rounds' episodes: the best (share of skills that succeeded, their number, reward), and the worst, if it failed."""
    by_episode: dict[str, list[Outcome]] = {}
    for outcome in record.outcomes("round"):
        by_episode.setdefault(outcome.episode, []).append(outcome)
    if not by_episode:
        return ()

    def merit(id: str) -> tuple[float, int, float]:
        outcomes = by_episode[id]
        successes = sum(o.success_at_end for o in outcomes)
        return successes / len(outcomes), successes, sum(o.reward for o in outcomes)

    def entry(title: str, id: str) -> NotableEpisode:
        told = tuple(o.caption for o in sorted(by_episode[id], key=lambda o: o.segment))
        return NotableEpisode(title, id, told, merit(id)[1], len(told))

    best, worst = max(by_episode, key=merit), min(by_episode, key=merit)
    failed = (entry("A failed episode", worst),) if worst != best and merit(worst)[0] < 1 else ()
    return (entry("Best episode" if merit(best)[1] else "Best episode, which failed too", best), *failed)
