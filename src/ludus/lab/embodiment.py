"""Executes skill sequences in E simulations at once and scores them: functions of a world, a library and rollouts.

Rollouts run in *batches* of at most E. An episode depends on its own rollout only, never on the others of its batch or on
when and how often it is run. So a batch that a crash cut short is run again with the same result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ludus.lab.approach import Approaches
from ludus.lab.rollout import Actor, Advance, RolloutSpec
from ludus.lab.switching import Commands, rollout_steps
from ludus.seeding import successive
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, Observations, Outcome, Segment, SuccessCount, WorldSpec
from ludus.worlds.base import World

Schedule = list[tuple[int, int, str]]
"""`(first step, one past the last step, caption)` of each skill of an episode."""
Score = tuple[bool, bool, float]
"""Success at the last observation of a segment, success at any of them, mean reward."""


# --- looking -----------------------------------------------------------------------------------------------------


def look(world: World, seeds: Sequence[int], starts: Sequence[str | None] | str | None = None) -> Observations:
    """The first observations of episodes with these seeds: `[len(seeds), size]` per group. Resets the world.

    Args:
        starts: one start distribution for all seeds, or one each; None is the world's default.

    Raises:
        LudusError: an unknown start.
    """
    n_envs, parts = world.n_envs, []
    if starts is None or isinstance(starts, str):
        starts = [starts] * len(seeds)
    for first in range(0, len(seeds), n_envs):
        part = slice(first, first + n_envs)
        padded = [world.spec.starts[0] if s is None else s for s in _pad(starts[part], n_envs)]
        seen = world.reset(_pad(seeds[part], n_envs), padded)
        parts.append({group: array[: len(seeds[part])].copy() for group, array in seen.items()})
    return {group: np.concatenate([part[group] for part in parts]) for group in parts[0]}


# --- what runs together ------------------------------------------------------------------------------------------


def fits(captions: Sequence[str], library: SkillLibrary, spec: WorldSpec) -> bool:
    """Whether an episode has time for all of these skills."""
    return sum(library[c].steps for c in captions) <= spec.episode_steps


def episode_steps(captions: Sequence[str], library: SkillLibrary, spec: WorldSpec) -> int:
    """Control steps of an episode that runs these skills; at most those of the world's episode.

    Raises:
        LudusError: an unknown caption.
    """
    return min(sum(library[c].steps for c in captions), spec.episode_steps)


def batches(
    rollouts: Sequence[RolloutSpec], library: SkillLibrary, spec: WorldSpec, n_envs: int
) -> list[tuple[int, ...]]:
    """Indices of the rollouts that run together, at most `n_envs` per batch. Sorted by length: a batch lasts as long as
    its longest episode.

    Raises:
        LudusError: an unknown caption.
    """
    order = sorted(range(len(rollouts)), key=lambda i: rollout_steps(rollouts[i], library, spec))
    return [tuple(order[first : first + n_envs]) for first in range(0, len(order), n_envs)]


# --- acting ------------------------------------------------------------------------------------------------------


def run_batch(
    world: World,
    library: SkillLibrary,
    rollouts: Sequence[RolloutSpec],
    ids: Sequence[str],
    actor: Actor,
    advance: Advance | None = None,
) -> tuple[list[Episode], list[Outcome]]:
    """Run at most `world.n_envs` rollouts at once; episodes and outcomes in the order of the rollouts.

    Args:
        ids: of the episodes, one per rollout.

    Raises:
        LudusError: a rollout without captions, more rollouts than simulations, an unknown caption or start.
    """
    if len(rollouts) > world.n_envs:
        raise LudusError(
            f"{len(rollouts)} rollouts in one batch of {world.n_envs} simulations; split them, see `batches`"
        )
    commands = Commands(_check(rollouts), library, world.spec)
    log = _log(world, rollouts, commands, actor, advance)
    schedules = [_schedule(commands, i) for i in range(len(rollouts))]
    scores = _scores(library, schedules, log.observations)
    episodes, outcomes = [], []
    for i, (rollout, schedule) in enumerate(zip(rollouts, schedules, strict=True)):
        length = schedule[-1][1]
        segments = tuple(Segment(first, c, library[c].hash) for first, _, c in schedule)
        endings = {} if rollout.switching is None else {"endings": list(commands.endings[i])}
        episode = Episode(
            id=ids[i],
            observations={g: a[i, : length + 1] for g, a in log.observations.items()},
            actions=log.actions[i, :length],
            segments=segments,
            actor=rollout.actor or actor.name,
            world=world.spec.fingerprint,
            seed=rollout.seed,
            start=_start(world, rollout),
            snapshot=log.snapshots[i].copy(),
            ended="terminal" if commands.terminal[i] else "time",
            info=dict(rollout.info) | endings,
        )
        episodes.append(episode)
        for k, segment in enumerate(segments):
            outcomes.append(Outcome(ids[i], k, segment.caption, segment.skill, *scores[i, segment.start]))
    return episodes, outcomes


def run_batches(
    world: World,
    library: SkillLibrary,
    rollouts: Sequence[RolloutSpec],
    actor: Actor,
    name: str,
    advance: Advance | None = None,
) -> Iterator[tuple[list[Episode], list[Outcome]]]:
    """Run any number of rollouts, one batch after the other. Episode ids are `<name>-<index of the rollout>`.

    Raises:
        LudusError: see `run_batch`.
    """
    for batch in batches(rollouts, library, world.spec, world.n_envs):
        ids = [f"{name}-{i:05d}" for i in batch]
        yield run_batch(world, library, [rollouts[i] for i in batch], ids, actor, advance)


def run(
    world: World,
    library: SkillLibrary,
    rollouts: Sequence[RolloutSpec],
    actor: Actor,
    name: str,
    advance: Advance | None = None,
) -> tuple[list[Episode], list[Outcome]]:
    """As `run_batches`, all batches together; episodes and outcomes in the order of the rollouts."""
    episodes: list[Episode] = []
    outcomes: list[Outcome] = []
    for some_episodes, some_outcomes in run_batches(world, library, rollouts, actor, name, advance):
        episodes += some_episodes
        outcomes += some_outcomes
    return sorted(episodes, key=lambda e: e.id), sorted(outcomes, key=lambda o: (o.episode, o.segment))


# --- evaluating --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvalSpec:
    """Which skills to try, and how often."""

    captions: tuple[str, ...]
    n: int
    """Episodes per skill."""
    seed: int
    """A named child seed of its own, so that an evaluation never begins where an episode of the training data did."""
    start: str | None = None
    approaches: Approaches = field(default_factory=dict)

    @property
    def rollouts(self) -> list[RolloutSpec]:
        """One rollout per skill and episode, of this skill alone or after its approach."""
        return [self._rollout(c, s) for c in self.captions for s in successive(self.seed, "evaluate", c, n=self.n)]

    def _rollout(self, caption: str, seed: int) -> RolloutSpec:
        approach = self.approaches.get(caption)
        program = None if approach is None else approach.program(caption)
        return RolloutSpec((caption,), seed, self.start, program=program)

    def steps(self, library: SkillLibrary) -> int:
        """Control steps of all episodes together, at most, for a progress bar."""
        before = (c for caption in self.captions if (a := self.approaches.get(caption)) for c in a.captions)
        return self.n * sum(library[c].steps for c in (*self.captions, *before))


def tries(
    world: World,
    library: SkillLibrary,
    actor: Actor,
    specs: Sequence[EvalSpec],
    advance: Advance | None = None,
) -> list[tuple[str, Outcome | None]]:
    """The skill and the outcome of each rollout of the specs, in order; None where its approach led nowhere. No episode is kept.

    Raises:
        LudusError: an unknown caption or start.
    """
    told = [(s.approaches.get(r.captions[0]), r) for s in specs for r in s.rollouts]
    found: dict[str, Outcome | None] = {}
    for episodes, outcomes in run_batches(world, library, [r for _, r in told], actor, "evaluation", advance):
        last = {outcome.episode: outcome for outcome in outcomes}
        for episode in episodes:
            approach, rollout = told[int(episode.id.rpartition("-")[2])]
            ready = approach is None or approach.led_to(rollout.captions[0], episode, library)
            found[episode.id] = last[episode.id] if ready else None
    return [(r.captions[0], found[i]) for i, (_, r) in zip(sorted(found), told, strict=True)]


def evaluate(
    world: World, library: SkillLibrary, actor: Actor, spec: EvalSpec, advance: Advance | None = None
) -> list[SuccessCount]:
    """Try each skill `spec.n` times; one count per caption, in order. Tries to which no approach led are not counted, unless
    there is no other one: then all have failed.

    Raises:
        LudusError: an unknown caption or start.
    """
    counts = {c: [0, 0, 0] for c in spec.captions}
    for caption, outcome in tries(world, library, actor, [spec], advance):
        if outcome is not None:
            count = counts[caption]
            count[0] += 1
            count[1] += outcome.success_at_end
            count[2] += outcome.success_once
    found = {c: counts[c] if counts[c][0] else [spec.n, 0, 0] for c in spec.captions}
    return [SuccessCount(c, library[c].hash, *found[c]) for c in spec.captions]


# --- inside a batch ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Log:
    """What N rollouts saw and did until the longest of them ended, after T steps."""

    observations: Observations
    """`[N, T+1, *shape]` per group."""
    actions: np.ndarray
    """`[N, T, A]` float32."""
    snapshots: np.ndarray
    """`[E, S]` float64: full state before the first action."""


def _check(rollouts: Sequence[RolloutSpec]) -> Sequence[RolloutSpec]:
    if not all(rollout.captions for rollout in rollouts):
        raise LudusError("an episode needs at least one skill; this rollout has none")
    return rollouts


def _schedule(commands: Commands, robot: int) -> Schedule:
    """What the robot was told, and when."""
    segments = commands.segments[robot]
    lasts = [*(first for first, _ in segments[1:]), int(commands.lengths[robot])]
    return [(first, last, caption) for (first, caption), last in zip(segments, lasts, strict=True)]


def _log(
    world: World, rollouts: Sequence[RolloutSpec], commands: Commands, actor: Actor, advance: Advance | None
) -> _Log:
    """Step the world until the last episode is over. Unused simulations begin as the last rollout does, and rest."""
    n, n_steps = len(rollouts), commands.most_steps
    padded = _pad(rollouts, world.n_envs)
    unused = [rollout.captions[0] for rollout in padded[n:]]
    observations = world.reset([r.seed for r in padded], [_start(world, r) for r in padded])
    log = _Log(
        {g.name: np.empty((n, n_steps + 1, *g.shape), g.dtype) for g in world.spec.observation.groups},
        np.empty((n, n_steps, len(world.spec.actions)), np.float32),
        world.snapshot(),
    )
    for group, array in observations.items():
        log.observations[group][:, 0] = array[:n]
    actor.begin(padded)
    commands.begin(observations)
    awake = None
    for t in range(n_steps):
        running = int(commands.running.sum())
        if not running:
            break
        if running != awake:
            awake = running
            world.rest(np.append(~commands.running, np.ones(world.n_envs - n, bool)))
        actions = np.clip(actor.act(observations, [*commands.now, *unused]), -1, 1).astype(np.float32, copy=False)
        observations = world.step(actions)
        log.actions[:, t] = actions[:n]
        for group, array in observations.items():
            log.observations[group][:, t + 1] = array[:n]
        commands.see(t + 1, observations, world.ended()[:n])
        if advance is not None:
            advance(running)
    return log


def _scores(
    library: SkillLibrary, schedules: Sequence[Schedule], observations: Observations
) -> dict[tuple[int, int], Score]:
    """Score of each segment by (index of the episode, first step). Segments of the same skill and steps are scored in one
    call: the same function and the same observations as step by step, at a fraction of the calls."""
    together: dict[tuple[int, int, str], list[int]] = defaultdict(list)
    for i, schedule in enumerate(schedules):
        for first, last, caption in schedule:
            together[first, last, caption].append(i)
    scores: dict[tuple[int, int], Score] = {}
    for (first, last, caption), rows in together.items():
        segment = {g: a[rows, first + 1 : last + 1] for g, a in observations.items()}
        rewards, successes = library.rewards(caption, segment)
        for i, r, s in zip(rows, np.asarray(rewards), np.asarray(successes), strict=True):
            scores[i, first] = bool(s[-1]), bool(s.any()), float(np.mean(r, dtype=np.float64))
    return scores


def _start(world: World, rollout: RolloutSpec) -> str:
    return world.start_of(rollout.captions[0]) if rollout.start is None else rollout.start


def _pad(items: Sequence[Any], n: int) -> list[Any]:
    """The items, the last one repeated until there are n."""
    return [*items, *[items[-1]] * (n - len(items))]
