"""Any Gymnasium environment as a world, from a description in one's own file (docs/add-a-world.md)."""

from ludus.worlds.from_gym.description import GymField, GymGroup, GymTask
from ludus.worlds.from_gym.world import GymWorld, ended, gym_world, solved, task_reward

__all__ = ["GymField", "GymGroup", "GymTask", "GymWorld", "ended", "gym_world", "solved", "task_reward"]
