"""A Minari dataset of Pendulum-v1, to be learned from: what the environment's description says of it, it says of the dataset.

ludus import data minari pendulum/random-v0 world.name=examples/minari_world.py:pendulum
ludus train learned --data data world.name=examples/minari_world.py:pendulum
ludus run --data data world.name=examples/minari_world.py:pendulum
"""

from ludus import Skill
from ludus.worlds.from_gym import GymTask, gym_world

swing_up = Skill("swing up", "task_reward()", "task_reward() > 0.99", steps=200)
pendulum = gym_world(GymTask("Pendulum-v1", rewards=(-16.3, 0), skills=[swing_up]))
