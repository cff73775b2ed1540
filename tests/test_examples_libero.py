"""examples/libero.py, as far as it goes without LIBERO: what it declares, its words, and its teacher on scenes placed by hand."""

from pathlib import Path

import numpy as np
import pytest

from ludus.types import LudusError
from ludus.worlds import files

world, _ = files.load(Path(__file__).parents[1] / "examples" / "libero.py")
SEEN, X = world.SEEN, "cream cheese"


def scene(**changed):
    """Cream cheese on the floor beside the basket, the gripper above it; `changed` are fields of either."""
    o = {g.name: np.zeros((1, g.size), np.float32) for g in SEEN.groups}
    for name in world.THINGS:
        SEEN.get(o, name, "quaternion")[:] = [1, 0, 0, 0]
        SEEN.get(o, name, "position")[:] = world.FAR
    for name, place, edges in (
        (X, (0.5, -0.2, 0.01), (0.08, 0.04, 0.02)),
        ("basket", (0.6, 0.26, 0.07), (0.16, 0.17, 0.14)),
    ):
        SEEN.get(o, name, "position")[:], SEEN.get(o, name, "edges")[:] = place, edges
        SEEN.get(o, name, "present")[:] = 1
    SEEN.get(o, "gripper", "position")[:] = (0.5, -0.2, 0.08)
    for name, value in changed.items():
        SEEN.get(o, X if name in SEEN.by_name[X].slices else "gripper", name)[:] = value
    return o


def test_every_grocery_has_a_skill_that_the_teacher_obeys():
    captions = world.ludus.SkillLibrary(world.WORDS, map(world.skill, world.GROCERIES)).captions
    assert len(captions) == 10
    for caption in captions:
        world.Teacher(None).clean({g: a[0] for g, a in scene().items()}, caption)
    with pytest.raises(LudusError, match="does not know 'juggle'"):
        world.Teacher(None).clean({g: a[0] for g, a in scene().items()}, "juggle")


def test_the_box_of_a_thing_that_lies_on_its_side_is_turned():
    o = scene(quaternion=[np.sqrt(0.5), 0, np.sqrt(0.5), 0])  # a quarter turn about y
    np.testing.assert_allclose(world.lying(SEEN, o, X), [[0.02, 0.04, 0.08]], atol=1e-6)
    np.testing.assert_allclose(world.height(SEEN, o, X), [0.01 - 0.04], atol=1e-6)


def test_the_teacher_grasps_lifts_carries_and_lets_go():
    def action(**changed):
        o = {g: a[0] for g, a in scene().items()}
        for name, value in changed.items():
            group, _, field = name.partition("__")
            SEEN.get(o, {"x": X}.get(group, group), field)[:] = value
        return world.Teacher(None).clean(o, world.PLACE.format(X))

    held = {"x__touch_left": 1, "x__touch_right": 1, "gripper__command": 1}
    assert action()[2] < 0 and action()[4] == -1  # down, open
    assert action(gripper__position=(0.5, -0.2, 0.012))[4] == 1  # closes
    assert action(**held)[2] == 1 and action(**held)[1] == 0  # straight up
    assert action(**held, x__position=(0.5, -0.2, 0.2))[1] == 1  # to the basket
    over = held | {"x__position": (0.6, 0.26, 0.1), "gripper__position": (0.6, 0.26, 0.1)}
    assert action(**over)[4] == -1  # lets go


def test_the_grasp_moves_away_from_a_neighbour():
    o = {g: a[0] for g, a in scene().items()}
    assert not np.any(world.aside(o, X))
    SEEN.get(o, "milk", "position")[:] = (0.54, -0.3, 0.065)
    assert world.aside(o, X)[0] == pytest.approx(-0.025)
