"""MT10, ten tasks of Meta-World, as one world: what is to be done is told by the caption alone, which also chooses the scene.

`ludus worlds install examples/metaworld_mt10.py:mt10` first; benchmarks/results/mt10.sh trains one policy on noisy experts.
Rewards are those of version v2. A task counts as solved from the first step on at which Meta-World's own success holds; an
episode has 200 steps, the benchmark's 500. Objects and goals are drawn anew from Meta-World's ranges in every episode, not from
a list of 50. Sources: Yu et al. 2019, arXiv 1910.10897; version 3: McLean et al. 2025, arXiv 2505.11289.
"""

from functools import partial

from metaworld_world import NEEDS, Experts, Task, goal, hand, task, thing

from ludus.worlds.from_gym import gym_world

TASKS = {
    "reach-v3": "reach the goal",
    "push-v3": "push the puck to the goal",
    "pick-place-v3": "lift the puck to the goal",
    "door-open-v3": "open the door",
    "drawer-open-v3": "open the drawer",
    "drawer-close-v3": "close the drawer",
    "button-press-topdown-v3": "press the button from above",
    "peg-insert-side-v3": "insert the peg at the goal",
    "window-open-v3": "open the window",
    "window-close-v3": "close the window",
}


groups = [hand, thing, goal]
mt10 = gym_world([task(Task, name, caption, groups) for name, caption in TASKS.items()], partial(Experts, TASKS),
                 requirements=NEEDS, name="mt10")  # fmt: skip
