"""Collection as data: a task gives the same episodes in any process; results come in the order of the tasks."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from ludus.agents.trainer import Trainer
from ludus.config import AgentConfig, SeedDataConfig, TrainingConfig, WorldConfig
from ludus.lab.actors import ActorSpec, EpsilonZGreedy, seed_rollouts
from ludus.lab.collector import LocalCollector, collect_tasks, run_task
from ludus.lab.embodiment import batches, episode_steps, run
from ludus.types import LudusError
from ludus.worlds.registry import make_world

WORLD = WorldConfig(n_blocks=2, n_envs=3, threads=1)
ACTORS = {
    "teacher": ActorSpec("teacher"),
    "random": ActorSpec("random"),
    "policy": ActorSpec("policy", "CHECKPOINT", temperature=0.7, exploration=0.2),
}


@pytest.fixture(scope="module")
def world():
    world = make_world(WORLD)
    yield world
    world.close()


@pytest.fixture(scope="module")
def checkpoint(world, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "policy.pt"
    config = AgentConfig(width=16, latents=2, action_bins=11, value_atoms=21)
    Trainer(config, world.spec, 10, 0, TrainingConfig(processes=1)).save(path)
    return str(path)


@pytest.fixture(scope="module")
def elsewhere():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def tasks_of(world, actor, n=5, name="round/1/collect"):
    library = world.library()
    rollouts = seed_rollouts(library, SeedDataConfig(episodes=n, segments=1), seed=4)
    return collect_tasks(name, rollouts, actor, library, WORLD, world.spec)


def assert_same(a, b):
    assert (a.step, a.outcomes) == (b.step, b.outcomes)
    assert len(a.episodes) == len(b.episodes) > 0
    for x, y in zip(a.episodes, b.episodes, strict=True):
        assert (x.id, x.segments, x.seed, x.start, x.actor, x.world) == (
            y.id, y.segments, y.seed, y.start, y.actor, y.world,
        )  # fmt: skip
        assert dict(x.info) == dict(y.info)
        for group in x.observations:
            np.testing.assert_array_equal(x.observations[group], y.observations[group])
        np.testing.assert_array_equal(x.actions, y.actions)
        np.testing.assert_array_equal(x.snapshot, y.snapshot)


@pytest.mark.parametrize("kind", ACTORS)
def test_a_task_gives_the_same_episodes_in_another_process(world, checkpoint, elsewhere, kind):
    spec = ACTORS[kind]
    spec = ActorSpec(spec.kind, spec.checkpoint and checkpoint, spec.temperature, spec.exploration)
    first, second = tasks_of(world, spec)
    here = list(LocalCollector(world).map([first, second]))
    assert_same(elsewhere.submit(run_task, pickle.loads(pickle.dumps(second))).result(300), here[1])
    (again,) = LocalCollector(world).map([first])  # a second time, with nothing before it
    assert_same(again, here[0])
    assert_same(pickle.loads(pickle.dumps(again)), here[0])


def test_tasks_are_named_by_step_and_rollout(world):
    tasks = tasks_of(world, ActorSpec("random"))
    assert [t.step for t in tasks] == ["round/1/collect/000", "round/1/collect/001"]
    assert sorted(i for t in tasks for i in t.ids) == [f"round-1-collect-{i:05d}" for i in range(5)]
    library = tasks[0].library
    rollouts = [r for t in tasks for r in t.rollouts]
    assert [len(t.rollouts) for t in tasks] == [len(b) for b in batches(rollouts, library, world.spec, WORLD.n_envs)]
    assert sum(t.n_steps(world.spec) for t in tasks) == sum(
        episode_steps(r.captions, library, world.spec) for r in rollouts
    )


def test_results_come_in_order_and_one_at_a_time(world):
    tasks = tasks_of(world, ActorSpec("random"))
    steps: list[int] = []
    results = LocalCollector(world).map(tasks, steps.append)
    assert not steps  # nothing moves before it is asked for
    first = next(results)
    assert sum(steps) == tasks[0].n_steps(world.spec) == sum(e.n_steps for e in first.episodes)
    second = next(results)
    assert [first.step, second.step] == [t.step for t in tasks]
    rollouts = sorted(zip([i for t in tasks for i in t.ids], [r for t in tasks for r in t.rollouts], strict=True))
    episodes, _ = run(world, tasks[0].library, [r for _, r in rollouts], ActorSpec("random").make(world.spec), "e")
    by_seed = {e.seed: e for e in episodes}
    for episode in (*first.episodes, *second.episodes):  # as all of them together, whatever the batches
        np.testing.assert_array_equal(episode.actions, by_seed[episode.seed].actions)


def test_a_checkpoint_is_read_once_per_collection(world, checkpoint, monkeypatch):
    made = []
    make = ActorSpec.make
    monkeypatch.setattr(ActorSpec, "make", lambda self, *about: made.append(self) or make(self, *about))
    list(LocalCollector(world).map(tasks_of(world, ActorSpec("policy", checkpoint))))
    assert len(made) == 1


def test_actors_from_data(world, checkpoint):
    policy = ActorSpec("policy", checkpoint, temperature=0.5).make(world.spec)
    assert policy.name == "policy" and policy.temperature == 0.5
    assert isinstance(ActorSpec("policy", checkpoint, exploration=0.1).make(world.spec), EpsilonZGreedy)
    for spec, message in (
        (ActorSpec("policy"), "give its path"),
        (ActorSpec("policy", "nowhere.pt"), "nowhere.pt is missing"),
        (ActorSpec("teachr"), "unknown actor 'teachr'; nearest: 'teacher'"),
    ):
        with pytest.raises(LudusError, match=message):
            spec.make(world.spec)


def test_a_task_for_another_number_of_simulations_is_refused(world):
    (task, *_) = tasks_of(world, ActorSpec("random"))
    other = make_world(WorldConfig(n_blocks=2, n_envs=1, threads=1))
    with pytest.raises(LudusError, match="is for 3 simulations, this world has 1"):
        next(LocalCollector(other).map([task]))
    other.close()
