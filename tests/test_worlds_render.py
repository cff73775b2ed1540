"""Pictures: the blocks are where the observations say, at both backends."""

import numpy as np
import pytest

from ludus.types import LudusError
from ludus.worlds.blocks.world import BlocksWorld
from ludus.worlds.render import probe

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def world():
    world = BlocksWorld(3, 2, 1)
    yield world
    world.close()


def test_this_machine_has_a_backend():
    assert probe() in ("egl", "osmesa")


def test_every_block_is_seen_in_its_colour(world):
    frames = world.frames(world.reset([0, 1]), "front", 256).astype(int)
    assert frames.shape == (2, 256, 256, 3)
    for channel in range(3):
        others = frames[..., [c for c in range(3) if c != channel]].max(-1)
        assert ((frames[..., channel] - others > 60).sum((1, 2)) > 40).all()


def test_the_same_observations_give_the_same_picture(world):
    seen = world.reset([0, 1])
    assert np.array_equal(world.frames(seen), world.frames(seen))
    assert not np.array_equal(*world.frames(seen))


def test_unknown_camera(world):
    with pytest.raises(LudusError, match="front"):
        world.frames(world.observe(), "frnt")
