"""OGBench's cubes behind our interface: their physics, goals and success, our determinism."""

import numpy as np
import pytest

from ludus.skills.library import SkillLibrary
from ludus.types import LudusError
from ludus.worlds.ogbench.play import COPIES, play
from ludus.worlds.ogbench.skills import extra_skills, first_things_first
from ludus.worlds.ogbench.world import STATE, CubesWorld, mj, simulation


@pytest.fixture(scope="module")
def world():
    with_two = CubesWorld("double", 3, 2)
    yield with_two
    with_two.close()


def rollout(world, steps=12, seeds=(5, 6, 7)):
    draw = np.random.default_rng(0)
    return [world.reset(list(seeds)), *[world.step(draw.uniform(-1, 1, (3, 5))) for _ in range(steps)]]


def same(one, other):
    return all(np.array_equal(a[g], b[g]) for a, b in zip(one, other, strict=True) for g in a)


def test_same_seeds_same_bits_at_any_number_of_threads(world):
    other = CubesWorld("double", 3, 1)
    first = rollout(world)
    assert same(first, rollout(other)) and same(first, rollout(world))
    other.close()
    # and an episode does not depend on its neighbours
    moved = rollout(world, seeds=(8, 6, 9))
    assert np.array_equal(moved[0]["red"][1], first[0]["red"][1])
    world.reset([5, 6, 7])
    world.rest(np.array([True, False, True]))
    draw = np.random.default_rng(0)
    rested = [world.step(draw.uniform(-1, 1, (3, 5))) for _ in range(12)]
    assert all(np.array_equal(a["arm"][1], b["arm"][1]) for a, b in zip(rested, first[1:], strict=True))
    assert np.array_equal(rested[-1]["arm"][0], rested[0]["arm"][0])


def test_a_snapshot_is_all_there_is(world):
    draw = np.random.default_rng(1)
    rollout(world)
    snapshot, actions = world.snapshot(), draw.uniform(-1, 1, (10, 3, 5))
    first = [world.step(a) for a in actions]
    world.restore(snapshot)
    assert same(first, [world.step(a) for a in actions])


def test_a_step_is_theirs(world):
    """Against their own environment, stepped by its own `step`."""
    world.reset([1, 2, 3], "task2")
    theirs = simulation("double")
    n = world._n_state
    mj.mj_setState(theirs._model, theirs._data, np.ascontiguousarray(world.snapshot()[1, :n]), STATE)
    mj.mj_forward(theirs._model, theirs._data)
    draw = np.random.default_rng(2)
    for _ in range(20):
        actions = draw.uniform(-1, 1, (3, 5))
        seen = world.step(actions)
        _, _, _, _, info = theirs.step(actions[1])
    assert np.allclose(seen["gripper"][1, :3], info["proprio/effector_pos"], atol=1e-4)
    assert np.allclose(seen["gripper"][1, 3], info["proprio/effector_yaw"], atol=1e-3)
    assert np.allclose(seen["gripper"][1, 6], info["proprio/gripper_opening"], atol=1e-3)
    assert np.allclose(seen["blue"][1, :3], info["privileged/block_1_pos"], atol=1e-4)


@pytest.mark.parametrize("task", range(1, 6))
def test_their_five_tasks(world, task):
    seen = world.reset([3, 4, 5], f"task{task}")
    info = world.simulations[0].task_infos[task - 1]
    goals = np.array([seen["red goal"][0, :3], seen["blue goal"][0, :3]])
    order = [0, 1] if np.allclose(goals[0], info["goal_xyzs"][0]) else [1, 0]  # they permute the cubes
    assert np.allclose(goals, info["goal_xyzs"][order], atol=1e-6)
    starts = np.array([seen["red"][0, :2], seen["blue"][0, :2]])
    assert np.allclose(starts, info["init_xyzs"][order, :2], atol=0.011)


@pytest.fixture(scope="module")
def played(world):
    """A thousand steps of play."""
    (episode,) = play("double", world.library(), [11], "play", processes=1)
    return episode


def test_play_puts_cubes_at_goals_and_success_is_theirs(world, played):
    library, episode = world.library(), played
    (again,) = play("double", library, [11], "play", processes=1)
    assert np.array_equal(episode.actions, again.actions) and episode.n_steps == 1000
    assert len(episode.segments) > 8
    results = []
    for segment, first, last in episode.segment_bounds()[:-1]:
        seen = {g: a[first + 1 : last + 1] for g, a in episode.observations.items()}
        success = library.rewards(segment.caption, seen)[1]
        cube = segment.caption.split()[1]
        gap = np.linalg.norm(seen[cube][:, :3] - seen[f"{cube} goal"][:, :3], axis=-1)
        assert np.array_equal(success, gap <= np.float32(0.04))  # their rule
        results.append(success[-1])
    assert np.mean(results) > 0.7
    SkillLibrary(world.vocabulary, extra_skills(world.spec.objects))


def test_in_hindsight_a_goal_is_where_the_cube_came_to_be(world, played):
    library, told = world.library(), played
    retold = list(play("double", library, [11], "play", hindsight=True, processes=1))
    assert len({e.id for e in retold}) == len(retold) == COPIES
    for episode in retold:
        assert np.array_equal(episode.actions, told.actions)
        assert np.array_equal(episode.observations["red"], told.observations["red"])
        for segment, first, end in episode.segment_bounds():
            cube = segment.caption.split()[1]
            goal = episode.observations[f"{cube} goal"][first + 1 : end + 1, :7]
            assert (goal == goal[0]).all()
            future = episode.observations[cube][first + 1 : first + 201, :7]
            assert (future == goal[0]).all(1).any()


def test_towers_are_built_upwards_and_taken_down_from_the_top(world):
    seen = world.reset([3, 4, 5], "task5")  # one cube on the other
    low = np.argmin([seen["red goal"][:, 2], seen["blue goal"][:, 2]], 0)
    assert np.array_equal(first_things_first(world.spec, seen).argmin(1), low)
    seen["red"][:, :3] = seen["blue"][:, :3] + [0.005, 0, 0.04]
    assert (first_things_first(world.spec, seen).argmin(1) == 0).all()
    seen["red"][:, :3], seen["blue"][:, :3] = [0.4, 0.2, 0.02], seen["red goal"][:, :3]
    assert (first_things_first(world.spec, seen).argmin(1) == 1).all()  # blue is in red's way


def test_mistakes_are_named(world):
    with pytest.raises(LudusError, match="nearest: 'double'"):
        CubesWorld("doubel")
    with pytest.raises(LudusError, match="unknown start"):
        world.reset([1, 2, 3], "task6")
    world.reset([1, 2, 3])
    with pytest.raises(LudusError, match="finite"):
        world.step(np.full((3, 5), np.nan))


@pytest.mark.render
def test_it_can_be_looked_at(world):
    seen = world.reset([3, 4, 5], "task2")
    frames = world.frames(seen, size=128)
    assert frames.shape == (3, 128, 128, 3) and frames.std() > 20
