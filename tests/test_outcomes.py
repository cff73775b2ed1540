"""One definition of success: what a robot earned while it acted is what its logged episode says afterwards."""

import numpy as np
import pytest

from ludus.config import preset
from ludus.data import EpisodeStore, Relabeller, outcomes
from ludus.lab.actors import SeedActor
from ludus.lab.embodiment import run
from ludus.lab.rollout import RolloutSpec
from ludus.seeding import rng
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Outcome
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

N = 24


@pytest.fixture(scope="module")
def world() -> BlocksWorld:
    return BlocksWorld(3, N, threads=1)


@pytest.fixture(scope="module")
def library(world: BlocksWorld) -> SkillLibrary:
    objects = world.spec.objects
    return SkillLibrary(world.vocabulary, base_skills(objects) + extra_skills(objects))


@pytest.fixture(scope="module")
def lived(world: BlocksWorld, library: SkillLibrary) -> tuple[list[Episode], list[Outcome]]:
    """Two skills each, from every start, good and bad and random robots."""
    draw, starts = rng(0, "outcomes"), world.spec.starts
    rollouts = [
        RolloutSpec(
            tuple(draw.choice(library.captions, 2).tolist()),
            seed,
            starts[seed % len(starts)],
            "random" if seed % 8 == 7 else "teacher",
            {"noise": 0.15 * (seed % 3)},
        )
        for seed in range(N)
    ]
    return run(world, library, rollouts, SeedActor(Teacher(world.spec)), "seed")


def test_success_while_stepping_is_success_of_the_log(
    world: BlocksWorld, library: SkillLibrary, lived: tuple[list[Episode], list[Outcome]]
) -> None:
    """Replays each episode's actions, scoring every skill at every single step; then all at once from the log."""
    episodes, _ = lived
    world.reset([e.seed for e in episodes], [e.start for e in episodes])
    observations = world.restore(np.stack([e.snapshot for e in episodes]))
    steps = min(e.n_steps for e in episodes)
    rewards, successes = [], []
    for t in range(steps + 1):
        reward, success = library.score(observations)  # [skills, E]
        rewards.append(reward)
        successes.append(success)
        if t < steps:
            observations = world.step(np.stack([e.actions[t] for e in episodes]))
    for i, e in enumerate(episodes):
        reward, success = library.score({g: v[: steps + 1] for g, v in e.observations.items()})
        np.testing.assert_array_equal(success, np.stack(successes, 1)[..., i])
        np.testing.assert_allclose(reward, np.stack(rewards, 1)[..., i], atol=1e-5)  # tanh rounds by place in an array


def test_outcomes_of_the_room_are_those_of_the_stored_episodes(
    library: SkillLibrary, lived: tuple[list[Episode], list[Outcome]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    episodes, online = lived
    store = EpisodeStore.create(tmp_path_factory.mktemp("run"), preset("tiny"))
    store.append(episodes, step="seed/0")
    stored = [o for episode in store for o in outcomes(library, [episode])]
    assert sorted((o.episode, o.segment) for o in stored) == [(o.episode, o.segment) for o in online]
    for ours, theirs in zip(sorted(stored, key=lambda o: (o.episode, o.segment)), online, strict=True):
        assert (ours.caption, ours.skill, ours.success_at_end, ours.success_once) == (
            theirs.caption,
            theirs.skill,
            theirs.success_at_end,
            theirs.success_once,
        )
        assert ours.reward == pytest.approx(theirs.reward, abs=1e-5)
    assert 0 < sum(o.success_at_end for o in stored) < len(stored)  # neither all nor nothing: the test has teeth


def test_relabelled_columns_are_the_success_of_each_observation(
    library: SkillLibrary, lived: tuple[list[Episode], list[Outcome]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    episodes, _ = lived
    store = EpisodeStore.create(tmp_path_factory.mktemp("run"), preset("tiny"))
    store.append(episodes, step="seed/0")
    shard = store.shards()[0]
    for _ in range(2):  # computed, then from the cache
        _, success = Relabeller(store, library).columns(shard)
        first = 0
        for row in shard.episodes:
            episode = store.load(row.id)
            n = episode.n_steps + 1
            np.testing.assert_array_equal(success[:, first : first + n], library.score(episode.observations)[1])
            first += n
