"""A world of which only the description exists: a hand, two blocks, and a learner small enough for tests."""

import numpy as np

from ludus.config import AgentConfig
from ludus.types import Field, Group, ObservationSpec, WorldSpec
from ludus.worlds.blocks import cube_encoder

OBJECTS = ("red", "green")
BLOCK = tuple(Field(n, k, "m", n) for n, k in (("position", 3), ("quaternion", 4), ("size", 1)))
HAND = tuple(Field(n, k, "m", n) for n, k in (("position", 3), ("yaw", 1), ("width", 1)))
GROUPS = (Group("hand", "effector", HAND), *[Group(o, "object", BLOCK) for o in OBJECTS])
SPEC = WorldSpec("toy", OBJECTS, ObservationSpec(GROUPS), ("x", "y"), 20, 40, 10, ("any",), (), "toy", cube_encoder)
SMALL = AgentConfig(width=16, latents=2, action_bins=11, value_atoms=21, batch_size=64, action_samples=4)


def observe(draw, n):
    seen = {g.name: draw.uniform(-0.1, 0.1, (n, g.size)).astype(np.float32) for g in GROUPS}
    for name in OBJECTS:
        seen[name][:, 3:] = (1, 0, 0, 0, 0.04)
    return seen
