"""MT10, ten tasks of Meta-World, as one world: what is to be done is told by the caption alone, which also chooses the scene.

`ludus worlds install examples/metaworld_mt10.py:mt10` first; benchmarks/results/mt10.sh trains one policy on noisy experts.
Rewards are those of version v2. A task counts as solved from the first step on at which Meta-World's own success holds; an
episode has 200 steps, the benchmark's 500. Objects and goals are drawn anew from Meta-World's ranges in every episode, not from
a list of 50. Sources: Yu et al. 2019, arXiv 1910.10897; version 3: McLean et al. 2025, arXiv 2505.11289.
"""

from functools import partial

import numpy as np
from gymnasium import ObservationWrapper
from gymnasium.spaces import Box
from metaworld_world import NEEDS, Experts, Task, goal, hand, task, thing

from ludus.worlds.from_gym import GymField, GymGroup, gym_world

NEAR_M = 0.05  # scale of what is shown of a way near its end
TASKS = {
    "reach-v3": "reach the goal",
    "push-v3": "push the puck to the goal",
    "pick-place-v3": "lift the puck to the goal",
    "door-open-v3": "open the door",
    "drawer-open-v3": "open the drawer",
    "drawer-close-v3": "close the drawer",
    "button-press-topdown-v3": "press the button from above",
    "peg-insert-side-v3": "insert the peg",
    "window-open-v3": "open the window",
    "window-close-v3": "close the window",
}


class Ways(ObservationWrapper):
    """Also shows the ways from hand to thing, from hand to goal and from thing to goal, and each near its end."""

    def __init__(self, name):
        super().__init__(Task(name))
        low, high = self.env.observation_space.low, self.env.observation_space.high
        self.observation_space = Box(np.pad(low, (0, 18), constant_values=-2), np.pad(high, (0, 18), constant_values=2))

    def observation(self, seen):
        at, thing_at, goal_at = seen[:3], seen[4:7], seen[36:39]
        ways = np.concatenate([thing_at - at, goal_at - at, goal_at - thing_at])
        return np.concatenate([seen, ways, np.tanh(ways / NEAR_M)])


def way(name, start):
    return (GymField(name, slice(start, start + 3), "m", scale=0.15),
            GymField(f"{name}_near", slice(start + 9, start + 12)))  # fmt: skip


groups = [
    hand,
    GymGroup("thing", "object", (*thing.fields, *way("from_hand", 39))),
    GymGroup("goal", "object", (*goal.fields, *way("from_hand", 42), *way("from_thing", 45)), movable=False),
]
mt10 = gym_world([task(Ways, name, caption, groups) for name, caption in TASKS.items()], partial(Experts, TASKS),
                 requirements=NEEDS, name="mt10")  # fmt: skip
