"""The parts of the method on their own: collect episodes, train on any stores, measure a policy.

As in the loop, everything is a sequence of named steps: the same command given again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ludus.config import Config
from ludus.data.relabel import outcomes
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment.build import Parts, build
from ludus.experiment.loop import Loop, show_progress
from ludus.lab.actors import RandomActor, SeedActor, Switching, seed_jobs
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
ACTORS = ("teacher", "random", "policy", "play", "play-hindsight")


def chosen(parts: Parts, names: Sequence[str]) -> tuple[str, ...]:
    """Captions of the skills and families of skills called `names`; the library grows by those it lacks.

    Raises:
        LudusError: neither the library nor what the world has besides knows a name.
    """
    extra = parts.kind.extra_skills(parts.world.spec.objects)
    every = parts.library.add(*[s for s in extra if s.caption not in parts.library])
    captions = matching(every, names)
    parts.grow([every[c] for c in captions if c not in parts.library])
    return captions


def matching(library: SkillLibrary, names: Sequence[str]) -> tuple[str, ...]:
    """Captions called `names`: each a caption, or a family as 'stack X on Y' or 'stack _ on _'.

    Raises:
        LudusError: not in the library.
    """
    families: dict[str, list[str]] = {}
    for caption in library.captions:
        families.setdefault(library.family(caption), []).append(caption)
    captions: dict[str, None] = {}
    for name in names:
        letters = iter("XYZUVW")
        family = re.sub(r"(?<!\w)_(?!\w)", lambda m, letters=letters: next(letters, "_"), name)
        if name not in library and family not in families:
            raise unknown("skill", name, (*families, *library.captions))
        captions |= dict.fromkeys(families.get(family, [name]))
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
    """`config.seed_data.episodes` episodes in steps called `collect/<name>/000` ...; returns all their outcomes. What was
    asked for stands in `collect/<name>/request`: asked for again, collecting goes on where it stopped.

    Args:
        config: the record's own but for `seed_data` and `experiment.temperature`.
        actor: 'teacher' (noisy as `config.seed_data` says), 'random', 'policy', the latest of the run in `policy`, or
            'play', the world's own way of making data (ogbench), or 'play-hindsight', the same with the commands forgotten
            and others found in what happened.
        skills: captions or families; the base library if empty.

    Raises:
        LudusError: unknown actor, skill or start; a policy of no run; noise levels or shares out of range; a name under
            which something else was asked for; a record that is not one of collected episodes.
    """
    if actor not in ACTORS:
        raise unknown("actor", actor, ACTORS)
    if (actor == "policy") != (policy is not None):
        raise LudusError("--actor policy needs --policy RUN, the run whose policy acts; other actors need none")
    with build(record) as parts, show_progress(console) as progress:
        captions = chosen(parts, skills) or parts.library.captions
        loop = Loop(parts, progress)
        seed = child(config.seed, "collect", name)
        jobs = seed_jobs(parts.library, config.seed_data, seed, start, captions)
        request = {"actor": actor, "captions": captions, "start": start, "seed": config.seed}
        request |= {"seed_data": asdict(config.seed_data)}
        if policy is not None:
            with Record.open(policy, write=False) as other:
                learner = Loop(dataclasses.replace(parts, record=other), progress).learner
            temperature = config.experiment.temperature
            who: Any = learner.policy(temperature)
            acting = {"policy": policy.resolve().name, "updates": learner.updates, "temperature": temperature}
        else:
            who, acting = None, {}
        _claim(record, name, request | acting)
        loop.begin()
        _remember(record, parts.library, f"collect/{name}/skills")
        if actor.startswith("play"):
            _play(parts, loop, config.seed_data.episodes, seed, name, hindsight=actor == "play-hindsight")
            return record.outcomes(f"collect/{name}/")
        if actor != "teacher":
            jobs = [dataclasses.replace(j, actor=None, info={"actor": actor, **acting}) for j in jobs]
        if who is None:
            spec = parts.world.spec
            who = SeedActor(parts.kind.teacher(spec)) if actor == "teacher" else RandomActor(spec)
        loop.collect(f"collect/{name}", jobs, who)
        return record.outcomes(f"collect/{name}/")


def is_collection(record: Record) -> bool:
    """Whether the record is one of `ludus collect`."""
    return any(s.name.startswith("collect/") for s in record.steps())


def _claim(record: Record, name: str, request: Mapping[str, Any]) -> None:
    """Write down what is asked for under `name`, which never changes: the waves of two requests would mix unseen."""
    if record.steps() and not is_collection(record):
        raise LudusError(f"{record.directory} holds a run of another kind; collect into another directory")
    step, request = f"collect/{name}/request", json.loads(json.dumps(request))
    if record.done(step):
        kept = record.result(step)
        other = [k for k in request.keys() | kept.keys() if request.get(k) != kept.get(k)]
        if other:
            raise LudusError(
                f"{record.directory} has episodes under the name {name!r} with other {', '.join(sorted(other))}; "
                f"collect further ones with --name, e.g. --name {name}-2"
            )
    elif not any(s.name.startswith(f"collect/{name}/") for s in record.steps()):
        with record.commit(step) as opened:
            opened.result = request


def _play(parts: Parts, loop: Loop, n: int, seed: int, name: str, hindsight: bool) -> None:
    """Like `Loop.collect`, where the world itself makes the episodes."""
    if parts.kind.play is None:
        raise LudusError(f"world {parts.world.spec.name!r} has no play data of its own; use --actor teacher")
    shards = [range(first, min(first + PLAY_SHARD, n)) for first in range(0, n, PLAY_SHARD)]
    left = [(k, s) for k, s in enumerate(shards) if not parts.record.done(f"collect/{name}/{k:03d}")]
    with loop.doing(f"collect {name}: {n} episodes", sum(len(s) for _, s in left)) as advance:
        for k, shard in left:
            with parts.record.commit(f"collect/{name}/{k:03d}"):
                seeds = [child(seed, "play", i) for i in shard]
                label, made, episodes = f"collect-{name}-{k:03d}", set(), []
                for episode in parts.kind.play(parts.config.world, parts.library, seeds, label, hindsight):
                    episodes.append(episode)
                    advance(int(episode.seed not in made))
                    made.add(episode.seed)
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
    hold_out: tuple[str, ...] = ()  # captions or families that are never a label
    init: str | None = None  # run whose weights training starts from

    @classmethod
    def of(cls, record: Record) -> Course:
        """The one that the record was begun for."""
        kept: dict[str, Any] = record.result("course")
        lists = {k: tuple(kept[k]) for k in ("data", "weights", "skills", "hold_out")}
        return cls(**lists, init=kept["init"])

    def resolved(self) -> Course:
        """With absolute paths: the same wherever it is continued."""
        data = tuple(str(Path(d).resolve()) for d in self.data)
        return dataclasses.replace(self, data=data, init=self.init and str(Path(self.init).resolve()))


def is_training(record: Record) -> bool:
    """Whether the record is one of `ludus train`."""
    return record.done("course")


def begin_training(record: Record, course: Course) -> None:
    """Write down what is to be done; a second time only to the same end.

    Raises:
        LudusError: the record is of another training, or of something else; weights that are not one per run, or not
            positive.
    """
    if course.weights and len(course.weights) != len(course.data):
        raise LudusError(f"{len(course.weights)} weights for {len(course.data)} runs of data; give one for each")
    for weight in course.weights:
        if not 0 < weight < math.inf:
            raise LudusError(f"weight {weight} must be a positive number; leave out data that is not to be drawn")
    if record.done("course"):
        kept = Course.of(record)
        if kept.resolved() != course.resolved():
            raise LudusError(f"{record.directory} holds another training, {kept}; choose another directory")
        return
    if record.steps():
        raise LudusError(f"{record.directory} already holds a run of another kind; choose another directory")
    with record.commit("course") as opened:
        opened.result = asdict(course)


def train(record: Record, console: Console, config: Config | None = None) -> list[Tally]:
    """Carry out or continue an offline training; returns the last evaluation. `config` replaces the record's own, for other
    ranks.

    Raises:
        LudusError: data that is missing, empty, of another world than the configuration's, broken, or not what it was
            when the training began.
    """
    course = Course.of(record)
    with build(record, config) as parts, show_progress(console) as progress:
        loop = Loop(parts, progress)
        if record.done("end"):
            ranks.tell(None)
            return loop.latest_tallies()
        _furnish(parts, course)
        loop.begin()
        _pin(record, parts.data)
        _remember(record, parts.library, "skills")
        if not any("/train/" in s.name for s in record.steps()):
            _start(loop.learner, parts, course)
        loop.train("offline", 0, loop.config.training.updates)
        ranks.tell(None)
        with record.commit("end"):
            pass
        return loop.latest_tallies()


def _pin(record: Record, data: Sequence[EpisodeStore]) -> None:
    """Remember the episodes that training began with: going on with others would be another training."""
    for store in data:
        if not len(store):
            raise LudusError(f"{store.record.directory} holds no episodes to learn from; collect some first")
    found = [
        {
            "episodes": len(store),
            "checksum": hashlib.blake2b(
                "".join(s.checksum for s in store.shards()).encode(), digest_size=16
            ).hexdigest(),
        }
        for store in data
    ]
    if not record.done("data"):
        with record.commit("data") as opened:
            opened.result = {"data": found}
        return
    for store, now, then in zip(data, found, record.result("data")["data"], strict=True):
        if now != then:
            raise LudusError(
                f"{store.record.directory} holds {now['episodes']} episodes, other than the {then['episodes']} that "
                f"{record.directory} began with; train on them into a new directory"
            )


def follow(config: Config, course: Course) -> None:
    """Do the same training as another process, which leads and keeps the record (`ludus.pac.ranks`)."""
    with Record.open(course.data[0], write=False) as record, build(record, config) as parts:
        _furnish(parts, course)
        seed, spec = child(config.seed, "sampler"), parts.world.spec
        sampler = Sampler(parts.data, parts.taught, config.pac, config.sampling, seed, shares=parts.shares)
        learner = None
        while (work := ranks.listen()) is not None:
            if isinstance(work, ranks.Gather):
                assert learner is not None
                learner.gather()
                continue
            if learner is None and work.checkpoint is not None:
                learner = Learner.load(Path(work.checkpoint), spec, config.training)
            elif learner is None:
                learner = Learner(config.pac, spec, config.training.updates, config.seed, config.training)
                _start(learner, parts, course)
            sampler.restore(work.sampler)
            learner.total_updates = work.schedule
            learner.fit(sampler, work.updates)


def _start(learner: Learner, parts: Parts, course: Course) -> None:
    """Begin with the weights that the course says, if any."""
    if course.init is not None:
        with Record.open(course.init, write=False) as other, show_progress(Console(quiet=True)) as hidden:
            learner.start_from(Loop(dataclasses.replace(parts, record=other), hidden).checkpoint)


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
    parts.held_out = frozenset(matching(parts.library, course.hold_out))
    if not set(parts.library.captions) - parts.held_out:
        raise LudusError("every skill is held out; leave some to be taught")
    if course.weights:
        parts.shares = {f"{i}/" if len(parts.data) > 1 else "": w for i, w in enumerate(course.weights)}


# --- measuring ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One way of trying a policy, and what came of it."""

    start: str
    temperature: float
    tallies: list[Tally]
    steps: list[Tally] = dataclasses.field(default_factory=list)
    """Of a plan: each of its skills at its own end."""


def measure(
    parts: Parts,
    skills: Sequence[str],
    n: int,
    starts: Sequence[str],
    temperatures: Sequence[float],
    seed: int,
    console: Console,
    plan: Sequence[str] = (),
    library_of: int | None = None,
    goals: bool = False,
) -> list[Measured]:
    """Success of the record's latest policy; nothing is stored.

    Args:
        skills: captions or families; all of the library if empty. With a `plan`, those that judge its last state; its
            last skill if empty.
        n: episodes per skill, start and temperature; their seeds are named children that training never draws from.
        plan: captions to carry out one after the other in each episode.
        library_of: leave out skills about others than the world's first so many objects.
        goals: measure whether all skills of the world's own library hold at once, within an episode in which the policy is
            told whichever is next.

    Raises:
        LudusError: unknown skill or start; a plan longer than an episode; not that many objects; a world without goals.
    """
    with show_progress(console) as progress:
        loop = Loop(parts, progress)
        captions = chosen(parts, skills) or parts.library.captions
        captions = _about(captions, library_of, parts)
        plan = [c for name in plan for c in chosen(parts, [name])]
        if plan:
            captions = captions if skills else plan[-1:]
            _check_plan(parts, plan)
        learner, found = loop.learner, []
        for start in starts or parts.world.spec.starts[:1]:
            if start not in parts.world.spec.starts:
                raise unknown("start", start, parts.world.spec.starts)
            for temperature in temperatures:
                policy, steps = learner.policy(temperature), []
                what = f"start {start}, temperature {temperature:g}"
                if goals:
                    with loop.doing(what, n * parts.world.spec.episode_steps) as advance:
                        tallies = [_reach_goals(parts, n, start, seed, policy, advance)]
                elif plan:
                    with loop.doing(what, n * parts.embodiment.steps(plan)) as advance:
                        steps, tallies = _carry_out(parts, plan, captions, n, start, seed, policy, advance)
                else:
                    total = sum(parts.library[c].steps for c in captions) * n
                    with loop.doing(f"{what}: {len(captions)} skills, {n} episodes each", total) as advance:
                        where = child(seed, "eval")
                        tallies = parts.embodiment.evaluate(policy, captions, n, where, start, advance)
                found.append(Measured(start, temperature, tallies, steps))
        return found


def _about(captions: Sequence[str], n: int | None, parts: Parts) -> Sequence[str]:
    """Those about the first n objects only."""
    if n is None:
        return captions
    objects = parts.world.spec.objects
    if not 1 <= n <= len(objects):
        raise LudusError(f"library of {n} objects: the world has {len(objects)}; give 1 to {len(objects)}")
    kept = [c for c in captions if set(parts.library.mentioned(c)) <= set(objects[:n])]
    if not kept:
        raise LudusError(f"none of these skills is about {', '.join(objects[:n])} only: {', '.join(captions)}")
    return kept


def _check_plan(parts: Parts, plan: Sequence[str]) -> None:
    steps, limit = sum(parts.library[c].steps for c in plan), parts.world.spec.episode_steps
    if steps > limit:
        raise LudusError(f"this plan takes {steps} control steps, an episode has {limit}; plan fewer skills")


def _carry_out(
    parts: Parts, plan: Sequence[str], judges: Sequence[str], n: int, start: str, seed: int, policy: Any, advance: Any
) -> tuple[list[Tally], list[Tally]]:
    """The plan n times: success of each of its skills at its own end, and of `judges` at the last observation; 'ever'
    counts those that held after any action."""
    jobs = [Job(tuple(plan), child(seed, "eval", "plan", *plan, i), start) for i in range(n)]
    steps = [[0, 0] for _ in plan]
    judged = {c: [0, 0] for c in judges}
    for episodes, found in parts.embodiment.rollouts(jobs, policy, "evaluation", progress=advance):
        for o in found:
            steps[o.segment][0] += o.success
            steps[o.segment][1] += o.ever
        for caption, counts in judged.items():
            for e in episodes:
                success = parts.library.rewards(caption, e.observations)[1][1:]
                counts[0] += bool(success[-1])
                counts[1] += bool(success.any())
    library = parts.library
    return (
        [Tally(c, library[c].hash, n, *counts) for c, counts in zip(plan, steps, strict=True)],
        [Tally(c, library[c].hash, n, *counts) for c, counts in judged.items()],
    )


def _reach_goals(parts: Parts, n: int, start: str, seed: int, policy: Any, advance: Any) -> Tally:
    spec, library, first = parts.world.spec, parts.library, parts.kind.goals
    if first is None:
        raise LudusError(f"world {spec.name!r} has no goals of its own; give --skills or --plan")
    captions = parts.world.library().captions
    actor = Switching(policy, library, captions, lambda seen: first(spec, seen), spec.control_hz)
    # the job's captions only give the episode its length: what is told is up to the actor
    whole = captions[:1] * math.ceil(spec.episode_steps / library[captions[0]].steps)
    jobs = [Job(whole, child(seed, "eval", "goals", start, i), start) for i in range(n)]
    successes = ever = 0
    for episodes, _ in parts.embodiment.rollouts(jobs, actor, "evaluation", progress=advance):
        for e in episodes:
            hold = np.all([library.rewards(c, e.observations)[1][1:] for c in captions], axis=0)
            successes, ever = successes + bool(hold[-1]), ever + bool(hold.any())
    hashes = "+".join(library[c].hash for c in captions)
    return Tally(" and ".join(captions), hashes, n, successes, ever)


def table(title: str, tallies: Iterable[Tally]) -> Table:
    """Success rates with 95 % Wilson intervals, for the terminal."""
    shown = Table("skill", "at the end", "95 % interval", "ever", "95 % interval", "n", title=title)
    for t in tallies:
        cells = []
        for k in (t.successes, t.ever):
            low, high = wilson(k, t.n)
            cells += [f"{k / t.n:.3f}" if t.n else "–", f"{low:.2f}–{high:.2f}"]
        shown.add_row(t.caption, *cells, str(t.n))
    return shown


def tally(outcomes: Sequence[Outcome], library: SkillLibrary) -> list[Tally]:
    """Outcomes added up per family."""
    single = [Tally(o.caption, o.skill, 1, int(o.success), int(o.ever)) for o in outcomes]
    return pool(single, library)


def as_json(measured: Sequence[Measured], library: SkillLibrary) -> dict[str, Any]:
    """All numbers: per start and temperature, families and skills."""

    def row(t: Tally) -> Mapping[str, Any]:
        intervals = {"wilson": wilson(t.successes, t.n), "wilson_ever": wilson(t.ever, t.n)}
        return asdict(t) | {"rate": t.successes / t.n} | intervals

    return {
        "measured": [
            {
                "start": m.start,
                "temperature": m.temperature,
                "families": [row(t) for t in pool(m.tallies, library)],
                "skills": [row(t) for t in m.tallies],
                "steps": [row(t) for t in m.steps],
            }
            for m in measured
        ]
    }
