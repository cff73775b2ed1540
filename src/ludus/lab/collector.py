"""Collection as a sequence of tasks: data in, episodes out, in this process or in any other.

A task names all that its episodes depend on. The same task gives the same episodes, bit for bit, wherever and however often
it is run; it reads a checkpoint at most and writes nothing. Only the driver, which iterates over the results, commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ludus.config import WorldConfig
from ludus.lab.actors import ActorSpec
from ludus.lab.embodiment import batches, run_batch
from ludus.lab.rollout import Actor, Advance, RolloutSpec
from ludus.lab.switching import rollout_steps
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, Outcome, WorldSpec
from ludus.worlds.base import World
from ludus.worlds.registry import make_world


@dataclass(frozen=True)
class CollectTask:
    """One batch of rollouts. Pickles."""

    step: str
    """Name of the step of the record that its result is committed under: 'round/1/collect/000'."""
    world: WorldConfig
    library: SkillLibrary
    rollouts: tuple[RolloutSpec, ...]
    """At most `world.n_envs`; none where all were forbidden meanwhile."""
    ids: tuple[str, ...]
    """Of the episodes, one per rollout."""
    actor: ActorSpec

    def n_steps(self, spec: WorldSpec) -> int:
        """Control steps of all its episodes together, at most."""
        return sum(rollout_steps(rollout, self.library, spec) for rollout in self.rollouts)


@dataclass(frozen=True)
class CollectResult:
    """What came of a task; episodes and outcomes in the order of its rollouts. Pickles."""

    step: str
    episodes: tuple[Episode, ...]
    outcomes: tuple[Outcome, ...]


Admit = Callable[[CollectTask], CollectTask]
"""What of a task may be run."""


def all_of(task: CollectTask) -> CollectTask:
    """Admits the whole task."""
    return task


class Collector(Protocol):
    """Runs tasks, in this process or elsewhere."""

    def map(
        self, tasks: Iterable[CollectTask], advance: Advance | None = None, admitted: Admit = all_of
    ) -> Iterator[CollectResult]:
        """The results in the order of the tasks, each as soon as it and all before it are there.

        Args:
            advance: told the number of control steps taken, here or elsewhere.
            admitted: asked of each task once its turn has come. What was run ahead and is not admitted as it was is run again as
                it is.
        """
        ...

    def close(self) -> None:
        """Leave nothing running."""
        ...


def collect_tasks(
    name: str,
    rollouts: Sequence[RolloutSpec],
    actor: ActorSpec,
    library: SkillLibrary,
    world: WorldConfig,
    spec: WorldSpec,
) -> list[CollectTask]:
    """Rollouts as tasks: steps `<name>/000`, ...; the episode of rollout i is `<name, '-' for '/'>-<i>`.

    Raises:
        LudusError: an unknown caption.
    """
    stem = name.replace("/", "-")
    tasks = []
    for k, batch in enumerate(batches(rollouts, library, spec, world.n_envs)):
        ids = tuple(f"{stem}-{i:05d}" for i in batch)
        some = tuple(rollouts[i] for i in batch)
        tasks.append(CollectTask(f"{name}/{k:03d}", world, library, some, ids, actor))
    return tasks


class LocalCollector:
    """Runs each task on one world of this process when its result is asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._actor: tuple[ActorSpec, Actor] | None = None

    def map(
        self, tasks: Iterable[CollectTask], advance: Advance | None = None, admitted: Admit = all_of
    ) -> Iterator[CollectResult]:
        """See `Collector.map`.

        Raises:
            LudusError: a task of another number of simulations, a checkpoint that cannot be read, see also `run_batch`.
        """
        for task in map(admitted, tasks):
            if task.world.n_envs != self._world.n_envs:
                raise LudusError(
                    f"task {task.step!r} is for {task.world.n_envs} simulations, this world has {self._world.n_envs}; "
                    "make both from the same settings"
                )
            if not task.rollouts:
                yield CollectResult(task.step, (), ())
                continue
            episodes, outcomes = run_batch(
                self._world, task.library, task.rollouts, task.ids, self._make(task), advance
            )
            yield CollectResult(task.step, tuple(episodes), tuple(outcomes))

    def close(self) -> None:
        """Nothing: the world is its maker's."""

    def _make(self, task: CollectTask) -> Actor:
        """The actor of the last task, if this one has the same: a checkpoint is read once per collection."""
        if self._actor is None or self._actor[0] != task.actor:
            self._actor = task.actor, task.actor.make(self._world.spec, task.world)
        return self._actor[1]


def run_task(task: CollectTask, threads: int = 1) -> CollectResult:
    """Run one task on a world of its own: what a process elsewhere does.

    Args:
        threads: of torch; a policy's bits depend on it, so give the driver's `training.threads`.
    """
    if task.actor.kind == "policy":
        import torch

        torch.set_num_threads(threads)
    world = make_world(task.world)
    try:
        return next(LocalCollector(world).map([task]))
    finally:
        world.close()
