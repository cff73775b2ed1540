"""The teacher of blocks: that it can do what it is told, that its noise is its own, and its manners."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, Observations
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.blocks.teacher import VERBS, Teacher
from ludus.worlds.blocks.world import BlocksWorld

BASE = ("open", "reach", "grasp", "lift", "hover", "stack", "leave")


def skills_of(world: BlocksWorld) -> SkillLibrary:
    objects = world.spec.objects
    return SkillLibrary(world.vocabulary, base_skills(objects) + extra_skills(objects))


def captions_of(library: SkillLibrary, verb: str) -> list[str]:
    """All captions of a verb, e.g. 'stack red on green', ... for 'stack'."""
    objects = library.vocabulary.objects
    pattern = {" ".join("#" if w in objects else w for w in c.split()): [] for c in library.captions}
    for c in library.captions:
        pattern[" ".join("#" if w in objects else w for w in c.split())].append(c)
    return next(found for p, found in pattern.items() if VERBS[p] == verb)


class Rollout(NamedTuple):
    seen: Observations  # [T+1, E, size]
    success: np.ndarray  # [T, E] of each simulation's own caption, scored as it went along


def roll(
    captions: Sequence[str],
    steps: int = 80,
    start: str = "scattered",
    noise: float = 0.0,
    threads: int = 1,
    n_blocks: int = 3,
    run: str = "",
) -> Rollout:
    """One episode per caption."""
    world = BlocksWorld(n_blocks, len(captions), threads=threads)
    library, teacher = skills_of(world), Teacher(world.spec)
    seeds = [child(0, "test-teacher", run, start, i) for i in range(len(captions))]
    teacher.begin(seeds, np.full(len(captions), noise))
    observations = world.reset(seeds, start)
    seen = [observations]
    success = np.zeros((steps, len(captions)), bool)
    for t in range(steps):
        observations = world.step(teacher.act(observations, captions))
        seen.append(observations)
        for caption in set(captions):
            rows = [i for i, c in enumerate(captions) if c == caption]
            success[t, rows] = library.rewards(caption, {g: v[rows] for g, v in observations.items()})[1]
    return Rollout({g: np.stack([o[g] for o in seen]) for g in observations}, success)


@pytest.fixture(scope="module")
def library() -> SkillLibrary:
    return skills_of(BlocksWorld(3, 1, threads=1))


@pytest.fixture(scope="module")
def clean(library: SkillLibrary) -> tuple[list[str], Rollout]:
    captions = [c for verb in BASE for c in captions_of(library, verb)]
    return captions, roll(captions)


def test_without_noise_it_does_every_base_skill(clean: tuple[list[str], Rollout]) -> None:
    captions, (_, success) = clean
    failed = [c for c, s in zip(captions, success[-1], strict=True) if not s]
    assert not failed


@pytest.mark.parametrize("start", ["held", "stacked", "beside"])
def test_it_does_the_base_skills_from_other_starts(library: SkillLibrary, start: str) -> None:
    captions = [c for verb in BASE for c in captions_of(library, verb)]
    assert roll(captions, start=start).success[-1].mean() >= 0.85  # taking a stack down and building another is long


def test_it_puts_blocks_side_by_side_and_builds_towers_and_pyramids(library: SkillLibrary) -> None:
    captions = [c for verb in ("beside", "tower", "pyramid") for c in captions_of(library, verb)]
    assert roll(captions, steps=130).success[-1].mean() >= 0.9


def test_it_keeps_its_success_when_time_goes_on(library: SkillLibrary) -> None:
    captions = [captions_of(library, verb)[0] for verb in (*BASE, "beside", "tower", "pyramid")]
    success = roll(captions, steps=240, run="stay").success
    assert success[140:].all(0).mean() >= 0.9


def test_it_moves_no_block_but_the_one_it_was_told_to(clean: tuple[list[str], Rollout]) -> None:
    captions, (seen, _) = clean
    moved = []
    for i, caption in enumerate(captions):
        told = next((w for w in caption.split() if w in seen), None)
        others = [c for c in ("red", "green", "blue") if c != told]
        moved += [np.linalg.norm(seen[c][-1, i, :2] - seen[c][0, i, :2]) for c in others]
    assert np.quantile(moved, 0.95) < 0.01


def test_it_puts_down_a_block_that_is_in_the_way_instead_of_dropping_it(library: SkillLibrary) -> None:
    captions = captions_of(library, "grasp") * 8
    seen, success = roll(captions, start="held")
    assert success[-1].mean() >= 0.95
    for i, caption in enumerate(captions):
        touched = {c: np.all(seen[c][:, i, 13:15] > 0, axis=-1) for c in ("red", "green", "blue")}
        held = next(c for c, t in touched.items() if t[0])
        if held in caption:
            continue
        let_go = np.flatnonzero(~touched[held])[0]  # the first time that a pad is off it
        assert seen[held][let_go, i, 2] < 0.035
        assert np.abs(seen[held][-1, i, 2] - 0.02) < 0.002


def test_noise_ruins_more_and_more(library: SkillLibrary) -> None:
    captions = captions_of(library, "stack") * 5
    rates = [roll(captions, noise=level).success.any(0).mean() for level in (0.0, 0.2, 0.4, 0.7)]
    assert rates[0] > 0.95 and 0.5 < rates[1] < 0.95 and 0.0 < rates[2] < 0.3 and rates[3] < 0.05


def scenes(n: int) -> tuple[BlocksWorld, Observations]:
    world = BlocksWorld(3, n, threads=1)
    starts = [world.spec.starts[i % 4] for i in range(n)]
    return world, world.reset(range(n), starts)


def test_an_episode_does_not_depend_on_its_neighbours(library: SkillLibrary) -> None:
    n = len(library)
    world, observations = scenes(n)
    captions, levels, chance = list(library.captions), np.linspace(0, 0.8, n), np.arange(n) % 7 == 0
    teacher = Teacher(world.spec)
    teacher.begin(range(n), levels, chance)
    whole = [teacher.act(observations, captions) for _ in range(30)]
    for rows in (np.arange(n)[::-1], np.arange(0, n, 3), np.array([5])):
        teacher.begin(rows.tolist(), levels[rows], chance[rows])
        for actions in whole:
            part = teacher.act({g: v[rows] for g, v in observations.items()}, [captions[i] for i in rows])
            np.testing.assert_array_equal(part, actions[rows])


def test_the_same_seed_and_scene_give_the_same_actions_and_another_seed_others(library: SkillLibrary) -> None:
    world, observations = scenes(4)
    teacher, captions = Teacher(world.spec), ["stack red on green"] * 4

    def actions(seeds: list[int], level: float) -> np.ndarray:
        teacher.begin(seeds, np.full(4, level))
        return np.stack([teacher.act(observations, captions) for _ in range(50)])

    first = actions([1, 2, 3, 4], 0.5)
    assert first.dtype == np.float32 and np.abs(first).max() <= 1
    np.testing.assert_array_equal(first, actions([1, 2, 3, 4], 0.5))
    assert not np.array_equal(first, actions([5, 6, 7, 8], 0.5))
    quiet = actions([1, 2, 3, 4], 0.0)
    assert (quiet == quiet[0]).all()  # a function of what is seen alone
    np.testing.assert_array_equal(quiet, actions([5, 6, 7, 8], 0.0))


def test_random_robots_ignore_their_caption() -> None:
    world, observations = scenes(8)
    teacher, chance = Teacher(world.spec), np.arange(8) < 4
    runs = []
    for caption in ("reach red", "stack blue on green"):
        teacher.begin(range(8), np.zeros(8), chance)
        runs.append(np.stack([teacher.act(observations, [caption] * 8) for _ in range(400)]))
    np.testing.assert_array_equal(runs[0][:, :4], runs[1][:, :4])
    assert not np.array_equal(runs[0][:, 4:], runs[1][:, 4:])
    random: np.ndarray = runs[0][:, :4]
    assert np.abs(random.mean()) < 0.05 and 0.5 < random.std() < 0.65  # uniform on [-1, 1]: 0.577
    assert 0.15 < np.mean(np.any(np.diff(random, axis=0) != 0, axis=-1)) < 0.35  # held for about four steps


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 8])
def test_it_knows_every_skill_of_the_world(n_blocks: int) -> None:
    world = BlocksWorld(n_blocks, 1, threads=1)
    captions = skills_of(world).captions
    observations = {g: v.repeat(len(captions), axis=0) for g, v in world.reset([1]).items()}
    assert np.isfinite(Teacher(world.spec).act(observations, captions)).all()


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("juggle red", "unknown caption for the teacher 'juggle red'"),
        ("reach violet", "unknown caption"),
        ("stack red", "nearest: 'stack # on #'"),
        ("stack red on red", "names a block twice"),
    ],
)
def test_it_says_what_it_cannot_do(caption: str, says: str) -> None:
    world, observations = scenes(2)
    with pytest.raises(LudusError, match=says):
        Teacher(world.spec).act(observations, [caption] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("verb", BASE)
def test_without_noise_97_percent_of_256_episodes_succeed(library: SkillLibrary, verb: str) -> None:
    captions = captions_of(library, verb)
    captions = (captions * 256)[:256]
    assert roll(captions, threads=0, run=verb).success[-1].mean() >= 0.97
