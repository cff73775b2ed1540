"""Whether a world keeps what `ludus.worlds.base` asks of it, as findings in sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
import torch

from ludus.agents.captions import CaptionEncoder
from ludus.agents.encoders import make_encoder
from ludus.config import WorldConfig
from ludus.experiment.library import shown_captions
from ludus.lab.actors import RandomActor, SeedActor
from ludus.lab.embodiment import run
from ludus.lab.rollout import Actor, RolloutSpec
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, Observations, WorldSpec
from ludus.worlds.base import World
from ludus.worlds.guard import checked_observations
from ludus.worlds.registry import WorldKind, world_kind

STEPS = 20
"""Of the comparisons."""
MAX_SCALED = 10.0
"""|x - centre| / scale that a field may take: of order 1 is what networks learn from."""
MIN_SCALED = 0.01
"""Its least range over all episodes, if it changes at all."""

COMPARING = ("neighbours", "resting", "actions", "snapshots")
"""Checks that compare two plays from the same seeds: they say nothing where these differ anyway."""


@dataclass(frozen=True)
class Finding:
    """What one check found. 'fails' must be mended, 'look' is a person's to judge."""

    check: str
    state: Literal["holds", "fails", "look"]
    sentence: str


def check_world(config: WorldConfig, episodes: int = 8, seed: int = 0) -> Iterator[Finding]:
    """Try a world in every way that ludus will use it, four simulations at a time; each finding comes when it is known.

    Args:
        episodes: per skill and actor.

    Raises:
        LudusError: the world cannot be made.
    """
    config = replace(config, n_envs=4)
    kind = world_kind(config)
    world, other = kind.make(replace(config, threads=1)), kind.make(replace(config, threads=2))
    try:
        checks = _Checks(kind, world, other, episodes, seed)
        for name, check in checks.all:
            if checks.is_random and name in COMPARING:
                continue
            try:
                yield from (Finding(name, *found) for found in check())
            except LudusError as error:
                yield Finding(name, "fails", f"{error}")
                if name == "shapes":
                    return  # whatever else is tried ends in the same sentence
    finally:
        world.close()
        other.close()


Found = Iterator[tuple[Literal["holds", "fails", "look"], str]]


class _Checks:
    """Two instances of one world, and what is tried with them."""

    def __init__(self, kind: WorldKind, world: World, other: World, episodes: int, seed: int) -> None:
        self.kind, self.world, self.other, self.n, self.seed = kind, world, other, episodes, seed
        self.spec: WorldSpec = world.spec
        self.library: SkillLibrary = world.library()
        self.seeds = [child(seed, "check", i) for i in range(world.n_envs)]
        draws = np.random.default_rng(child(seed, "check", "actions"))
        self.actions = draws.uniform(-1, 1, (STEPS, world.n_envs, len(self.spec.actions))).astype(np.float32)
        self.seen: list[Episode] = []
        self.is_random = False

    @property
    def all(self) -> tuple[tuple[str, Callable[[], Found]], ...]:
        return (
            ("shapes", self.shapes),
            ("determinism", self.determinism),
            ("neighbours", self.neighbours),
            ("resting", self.rests),
            ("fresh arrays", self.fresh),
            ("actions", self.acts),
            ("starts", self.starts),
            ("snapshots", self.snapshots),
            ("encoder", self.encoder),
            ("words", self.words),
            ("skills", self.skills),
            ("scales", self.scales),
            ("pictures", self.pictures),
            ("speed", self.speed),
        )

    def shapes(self) -> Found:
        for what, seen in (("reset", self.world.reset(self.seeds)), ("step", self.world.step(self.actions[0]))):
            checked_observations(seen, self.spec, self.world.n_envs, what)
        yield "holds", f"{len(self.spec.observation.groups)} groups are as the spec declares"

    def determinism(self) -> Found:
        first, again, other = self._played(self.world), self._played(self.world), self._played(self.other)
        if (group := _differs(first, again)) is not None:
            self.is_random = True
            yield (
                "fails",
                f"the same seeds and actions gave other bits of {group!r} the second time; draw from the seeds of reset alone "
                f"({', '.join(COMPARING)} are tried when that is mended)",
            )
        elif (group := _differs(first, other)) is not None:
            yield (
                "fails",
                f"another instance, with two threads, gives other bits of {group!r}; nothing may depend on them",
            )
        else:
            yield (
                "holds",
                f"the same seeds and actions give the same bits, over {STEPS} steps and with another number of threads",
            )

    def neighbours(self) -> Found:
        before = self._played(self.world)
        order = np.arange(self.world.n_envs)[::-1]
        after = self._played(self.world, order)
        if (group := _differs(before, [{g: a[order] for g, a in seen.items()} for seen in after])) is not None:
            yield (
                "fails",
                f"in another place among its neighbours a simulation gives other bits of {group!r}; keep their states apart",
            )
        else:
            yield "holds", "a simulation does not depend on its neighbours"

    def rests(self) -> Found:
        before, resting = self._played(self.world), np.arange(self.world.n_envs) % 2 == 1
        self.world.reset(self.seeds)
        self.world.rest(resting)
        some = [{g: a[~resting] for g, a in self.world.step(actions).items()} for actions in self.actions]
        if (group := _differs([{g: a[~resting] for g, a in seen.items()} for seen in before[1:]], some)) is not None:
            yield (
                "fails",
                f"while others rest a simulation gives other bits of {group!r}; leave those alone that do not rest",
            )
        elif (group := _differs(before, self._played(self.world))) is not None:
            yield "fails", f"after a rest a reset gives other bits of {group!r}; let it wake all"
        else:
            yield "holds", "who rests changes nothing for the others, and wakes by a reset"

    def fresh(self) -> Found:
        seen = self.world.reset(self.seeds)
        kept = {g: a.copy() for g, a in seen.items()}
        for actions in self.actions:
            self.world.step(actions)
        if (group := _differs([seen], [kept])) is not None:
            yield "fails", f"the array of group {group!r} that was returned changes with later steps; return a copy"
        else:
            yield "holds", "what was returned stays as it was"

    def acts(self) -> Found:
        still, moved = self._played(self.world, actions=np.zeros_like(self.actions)), self._played(self.world)
        if _differs(still, moved) is None:
            yield "fails", f"after {STEPS} steps nothing depends on the actions; are they applied?"
        else:
            yield from self._odd_actions()

    def _odd_actions(self) -> Found:
        beyond = self._played(self.world, actions=np.full_like(self.actions, 5))
        if _differs(beyond, self._played(self.world, actions=np.ones_like(self.actions))) is not None:
            yield "look", "actions beyond 1 act otherwise than 1; clip them to [-1, 1]"
        else:
            yield "holds", "actions act, and are clipped to [-1, 1]"
        try:
            self.world.step(np.full_like(self.actions[0], np.nan))
        except LudusError:
            yield "holds", "NaN is refused as an action"
        else:
            yield "look", "NaN is taken as an action; raise LudusError, so that a policy that broke is noticed"

    def starts(self) -> Found:
        for start in self.spec.starts:
            self.world.reset(self.seeds, start)
        if len({a.tobytes() for s in (0, 1) for a in [self._first(s)]}) == 1:
            yield "look", "two seeds begin alike; if the scene is to vary, draw it from the seeds"
        try:
            self.world.reset(self.seeds, "no such start")
        except LudusError:
            yield "holds", f"starts: {', '.join(self.spec.starts)}"
        else:
            yield "look", "an unknown start is taken; raise LudusError, so that a slip of the pen is noticed"

    def snapshots(self) -> Found:
        self.world.reset(self.seeds)
        kept = self.world.snapshot()
        after = [self.world.step(a) for a in self.actions]
        try:
            self.world.restore(kept)
        except LudusError:
            return (yield "look", "it cannot go on from a snapshot (restore); no command needs it")
        if (group := _differs(after, [self.world.step(a) for a in self.actions])) is not None:
            yield (
                "fails",
                f"from a restored snapshot {group!r} goes another way; keep in it all that the future depends on",
            )
        else:
            yield "holds", "from a snapshot the same actions give the same bits"

    def encoder(self) -> Found:
        encoder, captions = make_encoder(self.spec), CaptionEncoder(self.spec.objects)
        slots = torch.from_numpy(captions.table(self.library.captions)[1])[:1].expand(self.world.n_envs, -1)
        task, objects, *images = encoder(encoder.pack(self.world.reset(self.seeds)), slots)
        sizes = f"{task.shape[1]} numbers about the task, {objects.shape[1]} rows of {objects.shape[2]}"
        yield "holds", f"networks get {sizes}" + "".join(f", an image {tuple(x.shape[1:])}" for x in images)

    def words(self) -> Found:
        vocabulary, seen, broken = self.library.vocabulary, self.world.reset(self.seeds), 0
        for predicate in vocabulary.predicates:
            try:
                for objects in permutations(vocabulary.objects, len(predicate.parameters)):
                    vocabulary.holds((predicate.name, objects), seen)
            except LudusError as error:
                broken += 1
                meant = "every word is asked about every object: let it be false, or 0, of those that it does not fit"
                yield "fails", f"{error} ({meant})"
        if not broken:
            yield "holds", f"{len(vocabulary.predicates)} words answer for every object"

    def skills(self) -> Found:
        actors: list[tuple[Actor, tuple[str, ...]]] = [(RandomActor(self.spec), self.library.captions)]
        if self.kind.teacher is not None:
            shown = shown_captions(self.kind, self.spec, self.library.captions)
            actors.insert(0, (SeedActor(self.kind.make_teacher(self.spec)), shown))
        for caption in self.library.captions:
            tried = {actor.name: self._tried(caption, actor) for actor, shown in actors if caption in shown}
            said, best = [f"{name} {done} of {self.n}" for name, done in tried.items()], max(tried.values())
            start = float(np.mean([self.library.rewards(caption, _row(e, 0))[1][0] for e in self.seen[-self.n :]]))
            sentence = f"{caption!r}: {', '.join(said)}" + (f"; holds at {start:.0%} of the starts" if start else "")
            if start == 1:
                yield "look", f"{sentence}: always, so there is nothing to learn"
            elif best == 0:
                latest = self.seen[-self.n * len(tried) :]
                once = any(self.library.rewards(caption, e.observations)[1].any() for e in latest)
                end = "it was reached and lost again" if once else "nobody reached it"
                yield "look", f"{sentence}: {end}; can it hold at the end of {self.library[caption].steps} steps?"
            else:
                yield "holds", sentence

    def scales(self) -> Found:
        if self.spec.encoder is not None:
            return (yield "holds", "the world has an encoder of its own: what networks see is its to scale")
        out, still, fixed = [], [], []
        if not self.seen:
            return  # no skill could be tried
        for g in self.spec.observation.groups:
            for f in g.fields:
                values = [self.spec.observation.get(e.observations, g.name, f.name) for e in self.seen]
                ends = np.min([v.min(0) for v in values], 0), np.max([v.max(0) for v in values], 0)
                low, high = ((end - np.asarray(f.centre)) / np.asarray(f.scale) for end in ends)
                if (most := max(np.abs(low).max(), np.abs(high).max())) > MAX_SCALED:
                    out.append(f"{g.name}.{f.name} (up to {most:.3g})")
                elif 0 < (moves := (high - low).max()) < MIN_SCALED:
                    still.append(f"{g.name}.{f.name} (moves by {moves:.2g})")
                elif not moves and not g.hidden:
                    fixed.append(f"{g.name}.{f.name}")
        if fixed:
            yield "look", f"{', '.join(fixed)} never changes in {len(self.seen)} episodes; is it the right entry?"
        if out or still:
            yield (
                "look",
                f"(x - centre) / scale should be of order 1; mend Field.centre and .scale of {', '.join(out + still)}",
            )
        else:
            yield "holds", "all fields are of order 1 after centre and scale"

    def pictures(self) -> Found:
        if not self.spec.cameras:
            return (yield "look", "no cameras: models that take pictures are told of the scene in words")
        seen = self.world.reset(self.seeds)
        for camera in self.spec.cameras:
            try:
                frames = self.world.frames(seen, camera, 64)
            except LudusError as error:  # this machine may have no OpenGL
                return (yield "look", f"{error}")
            if frames.shape != (self.world.n_envs, 64, 64, 3) or frames.dtype != np.uint8:
                said = f"frames(..., {camera!r}, 64) gives {frames.dtype} of {frames.shape}, not uint8 [n, 64, 64, 3]"
                return (yield "fails", said)
        yield "holds", f"cameras: {', '.join(self.spec.cameras)}"

    def speed(self) -> Found:
        self.world.reset(self.seeds)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < 1:
            self.world.step(self.actions[done % STEPS])
            done += 1
            if done % self.spec.episode_steps == 0:
                self.world.reset(self.seeds)
        rate = done * self.world.n_envs / (time.perf_counter() - began)
        yield (
            "holds",
            f"{rate:,.0f} control steps per second in one thread; a million take {1e6 / rate / 60:,.1f} minutes",
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def _played(
        self, world: World, order: np.ndarray | None = None, actions: np.ndarray | None = None
    ) -> list[Observations]:
        order = np.arange(world.n_envs) if order is None else order
        actions = self.actions if actions is None else actions
        first = world.reset([self.seeds[i] for i in order])
        return [{g: a.copy() for g, a in seen.items()} for seen in (first, *(world.step(a[order]) for a in actions))]

    def _first(self, place: int) -> np.ndarray:
        seen = self.world.reset(self.seeds)
        return np.concatenate([a[place].ravel().astype(np.float64) for a in seen.values()])

    def _tried(self, caption: str, actor: Actor) -> int:
        """Successes at the end of n episodes."""
        seeds = [child(self.seed, "check", caption, i) for i in range(self.n)]
        rollouts = [RolloutSpec((caption,), s) for s in seeds]
        episodes, outcomes = run(self.world, self.library, rollouts, actor, actor.name)
        self.seen += episodes
        return sum(o.success_at_end for o in outcomes)


def _row(episode: Episode, at: int) -> Observations:
    return {g: a[at : at + 1] for g, a in episode.observations.items()}


def _differs(these: list[Observations], those: list[Observations]) -> str | None:
    """The first group that is not the same in both."""
    for a, b in zip(these, those, strict=True):
        for group in a:
            if not np.array_equal(a[group], b[group]):
                return group
    return None
