"""The default encoder: any groups of any fields; what the networks get of them is enough to learn from."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_world import SMALL, SPEC

from ludus.agents.captions import CaptionEncoder
from ludus.agents.encoders import GroupEncoder, make_encoder
from ludus.agents.trainer import Trainer
from ludus.types import Batch, Field, Group, LudusError, ObservationSpec, WorldSpec
from ludus.worlds.blocks.encoder import CubeEncoder

HAND = (
    Field("position", (2,), "m", "where it is", scale=0.5),
    Field("grip", (1,), "1", "0 open, 1 closed", centre=0.5),
)
LAMP = (Field("position", (2,), "m", "where it is", scale=0.5), Field("bright", (1,), "1", "1 if it is on"))
DOOR = (
    Field("angle", (1,), "rad", "0 closed", centre=0.8, scale=0.8),
    Field("position", (2,), "m", "hinge", scale=0.5),
)


def world(objects=("lamp", "door", "second lamp"), **fields):
    """A world whose objects have no size, yaw or quaternion, and different fields."""
    kinds = {"lamp": LAMP, "second lamp": LAMP, "door": DOOR}
    groups = (Group("hand", "effector", HAND), *[Group(o, "object", kinds[o]) for o in objects])
    return WorldSpec(
        "rooms", tuple(objects), ObservationSpec(groups), ("x", "y"), 20, 40, 10, ("any",), (), "r", **fields
    )


def observe(spec, draw, n):
    return {g.name: draw.uniform(-1, 1, (n, g.size)).astype(np.float32) for g in spec.observation.groups}


def encode(spec, observations, caption):
    encoder = make_encoder(spec)
    packed = encoder.pack(observations)
    slots = torch.from_numpy(CaptionEncoder(spec.objects).table([caption] * len(packed))[1])
    task, objects = encoder(packed, slots)
    assert task.shape == (len(packed), encoder.task_size) and objects.shape[2] == encoder.object_size
    assert task.dtype == objects.dtype == torch.float32
    return task, objects


def test_a_world_that_declares_an_encoder_gets_it():
    assert isinstance(make_encoder(SPEC), CubeEncoder)
    assert isinstance(make_encoder(dataclasses.replace(SPEC, encoder=None)), GroupEncoder)


def relations(*ways):
    """Of each way, in scales: itself and its length, as they are and as tanh of 4 and of 16 times them."""
    rows = [np.append(way, np.hypot(*way)) for way in ways]
    return [x for row in rows for seen in (row, np.tanh(4 * row), np.tanh(16 * row)) for x in seen]


def test_every_number_has_one_place():
    """By hand: columns position 2, grip 1, bright 1, angle 1; flags of these four fields; kind 3; ways from hand, door, lamp and
    what no third name says; role 3."""
    spec = world(("lamp", "door"))
    seen = {
        "hand": np.array([[0.5, -0.5, 1.0]], np.float32),
        "lamp": np.array([[0.25, 0.0, 1.0]], np.float32),
        "door": np.array([[1.6, -0.5, 0.5]], np.float32),
    }
    task, objects = encode(spec, seen, "swing door to lamp")
    nothing = (0, 0)
    hand = [1, -1, 0.5, 0, 0, 1, 1, 0, 0, 0, 1, 0, *relations(nothing, (2, -2), (0.5, -1), nothing)]
    lamp = [0.5, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, *relations((-0.5, 1), (1.5, -1), nothing, nothing)]
    door = [-1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1, *relations((-2, 2), nothing, (-1.5, 1), nothing)]
    expected = [[*hand, 0, 0, 0], [*lamp, 0, 1, 0], [*door, 1, 0, 0]]
    assert torch.allclose(objects[0], torch.tensor(expected, dtype=torch.float32))
    empty = [0] * (1 + len(door))
    assert torch.allclose(task[0], torch.tensor([1, -1, 0.5, 1, *door, 1, *lamp, *empty], dtype=torch.float32))


def test_what_lacks_a_field_has_no_relation_by_it_and_scales_are_the_hands():
    """A switch without a place; a hand whose entries have scales of their own."""
    place = Field("position", (2,), "m", "", scale=(0.5, 0.25))
    far = dataclasses.replace(place, scale=9.0)
    groups = (
        Group("switch", "object", (Field("on", (1,), "1", ""),)),
        Group("lamp", "object", (far,)),
        Group("hand", "effector", (place,)),
    )
    spec = dataclasses.replace(world(()), objects=("lamp", "switch"), observation=ObservationSpec(groups))
    seen = {"switch": [[1]], "lamp": [[0.5, 0.5]], "hand": [[0.25, 0.25]]}
    task, objects = encode(spec, {g: np.array(v, np.float32) for g, v in seen.items()}, "turn switch by lamp")
    nothing = (0, 0)
    ways = [[nothing] * 4, [(0.5, 1), nothing, nothing, nothing], [nothing, nothing, (-0.5, -1), nothing]]
    assert torch.allclose(objects[0, :, -3 - 36 : -3], torch.tensor([relations(*row) for row in ways]).float())
    assert task.shape[1] == 2 + 3 * (1 + objects.shape[2] - 3)


@pytest.mark.parametrize(
    ("kinds", "size"),
    [
        ((), 11),
        (("arm",), 13 + 36),
        (("effector",), 13 + 36),
        (("arm", "effector"), 13 + 36),
        (("effector",) * 2, 13 + 45),
    ],
)
def test_an_arm_stands_for_a_missing_effector_and_two_hands_are_both_seen(kinds, size):
    """Nine numbers for each hand and each of three named objects, beside columns, flags, kind and role."""
    hands = [Group(f"hand {i}", kind, HAND) for i, kind in enumerate(kinds)]
    observation = ObservationSpec((*hands, Group("lamp", "object", LAMP)))
    assert GroupEncoder(dataclasses.replace(world(("lamp",)), observation=observation)).object_size == size


def test_a_caption_without_objects_and_a_world_without_objects():
    spec = world()
    task, objects = encode(spec, observe(spec, np.random.default_rng(0), 4), "wave")
    assert (task[:, 3:] == 0).all() and (objects[..., -3 - 27 :] == 0).all()
    spec = world(())
    task, objects = encode(spec, observe(spec, np.random.default_rng(0), 4), "wave")
    assert objects.shape[1] == 1 and (objects[..., -3:] == 0).all()


def test_sizes_do_not_depend_on_how_many_objects_there_are():
    few, many = GroupEncoder(world(("lamp", "door"))), GroupEncoder(world(("lamp", "door", "second lamp")))
    assert (few.task_size, few.object_size) == (many.task_size, many.object_size)


def test_slots_are_indices_of_the_specs_objects_whatever_the_order_of_groups():
    spec = world(("lamp", "door"))
    turned = dataclasses.replace(spec, objects=("door", "lamp"))
    seen = observe(spec, np.random.default_rng(1), 3)
    for one, other in zip(encode(spec, seen, "reach door"), encode(turned, seen, "reach door"), strict=True):
        assert torch.equal(one, other)


def test_what_it_cannot_read_is_named():
    film = Group("film", "effector", (Field("pixels", (4, 8, 8, 3), "1", "", dtype="uint8"),))
    spec = world()
    with pytest.raises(LudusError, match=r"up to three axes, 'film' is of shape \(4, 8, 8, 3\); declare an encoder"):
        make_encoder(dataclasses.replace(spec, observation=ObservationSpec((*spec.observation.groups, film))))
    with pytest.raises(LudusError, match=r"object 'table' .* has no observation group"):
        make_encoder(dataclasses.replace(spec, objects=("lamp", "table")))
    for odd, says in (
        (Field("p", (2,), "m", "", scale=0), "scale of 0"),
        (Field("p", (2,), "m", "", centre=(1, 2, 3)), "give one number or 2"),
    ):
        with pytest.raises(LudusError, match=says):
            make_encoder(
                dataclasses.replace(spec, objects=(), observation=ObservationSpec((Group("h", "arm", (odd,)),)))
            )


class Chain:
    """Batches of a chain of one step: the action that moves the hand to what the caption names is the one that pays."""

    def __init__(self, spec, batch_size):
        self.spec, self.batch_size, self.draw = spec, batch_size, np.random.default_rng(0)
        self.captions = tuple(f"reach {o}" for o in spec.objects)

    def next(self):
        n, draw = self.batch_size, self.draw
        seen, skills = observe(self.spec, draw, n), draw.integers(len(self.captions), size=n)
        actions = self.towards(seen, skills)
        return Batch(seen, actions, seen, np.ones(n, np.float32), np.zeros(n, np.float32), skills, np.ones(n, bool))

    def towards(self, seen, skills):
        get = self.spec.observation.get
        places = np.stack([get(seen, o, "position") for o in self.spec.objects], 1)
        way = places[np.arange(len(skills)), skills] - get(seen, "hand", "position")
        return np.clip(way, -1, 1).astype(np.float32)


def test_reaching_is_learned_in_a_world_without_size_yaw_or_quaternion():
    torch.set_num_threads(1)
    spec = world()
    config = dataclasses.replace(SMALL, alpha=1.0, beta=0.0, learning_rate=3e-3, width=32)
    source, learner = Chain(spec, config.batch_size), Trainer(config, spec, 300, 0)
    learner.fit(source, 300)
    seen, skills = observe(spec, np.random.default_rng(1), 200), np.arange(200) % 3
    acted = learner.policy().act(seen, [source.captions[k] for k in skills])
    error = np.abs(acted - source.towards(seen, skills))
    guessed = np.abs(acted[::-1] - source.towards(seen, skills))
    assert error.mean() < 0.15 < 0.6 < guessed.mean()
