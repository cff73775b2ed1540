"""The parts of the method on their own: collect episodes, train on any stores, measure a policy.

As in the loop, everything is a sequence of named steps: the same command given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ludus.config import Config
from ludus.data.relabel import outcomes
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment.build import Parts, build
from ludus.experiment.loop import Loop, show_progress
from ludus.lab.actors import RandomActor, SeedActor, seed_jobs
from ludus.lab.analysis import pool, wilson
from ludus.lab.embodiment import Job
from ludus.pac import ranks
from ludus.pac.learner import Learner
from ludus.record import Record
from ludus.seeding import child
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import LudusError, Outcome, Tally, unknown

PLAY_SHARD = 40
"""Episodes of play per committed step."""
ACTORS = ("teacher", "random", "policy", "play")


def chosen(parts: Parts, names: Sequence[str]) -> tuple[str, ...]:
    """Captions of the skills and families of skills called `names`; the library grows by those it lacks.

    Raises:
        LudusError: neither the library nor what the world has besides knows a name.
    """
    extra = parts.kind.extra_skills(parts.world.spec.objects)
    every = parts.library.add(*[s for s in extra if s.caption not in parts.library])
    families: dict[str, list[str]] = {}
    for caption in every.captions:
        families.setdefault(every.family(caption), []).append(caption)
    captions: dict[str, None] = {}
    for name in names:
        if name not in every and name not in families:
            raise unknown("skill", name, (*families, *every.captions))
        captions |= dict.fromkeys(families.get(name, [name]))
    parts.grow([every[c] for c in captions if c not in parts.library])
    return tuple(captions)


# --- collecting --------------------------------------------------------------------------------------------------


def collect(
    record: Record,
    config: Config,
    actor: str,
    name: str,
    skills: Sequence[str],
    start: str | None,
    policy: Path | None,
    console: Console,
) -> list[Outcome]:
    """`config.seed_data.episodes` episodes in steps called `collect/<name>/000` ...; returns all their outcomes.

    Args:
        config: the record's own but for `seed_data` and `experiment.temperature`.
        actor: 'teacher' (noisy as `config.seed_data` says), 'random', 'policy', the latest of the run in `policy`, or
            'play', the world's own way of making data (ogbench).
        skills: captions or families; the base library if empty.

    Raises:
        LudusError: unknown actor, skill or start; a policy of no run.
    """
    if actor not in ACTORS:
        raise unknown("actor", actor, ACTORS)
    if (actor == "policy") != (policy is not None):
        raise LudusError("--actor policy needs --policy RUN, the run whose policy acts; other actors need none")
    with build(record) as parts, show_progress(console) as progress:
        captions = chosen(parts, skills) or parts.library.captions
        loop = Loop(parts, progress)
        loop.begin()
        _remember(record, parts.library, f"collect/{name}/skills")
        seed = child(config.seed, "collect", name)
        if actor == "play":
            _play(parts, loop, config.seed_data.episodes, seed, name)
            return record.outcomes(f"collect/{name}")
        jobs = seed_jobs(parts.library, config.seed_data, seed, start, captions)
        if actor != "teacher":
            jobs = [dataclasses.replace(j, actor=None, info={"actor": actor}) for j in jobs]
        if policy is not None:
            with Record.open(policy, write=False) as other:
                acting = Loop(dataclasses.replace(parts, record=other), progress).learner
            who: Any = acting.policy(config.experiment.temperature)
        else:
            spec = parts.world.spec
            who = SeedActor(parts.kind.teacher(spec)) if actor == "teacher" else RandomActor(spec)
        loop.collect(f"collect/{name}", jobs, who)
        return record.outcomes(f"collect/{name}")


def _play(parts: Parts, loop: Loop, n: int, seed: int, name: str) -> None:
    """Like `Loop.collect`, where the world itself makes the episodes."""
    if parts.kind.play is None:
        raise LudusError(f"world {parts.world.spec.name!r} has no play data of its own; use --actor teacher")
    shards = [range(first, min(first + PLAY_SHARD, n)) for first in range(0, n, PLAY_SHARD)]
    left = [(k, s) for k, s in enumerate(shards) if not parts.record.done(f"collect/{name}/{k:03d}")]
    with loop.doing(f"collect {name}: {n} episodes", sum(len(s) for _, s in left)) as advance:
        for k, shard in left:
            with parts.record.commit(f"collect/{name}/{k:03d}"):
                seeds = [child(seed, "play", i) for i in shard]
                episodes = []
                for episode in parts.kind.play(parts.config.world, parts.library, seeds, f"collect-{name}-{k:03d}"):
                    episodes.append(episode)
                    advance(1)
                parts.store.append(episodes)
                parts.record.add_outcomes(outcomes(parts.library, episodes))


def _remember(record: Record, library: SkillLibrary, step: str) -> None:
    known = {s["caption"] for s in record.skills()}
    new = [s for s in library if s.caption not in known]
    if new and not record.done(step):
        with record.commit(step):
            record.add_skills(new)


# --- training ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """What an offline training learns from; kept in the record, so that resuming needs no arguments."""

    data: tuple[str, ...]  # run directories
    weights: tuple[float, ...] = ()  # share of the draws from each; by size if empty
    skills: tuple[str, ...] = ()  # captions or families to be taught besides those of the data's runs
    hold_out: tuple[str, ...] = ()  # captions that are never a label
    init: str | None = None  # run whose weights training starts from

    @classmethod
    def of(cls, record: Record) -> Course:
        """The one that the record was begun for."""
        kept: dict[str, Any] = record.result("course")
        lists = {k: tuple(kept[k]) for k in ("data", "weights", "skills", "hold_out")}
        return cls(**lists, init=kept["init"])


def is_training(record: Record) -> bool:
    """Whether the record is one of `ludus train`."""
    return record.done("course")


def begin_training(record: Record, course: Course) -> None:
    """Write down what is to be done; a second time only to the same end.

    Raises:
        LudusError: the record is of another training, or of something else; weights that are not one per run.
    """
    if course.weights and len(course.weights) != len(course.data):
        raise LudusError(f"{len(course.weights)} weights for {len(course.data)} runs of data; give one for each")
    if record.done("course"):
        if Course.of(record) != course:
            raise LudusError(
                f"{record.directory} holds another training, {Course.of(record)}; choose another directory"
            )
        return
    if record.steps():
        raise LudusError(f"{record.directory} already holds a run of another kind; choose another directory")
    with record.commit("course") as opened:
        opened.result = asdict(course)


def train(record: Record, console: Console) -> list[Tally]:
    """Carry out or continue an offline training; returns the last evaluation.

    Raises:
        LudusError: data that is missing, empty, of another world than the configuration's, or broken.
    """
    course = Course.of(record)
    with build(record) as parts, show_progress(console) as progress:
        _furnish(parts, course)
        loop = Loop(parts, progress)
        loop.begin()
        _remember(record, parts.library, "skills")
        if course.init is not None and not any("/train/" in s.name for s in record.steps()):
            with Record.open(course.init, write=False) as other:
                loop.learner.start_from(Loop(dataclasses.replace(parts, record=other), progress).checkpoint)
        loop.train("offline", 0, loop.config.training.updates)
        ranks.tell(None)
        return loop.latest_tallies()


def follow(config: Config, course: Course) -> None:
    """Do the same training as another process, which leads and keeps the record (`ludus.pac.ranks`)."""
    with Record.open(course.data[0], write=False) as record, build(record, config) as parts:
        _furnish(parts, course)
        seed, spec = child(config.seed, "sampler"), parts.world.spec
        sampler = Sampler(parts.data, parts.taught, config.pac, config.sampling, seed, shares=parts.shares)
        learner = None
        while (work := ranks.listen()) is not None:
            if learner is None and work.checkpoint is not None:
                learner = Learner.load(Path(work.checkpoint), spec, config.training)
            elif learner is None:
                learner = Learner(config.pac, spec, config.training.updates, config.seed, config.training)
            sampler.restore(work.sampler)
            learner.fit(sampler, work.updates)


def _furnish(parts: Parts, course: Course) -> None:
    """Give the parts what the course says: data, their skills, what is held out."""
    parts.data = [EpisodeStore.open(directory, write=False) for directory in course.data]
    spec = parts.world.spec
    for store in parts.data:
        worlds = {row.world for row in store.rows()}
        if worlds - {spec.fingerprint}:
            raise LudusError(
                f"{store.record.directory} holds episodes of world {', '.join(worlds)}, this configuration makes "
                f"{spec.name} {spec.fingerprint}; give the world settings of the data, e.g. world.n_blocks"
            )
        kept = [Skill(**{f: s[f] for f in Skill.__dataclass_fields__}) for s in store.record.skills()]
        parts.grow([s for s in kept if s.caption not in parts.library])
    chosen(parts, course.skills)
    for caption in course.hold_out:
        parts.library[caption]
    parts.held_out = frozenset(course.hold_out)
    if course.weights:
        parts.shares = {f"{i}/" if len(parts.data) > 1 else "": w for i, w in enumerate(course.weights)}


# --- measuring ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One way of trying a policy, and what came of it."""

    start: str
    temperature: float
    tallies: list[Tally]


def measure(
    parts: Parts,
    skills: Sequence[str],
    n: int,
    starts: Sequence[str],
    temperatures: Sequence[float],
    seed: int,
    console: Console,
    plan: Sequence[str] = (),
) -> list[Measured]:
    """Success of the record's latest policy; nothing is stored.

    Args:
        skills: captions or families; all of the library if empty. With a `plan`, the one that judges its last state.
        n: episodes per skill, start and temperature; their seeds are named children that training never draws from.
        plan: captions to carry out one after the other in each episode.

    Raises:
        LudusError: unknown skill or start.
    """
    with show_progress(console) as progress:
        loop = Loop(parts, progress)
        captions = chosen(parts, skills) or parts.library.captions
        parts.grow([])
        plan = [c for name in plan for c in chosen(parts, [name])]
        found = []
        for start in starts or parts.world.spec.starts[:1]:
            if start not in parts.world.spec.starts:
                raise unknown("start", start, parts.world.spec.starts)
            for temperature in temperatures:
                policy = loop.learner.policy(temperature)
                what = f"start {start}, temperature {temperature:g}"
                if plan:
                    with loop.doing(what, n * parts.embodiment.steps(plan)) as advance:
                        tallies = [_carry_out(parts, plan, c, n, start, seed, policy, advance) for c in captions]
                else:
                    total = sum(parts.library[c].steps for c in captions) * n
                    with loop.doing(f"{what}: {len(captions)} skills, {n} episodes each", total) as advance:
                        where = child(seed, "eval")
                        tallies = parts.embodiment.evaluate(policy, captions, n, where, start, advance)
                found.append(Measured(start, temperature, tallies))
        return found


def _carry_out(parts: Parts, plan: Sequence[str], judge: str, n: int, start: str, seed: int, policy, advance) -> Tally:
    """The plan n times; success of `judge` at its last observation, and at any."""
    jobs = [Job(tuple(plan), child(seed, "eval", "plan", *plan, i), start) for i in range(n)]
    episodes, _ = parts.embodiment.collect(jobs, policy, "evaluation", advance)
    success = [parts.library.rewards(judge, e.observations)[1] for e in episodes]
    skill = parts.library[judge]
    return Tally(judge, skill.hash, n, sum(bool(s[-1]) for s in success), sum(bool(s.any()) for s in success))


def table(title: str, tallies: Iterable[Tally]) -> Table:
    """Success rates with 95 % Wilson intervals, for the terminal."""
    shown = Table("skill", "at the end", "95 % interval", "ever", "n", title=title)
    for t in tallies:
        low, high = wilson(t.successes, t.n)
        shown.add_row(t.caption, f"{t.successes / t.n:.3f}", f"{low:.2f}–{high:.2f}", f"{t.ever / t.n:.3f}", str(t.n))
    return shown


def tally(outcomes: Sequence[Outcome], library: SkillLibrary) -> list[Tally]:
    """Outcomes added up per family."""
    single = [Tally(o.caption, o.skill, 1, int(o.success), int(o.ever)) for o in outcomes]
    return pool(single, library)


def as_json(measured: Sequence[Measured], library: SkillLibrary) -> dict[str, Any]:
    """All numbers: per start and temperature, families and skills."""

    def row(t: Tally) -> Mapping[str, Any]:
        return asdict(t) | {"rate": t.successes / t.n, "wilson": wilson(t.successes, t.n)}

    return {
        "measured": [
            {
                "start": m.start,
                "temperature": m.temperature,
                "families": [row(t) for t in pool(m.tallies, library)],
                "skills": [row(t) for t in m.tallies],
            }
            for m in measured
        ]
    }
