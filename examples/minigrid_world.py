"""MiniGrid as a world (`pip install minigrid`): `ludus collect data world.name=minigrid_world.py:grid`."""

from dataclasses import dataclass

import gymnasium
from gymnasium.spaces import Box, Dict, Discrete

from ludus import Skill, predicate
from ludus.worlds.from_gym import GymField, GymGroup, GymTask, gym_world


@dataclass(frozen=True)
class Options:  # world.options.*
    size: int = 6  # 5, 6, 8 or 16


class Places(gymnasium.ObservationWrapper):
    """Where agent and goal are, instead of what the agent sees."""

    def __init__(self, size):
        super().__init__(gymnasium.make(f"minigrid:MiniGrid-Empty-{size}x{size}-v0"))
        self.observation_space = Dict(place=Box(1, size - 2, (2,)), direction=Discrete(4), goal=Box(1, size - 2, (2,)))

    def observation(self, observation):
        corner = self.observation_space["goal"].high
        return {"place": self.unwrapped.agent_pos, "direction": observation["direction"], "goal": corner}


@predicate("real")
def squares(spec, o, x):
    """Squares between the agent and X."""
    return abs(spec.get(o, "agent", "place") - spec.get(o, x, "place")).sum(-1)


agent = GymGroup("agent", "effector", (GymField("place", "place"), GymField("direction", "direction")))
goal = GymGroup("goal", "object", (GymField("place", "goal"),), movable=False)
task = GymTask(Places, (0, 1), [agent, goal], success=lambda reward, terminated, info: reward > 0, predicates=[squares],
               skills=[Skill("go to goal", "1 - squares(goal) / 20", "solved()", steps=40)],
               episode_steps=80)  # fmt: skip
grid = gym_world(task, options=Options)
