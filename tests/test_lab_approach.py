"""Skills are tried from where their prerequisites hold."""

import dataclasses

import numpy as np
import pytest

from ludus.lab.actors import SeedActor
from ludus.lab.approach import Approach, find_approaches
from ludus.lab.embodiment import EvalSpec, evaluate, tries
from ludus.skills.library import Skill
from ludus.worlds.blocks.skills import extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

WORLD = BlocksWorld(3, 8, 2)
BESIDE = [s for s in extra_skills(WORLD.spec.objects) if "beside" in s.caption]
BOTH = "on_both(red, green, blue)"
PYRAMID = Skill("pyramid red on green and blue", BOTH, BOTH, 80, False, "beside(green, blue) and clear(green)")
BESIDE[0] = dataclasses.replace(BESIDE[0], prerequisites="clear(red)")
LIBRARY = WORLD.library().add(*BESIDE, PYRAMID)


def test_only_what_other_skills_bring_about_needs_an_approach():
    assert find_approaches(LIBRARY, WORLD.spec) == {
        PYRAMID.caption: Approach(PYRAMID.prerequisites, ("put green beside blue",))
    }
    assert find_approaches(WORLD.library().add(PYRAMID), WORLD.spec) == {}  # nobody can put them side by side
    assert find_approaches(LIBRARY, dataclasses.replace(WORLD.spec, episode_steps=100)) == {}
    own = dataclasses.replace(BESIDE[0], prerequisites="beside(red, green)")
    assert find_approaches(WORLD.library().add(own), WORLD.spec) == {}  # a skill does not lead to itself


def test_a_skill_is_tried_where_its_prerequisites_hold():
    spec = EvalSpec((PYRAMID.caption, "lift red"), 8, 3, approaches=find_approaches(LIBRARY, WORLD.spec))
    steps = []
    count, lift = evaluate(WORLD, LIBRARY, SeedActor(Teacher(WORLD.spec)), spec, steps.append)
    assert 0 < count.n <= 8 and lift.n == 8 and lift.successes > 4
    assert 8 * 2 * 80 < sum(steps) == spec.steps(LIBRARY)
    beside = EvalSpec(
        (PYRAMID.caption,), 4, 3, "beside", spec.approaches
    )  # two blocks stand side by side, not always these
    found = tries(WORLD, LIBRARY, SeedActor(Teacher(WORLD.spec)), [beside])
    assert [caption for caption, _ in found] == [PYRAMID.caption] * 4
    assert all(outcome is None or outcome.caption == PYRAMID.caption for _, outcome in found)


def test_where_nothing_leads_to_a_skill_it_fails():
    class Still:
        name = "still"

        def begin(self, rollouts):
            pass

        def act(self, observations, captions):
            return np.zeros((8, len(WORLD.spec.actions)), np.float32)

    spec = EvalSpec((PYRAMID.caption,), 4, 3, approaches=find_approaches(LIBRARY, WORLD.spec))
    assert [o for _, o in tries(WORLD, LIBRARY, Still(), [spec])] == [None] * 4
    (count,) = evaluate(WORLD, LIBRARY, Still(), spec)
    assert (count.n, count.successes, count.successes_once) == (4, 0, 0)


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    WORLD.close()
