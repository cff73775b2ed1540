"""examples/metaworld_mt10.py, as far as it goes without Meta-World: what is read of an observation, and what its experts get."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box

from ludus.agents.captions import MAX_WORDS
from ludus.worlds import files
from ludus.worlds.from_gym import GymTask
from ludus.worlds.from_gym.description import layout

world, _ = files.load(Path(__file__).parents[1] / "examples" / "metaworld_mt10.py")
SEEN = np.arange(39) / 40


@pytest.fixture(scope="module")
def o():
    """What the world shows of an observation of numbers that rise."""
    space = Box(-np.ones(39), np.ones(39), dtype=np.float64)
    reading, spec = layout(GymTask("x", (0, 1), world.groups), space)
    ends = np.cumsum([g.size for g in spec.groups])
    groups = dict(zip((g.name for g in spec.groups), np.split(reading(space, SEEN), ends[:-1]), strict=False))
    return {(g, f.name): spec.get(groups, g, f.name) for g in groups for f in spec.by_name[g].fields}


def test_each_caption_has_its_expert_who_gets_metaworlds_row(o):
    got = {}

    class Policy:
        def __init__(self, caption):
            self.caption = caption

        def get_action(self, row):
            got[self.caption] = row
            return np.array([0, 0, 0, 5])

    experts = object.__new__(world.Experts)
    experts.policies = {caption: Policy(caption) for caption in world.TASKS.values()}
    experts.noise = type("Clean", (), {"disturb": staticmethod(lambda actions: actions)})
    assert experts.obeys("open the door") and not experts.obeys("juggle")
    batch = {g: np.concatenate([v for (of, _), v in o.items() if of == g])[None] for g in ("hand", "thing", "goal")}
    assert experts.act(batch, ["open the door"]).tolist() == [[0, 0, 0, 1]]
    ((caption, row),) = got.items()
    assert caption == "open the door"
    np.testing.assert_allclose(row, [*SEEN[:18], *np.zeros(18), *SEEN[36:]])


def test_captions_fit_the_network():
    assert len(set(world.TASKS.values())) == 10
    assert max(len(caption.split()) for caption in world.TASKS.values()) <= MAX_WORDS
