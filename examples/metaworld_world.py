"""Tasks of Meta-World, with its experts as teachers, in an interpreter of their own, as it is pinned to an older MuJoCo:
`ludus worlds install metaworld_world.py:drawer`, then `ludus collect data world.name=metaworld_world.py:drawer`."""

from functools import partial

import gymnasium
import numpy as np

from ludus import Skill
from ludus.worlds.blocks.noise import Noise
from ludus.worlds.from_gym import GymField, GymGroup, GymTask, gym_world


class Task(gymnasium.Wrapper):
    """Meta-World ignores the seed of a reset, and counts an episode in which the task was solved once."""

    def __init__(self, name):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        env = ALL_V3_ENVIRONMENTS[name](reward_function_version="v2")
        env._partially_observable, env._freeze_rand_vec = False, False
        env._set_task_called = env.seeded_rand_vec = True
        vars(env).pop("sawyer_observation_space", None)  # the one without a goal
        env.observation_space = env.sawyer_observation_space
        super().__init__(env)

    def reset(self, *, seed=None, options=None):
        self.unwrapped.seed(seed)
        self.solved = 0.0
        return super().reset(options=options)

    def step(self, action):
        *seen, info = super().step(action)
        self.solved = max(self.solved, info["success"])
        return *seen, info | {"solved": self.solved}


class Experts:
    """Of tasks, name -> caption. Of an observation they get what this file's tasks show, and nothing of the step before."""

    def __init__(self, tasks, spec):
        from metaworld.policies import ENV_POLICY_MAP

        self.policies, self.spec = {caption: ENV_POLICY_MAP[name]() for name, caption in tasks.items()}, spec

    def obeys(self, caption):
        return caption in self.policies

    def begin(self, seeds, noise, random_mask):
        self.noise = Noise(seeds, noise, random_mask, self.spec.episode_steps, len(self.spec.actions))

    def act(self, o, captions):
        rows = np.hstack([o["hand"], o["thing"][:, :14], np.zeros((len(captions), 18)), o["goal"][:, :3]])
        clean = [self.policies[caption].get_action(row) for caption, row in zip(captions, rows, strict=True)]
        return self.noise.disturb(np.clip(clean, -1, 1)).astype(np.float32)


def task(make, name, caption, groups):
    return GymTask(partial(make, name), (0, 10), groups, "solved", episode_steps=200, name=name,
                   skills=[Skill(caption, "task_reward()", "solved()", steps=200)])  # fmt: skip


def kind(name, caption):
    own = task(Task, name, caption, [hand, thing, goal])
    return gym_world(own, partial(Experts, {name: caption}), requirements=NEEDS)


NEEDS = ("metaworld==3.1.1", "mujoco==3.3.0", "packaging")
PLACE = {"unit": "m", "centre": (0, 0.7, 0.15), "scale": 0.15}
hand = GymGroup("hand", "effector", (GymField("position", slice(0, 3), **PLACE), GymField("opening", 3)))
thing = GymGroup("thing", "object", (GymField("position", slice(4, 7), **PLACE), GymField("rest", slice(7, 18))))
goal = GymGroup("goal", "object", (GymField("position", slice(36, 39), **PLACE),), movable=False)
drawer, door = kind("drawer-open-v3", "open the drawer"), kind("door-open-v3", "open the door")
button = kind("button-press-v3", "press the button")
