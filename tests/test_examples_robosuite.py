"""examples/robosuite_world.py, as far as it goes without robosuite: what it declares fits skills, teacher and encoder, and how
actions become robosuite's."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from ludus.agents.encoders import make_encoder
from ludus.worlds import files
from ludus.worlds.from_gym import GymWorld

world, _ = files.load(Path(__file__).parents[1] / "examples" / "robosuite_world.py")


class Empty(gymnasium.Env):
    """Shows zeros."""

    action_space = gymnasium.spaces.Box(-1, 1, (5,))

    def __init__(self, n_cubes):
        self.observation_space = gymnasium.spaces.Box(-1, 1, (world.GRIPPER_SIZE + world.CUBE_SIZE * n_cubes,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, np.float32), {}


@pytest.mark.parametrize(
    ("task", "own"),
    [(world.LIFT, ["lift red"]), (world.STACK, ["stack red on green", "stack red on green and leave"])],
    ids=["lift", "stack"],
)
def test_what_is_declared_fits_skills_teacher_and_encoder(task, own):
    objects = [g.name for g in task.groups if g.kind == "object"]
    made = GymWorld(replace(task, environment=lambda: Empty(len(objects))), n_envs=2)
    columns = [at for g in task.groups for f in g.fields for at in range(f.at.start, f.at.stop)]
    assert columns == [*range(world.GRIPPER_SIZE + world.CUBE_SIZE * len(objects))]
    library, teacher, seen = made.library(), world.Teacher(made.spec), made.reset([1, 2])
    assert [skill.caption for skill in library if "solved()" in skill.success] == own
    for caption in library.captions:
        assert teacher.obeys(caption) and teacher.clean(seen, [caption] * 2).shape == (2, 5)
    encoder = make_encoder(made.spec)
    assert encoder.pack(seen).shape == (2, 5 + 9 * len(objects))  # what the environment says itself is hidden


def test_the_hand_is_kept_upright():
    table, told = object.__new__(world.Table), []
    step = lambda action: (told.append(action), 0.5, False, {})  # noqa: E731
    table.env = SimpleNamespace(step=step, _check_success=lambda: True)
    table.tcp, table._seen = 0, lambda: None
    tilt = 0.1  # rad about x: the hand's z axis leans to y
    hand = np.array([[1, 0, 0], [0, -np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), -np.cos(tilt)]])
    table.data = SimpleNamespace(site_xmat=hand.reshape(1, 9))
    _, reward, ended, _, info = table.step(np.array([0.1, 0.2, 0.3, 0.4, -1]))
    assert (reward, ended, info) == (0.5, False, {"solved": True})
    np.testing.assert_allclose(told[0][[0, 1, 2, 5, 6]], [0.1, 0.2, 0.3, 0.4, -1])
    about_x = told[0][3] * world.TURN_RAD
    c, s = np.cos(about_x), np.sin(about_x)
    righted = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ hand
    np.testing.assert_allclose(righted[:, 2], [0, 0, -1], atol=1e-3)
