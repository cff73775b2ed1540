"""Lift and Stack of robosuite: a Panda and one or two cubes, by robosuite's own simulation, controller and success check.

`ludus worlds install examples/robosuite_world.py:stack` first. Cubes are called by their colours: Lift's is red, Stack's cubeA is
red and its cubeB green. Actions are those of robosuite's default controller OSC_POSE: an action of 1 asks for 5 cm or 0.5 rad in
one step of 50 ms; roll and pitch are no actions, the hand is kept upright. Positions are metres from the arm's foot at the height
of the table: x ahead, y left, z up. `solved()` is robosuite's success, `task_reward()` its shaped reward. Source: Zhu et al.
2020, arXiv 2009.12293.
"""

from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np

from ludus.skills.predicates import block_predicates
from ludus.worlds.blocks import cube_encoder
from ludus.worlds.blocks.skills import base_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.from_gym import GymField, GymGroup, GymTask, gym_world

TABLE_M = 0.8  # height of the table's top in robosuite's coordinates
TURN_RAD = 0.5  # what an action of 1 asks for
GRIPPER_SIZE, CUBE_SIZE = 6, 14
NEEDS = ("robosuite==1.5.2", "mujoco==3.3.0", "gymnasium==1.4.0")


class Table(gymnasium.Env):
    """One of robosuite's environments with `cubes`, our name -> its attribute.

    The size of Lift's cube, 4.0 to 4.4 cm, is drawn once, as only a new model could change it."""

    def __init__(self, name, cubes):
        import robosuite

        self.env = robosuite.make(name, robots="Panda", use_camera_obs=False, has_offscreen_renderer=False, use_object_obs=False,
                                  reward_shaping=True, ignore_done=True, hard_reset=False, seed=0)  # fmt: skip
        self.env.step(np.zeros(7))  # compiles the controller, which takes longer than a later step may
        self.model, self.data, self.robot = self.env.sim.model._model, self.env.sim.data._data, self.env.robots[0]
        self.tcp, gripper = self.robot.eef_site_id["right"], self.robot.gripper["right"]
        self.fingers = [self.model.jnt_qposadr[self.model.joint(joint).id] for joint in gripper.joints]
        pads = (gripper.important_geoms[f"{side}_fingerpad"] for side in ("left", "right"))
        self.touchers = [self._geoms(names) for names in (*pads, ["table_collision"])]
        self.cubes = [getattr(self.env, attribute) for attribute in cubes.values()]
        size = GRIPPER_SIZE + CUBE_SIZE * len(cubes)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (5,))

    def _geoms(self, names):
        return [self.model.geom(name).id for name in names]

    def reset(self, *, seed=None, options=None):
        self.env.rng = self.env.placement_initializer.rng = np.random.default_rng(seed)
        self.env.reset()
        return self._seen(), {}

    def step(self, action):
        turn = self.data.site_xmat[self.tcp].reshape(3, 3)
        upright = np.array([-turn[1, 2], turn[0, 2]]) / TURN_RAD
        _, reward, _, _ = self.env.step(np.clip([*action[:3], *upright, *action[3:]], -1, 1))
        return self._seen(), reward, False, False, {"solved": self.env._check_success()}

    def _seen(self):
        turn = self.data.site_xmat[self.tcp].reshape(3, 3)
        origin = np.array([*self.robot.base_pos[:2], TABLE_M])
        fingers, command = self.data.qpos[self.fingers], self.robot.gripper["right"].current_action
        seen = [*(self.data.site_xpos[self.tcp] - origin), np.arctan2(turn[1, 0], turn[0, 0]) - np.pi / 2,
                fingers[0] - fingers[1], command[-1]]  # fmt: skip
        pairs = {frozenset(pair) for pair in self.data.contact.geom.tolist()}
        for cube in self.cubes:
            body, at = self.model.body(cube.root_body).id, self.model.jnt_dofadr[self.model.joint(cube.joints[0]).id]
            own = self._geoms(cube.contact_geoms)
            touches = [any(frozenset((a, b)) in pairs for a in own for b in others) for others in self.touchers]
            seen += [*(self.data.xpos[body] - origin), *self.data.xquat[body], *self.data.qvel[at : at + 3],
                     2 * self.model.geom_size[own[0], 0], *touches]  # fmt: skip
        return np.array(seen, np.float32)


def group(name, kind, start, *fields):
    placed = []
    for field, size, unit, centre, scale in fields:
        placed.append(GymField(field, slice(start, start + size), unit, centre=centre, scale=scale))
        start += size
    return GymGroup(name, kind, tuple(placed))


def task(name, cubes, *goals):
    """With the skills of `ludus.worlds.blocks`; what is robosuite's own goal must also succeed by its check."""
    gripper = group("gripper", "effector", 0, ("position", 3, "m", (0.5, 0, 0.15), 0.2), ("yaw", 1, "rad", 0, 1),
                    ("width", 1, "m", 0.04, 0.04), ("command", 1, "1", 0, 1))  # fmt: skip
    groups = [group(x, "object", GRIPPER_SIZE + CUBE_SIZE * i, ("position", 3, "m", (0.5, 0, 0.05), 0.2),
                    ("quaternion", 4, "1", 0, 1), ("velocity", 3, "m/s", 0, 0.2), ("size", 1, "m", 0.04, 0.01),
                    ("touch_left", 1, "1", 0, 1), ("touch_right", 1, "1", 0, 1), ("touch_table", 1, "1", 0, 1))
              for i, x in enumerate(cubes)]  # fmt: skip
    skills = [replace(skill, success=f"{skill.success} and solved()") if skill.caption in goals else skill
              for skill in base_skills([*cubes])]  # fmt: skip
    return GymTask(partial(Table, name, cubes), (0, 1), [gripper, *groups], "solved", skills, block_predicates(),
                   ("x", "y", "z", "yaw", "gripper"), 20, 400, encoder=cube_encoder, name=f"{name}, {NEEDS[0]}")  # fmt: skip


LIFT = task("Lift", {"red": "cube"}, "lift red")
STACK = task("Stack", {"red": "cubeA", "green": "cubeB"}, "stack red on green", "stack red on green and leave")
lift, stack = gym_world(LIFT, Teacher, requirements=NEEDS), gym_world(STACK, Teacher, requirements=NEEDS)
