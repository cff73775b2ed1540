"""Fetch pick and place as a world. It cannot be made with MuJoCo 4, so it has an interpreter of its own:
`ludus worlds install fetch_world.py:fetch`, then `ludus collect data world.name=fetch_world.py:fetch`."""

import numpy as np

from ludus import Skill, predicate
from ludus.worlds.from_gym import GymField, GymGroup, GymTask, gym_world

TABLE = {"unit": "m", "centre": (1.34, 0.75, 0.5), "scale": 0.15}  # where the positions lie


@predicate("real")
def reach(spec, o, x):
    """Metres from the gripper to X."""
    return np.linalg.norm(spec.get(o, "gripper", "position") - spec.get(o, x, "position"), axis=-1)


@predicate("real")
def apart(spec, o, x, y):
    """Metres from X to Y."""
    return np.linalg.norm(spec.get(o, x, "position") - spec.get(o, y, "position"), axis=-1)


def state(name, first, last, unit="m/s", centre=0.0, scale=1.0):
    return GymField(name, ("observation", slice(first, last)), unit, "", centre, scale)


class Teacher:
    """Goes above the cube, down, closes, and carries it to the goal."""

    def __init__(self, spec):
        self.get = spec.observation.get

    def begin(self, seeds, noise, random_mask):
        self.noise = np.where(random_mask, 10, noise)[:, None]
        self.draws = [np.random.default_rng(seed) for seed in seeds]

    def act(self, o, captions):
        hand, cube, goal = (self.get(o, x, "position") for x in ("gripper", "cube", "goal"))
        above = np.linalg.norm((hand - cube)[:, :2], axis=1) < 0.02
        near = above & (np.abs(hand - cube)[:, 2] < 0.02)
        held = near & (self.get(o, "gripper", "fingers").sum(1) < 0.055)
        carries = held & np.array(["bring" in c for c in captions])
        target = np.where(above[:, None], cube, cube + np.float32([0, 0, 0.1]))
        target = np.where(carries[:, None], goal + hand - cube, target)
        action = np.column_stack([10 * (target - hand), np.where(near, -1, 1)])
        return np.clip(action + self.noise * [draw.normal(size=4) for draw in self.draws], -1, 1).astype(np.float32)


gripper = GymGroup(
    "gripper",
    "effector",
    (
        GymField("position", ("observation", slice(0, 3)), **TABLE),
        state("fingers", 9, 11, "m", 0.025, 0.025),
        state("velocity", 20, 25, scale=0.02),
    ),
)
cube = GymGroup(
    "cube",
    "object",
    (
        GymField("position", "achieved_goal", **TABLE),
        state("rotation", 11, 14, "rad"),
        state("velocity", 14, 20, scale=0.02),
    ),
)
goal = GymGroup("goal", "object", (GymField("position", "desired_goal", **TABLE),), movable=False)
way = "(shape(reach(cube), 0.3) + 3 * shape(apart(cube, goal), 0.3)) / 4"
skills = [
    Skill("reach cube", "shape(reach(cube), 0.3)", "reach(cube) < 0.02", steps=25),
    Skill("bring cube to goal", way, "solved()", steps=50),
]
task = GymTask("gymnasium_robotics:FetchPickAndPlace-v4", rewards=(-1, 0), groups=[gripper, cube, goal], skills=skills,
               predicates=[reach, apart], actions=("x", "y", "z", "open"), episode_steps=75)  # fmt: skip
fetch = gym_world(task, Teacher, requirements=("gymnasium-robotics==1.4.2", "mujoco==3.3.0"))
