"""Images and other fields that are no flat float32, from the world to the gradient: examples/image_world.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from command import ludus
from toy_world import SMALL

from ludus.agents.encoders import GroupEncoder
from ludus.agents.pac.networks import Patches
from ludus.agents.trainer import Trainer
from ludus.config import Config, SamplingConfig, TrainingConfig, WorldConfig
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment.conformance import check_world
from ludus.lab.actors import ActorSpec
from ludus.lab.collector import LocalCollector, collect_tasks
from ludus.lab.embodiment import run
from ludus.lab.rollout import RolloutSpec
from ludus.types import Field, Group, LudusError, ObservationSpec, WorldSpec
from ludus.worlds.registry import make_world

pytestmark = pytest.mark.usefixtures("one_thread")
WORLD = f"{Path(__file__).parents[1] / 'examples' / 'image_world.py'}:reach"
TINY = dataclasses.replace(SMALL, gamma=0.9, n_step=4)


def collected(folder, n, n_envs):
    """A store of the teacher's episodes, and the world."""
    config = WorldConfig(WORLD, n_envs=n_envs)
    world = make_world(config)
    rollouts = [RolloutSpec(world.library().captions, seed, info={"noise": 0.3}) for seed in range(n)]
    store = EpisodeStore.create(folder, Config())
    tasks = collect_tasks("seed-data", rollouts, ActorSpec("teacher"), world.library(), config, world.spec)
    for i, result in enumerate(LocalCollector(world).map(tasks)):
        store.append(result.episodes, step=f"seed-data/{i}")
    return store, world


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    store, world = collected(tmp_path_factory.mktemp("images") / "data", 8, 4)
    yield store, world
    store.record.close()


def test_what_the_world_showed_is_stored_and_drawn_as_it_was(few):
    store, world = few
    (first, _), episodes = store.shards(), list(store)
    assert store.observations(first)["camera"].dtype == np.uint8
    again = world.reset([episodes[0].seed, *[0] * 3])
    assert np.array_equal(store.load(episodes[0].id).observations["camera"][0], again["camera"][0])
    shown = {
        point.tobytes(): image
        for e in episodes
        for point, image in zip(e.observations["point"], e.observations["camera"], strict=True)
    }
    kept = [Sampler(store, world.library(), TINY, SamplingConfig(memory=memory), 0) for memory in ("ram", "mapped")]
    for batch, mapped in ((s.next() for s in kept) for _ in range(2)):
        for seen, other in (
            (batch.observations, mapped.observations),
            (batch.next_observations, mapped.next_observations),
        ):
            assert seen["camera"].dtype == np.uint8 and seen["camera"].shape == (TINY.batch_size, 32, 32, 3)
            assert seen["point"].dtype == np.float32 and seen["camera"].flags.aligned and seen["point"].flags.aligned
            assert all(np.array_equal(seen[g], other[g]) for g in seen)
            for point, image in zip(seen["point"], seen["camera"], strict=True):
                assert np.array_equal(image, shown[point.tobytes()])


def test_another_layout_is_refused(few):
    store, _ = few
    episode = store.load(store.ids()[0])
    for odd in (np.float32, np.int8):
        seen = episode.observations | {"camera": episode.observations["camera"].astype(odd)}
        with pytest.raises(LudusError, match=r"camera is \w+ \(21, 32, 32, 3\), expected uint8 \(21, 32, 32, 3\)"):
            store.append([dataclasses.replace(episode, id="odd", observations=seen)], step="odd")


@pytest.mark.parametrize(("name", "network"), [("pac", "perceiver"), ("pac", "mlp"), ("iql", "perceiver")])
def test_the_gradient_reaches_the_image_and_the_image_the_action(few, name, network):
    store, world = few
    config = dataclasses.replace(TINY, name=name, network=network)
    learner = Trainer(config, world.spec, 10, 0, TrainingConfig(processes=1))
    before = {k: v.clone() for k, v in learner.backend.online.state_dict().items() if k.startswith("images.")}
    learner.fit(Sampler(store, world.library(), config, SamplingConfig(), 0), 2)
    assert before
    for key, weight in learner.backend.online.state_dict().items():
        assert key not in before or not torch.equal(weight, before[key])
    seen = world.reset([0, 1, 2, 3])
    values, there = logits(learner, seen), logits(learner, seen | {"camera": 255 - seen["camera"]})
    assert not torch.equal(values, there)
    other = world.reset([0, 5, 6, 7])
    assert torch.equal(logits(learner, other)[0], values[0])  # whatever its neighbours are


def test_other_fields_are_numbers_beside_the_rest_and_images_come_as_declared():
    draw = np.random.default_rng(0)
    fields = {
        "count": Field("count", 3, "1", "", dtype="int64", centre=5, scale=(1, 2, 4)),
        "flags": Field("flags", 2, "1", "", dtype="bool"),
        "camera": Field("pixels", (9, 8, 3), "1", "", dtype="uint8", centre=127.5, scale=(1, 2, 3)),
        "pose": Field("pose", (3, 4), "1", "", scale=2.0),
        "depth": Field("metres", (8, 9), "m", "", dtype="float64", centre=1.0, scale=0.5),
    }
    groups = tuple(Group(name, "effector", (field,)) for name, field in fields.items())
    spec = WorldSpec("odd", (), ObservationSpec(groups), ("x",), 10, 10, 10, ("any",), (), "odd")
    encoder = GroupEncoder(spec)
    seen = {g.name: (draw.random((2, *g.shape)) * 10).astype(g.dtype) for g in groups}
    slots = torch.full((2, 3), -1)
    task, objects, camera, depth = encoder(encoder.pack(seen), slots)
    expected = [(seen["count"] - 5) / [1, 2, 4], seen["flags"], seen["pose"].reshape(2, 12) / 2]
    assert np.allclose(task[:, :17], np.concatenate(expected, -1)) and not task[:, 17:].any()
    assert objects.shape == (2, 5, encoder.object_size) and task.shape == (2, encoder.task_size)
    assert np.allclose(camera, (seen["camera"] - 127.5) / [1, 2, 3])
    assert np.allclose(depth, (seen["depth"][..., None] - 1) / 0.5)
    assert encoder.image_shapes == (camera.shape[1:], depth.shape[1:]) == ((9, 8, 3), (8, 9, 1))
    for i in range(2):  # a row that lies anywhere in memory
        one = encoder(encoder.pack(seen)[i : i + 1], slots[:1])
        for part, whole in zip(one, (task, objects, camera, depth), strict=True):
            assert torch.equal(part[0], whole[i])


def test_a_patch_is_its_pixels_and_its_place():
    patches = Patches((10, 9, 2), 4)
    assert (patches.side, patches.grid) == (2, [5, 5])
    patches.layers = torch.nn.Sequential(torch.nn.Identity())
    image = torch.arange(180.0).reshape(1, 10, 9, 2)
    tokens = patches(image)
    assert tokens.shape == (1, 25, 10)
    assert torch.equal(tokens[0, 6, :8], image[0, 2:4, 2:4].flatten()) and tokens[0, 6, 8:].tolist() == [-0.5, -0.5]
    assert tokens[0, 4, 8:].tolist() == [-1, 1]  # first row, last column: beyond the edge is 0
    assert torch.equal(tokens[0, 4, :8].reshape(2, 2, 2)[:, 1], torch.zeros(2, 2))


def test_every_command_takes_such_a_world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {f.check: f for f in check_world(WorldConfig(WORLD), episodes=2)}
    assert "fails" not in {f.state for f in found.values()} and found["scales"].state == "holds", found
    assert "an image (32, 32, 3)" in found["encoder"].sentence
    tiny = ("--preset", "tiny", "world.n_envs=4", f"world.name={WORLD}")
    ludus("collect", "data", *tiny, "-n", 4)
    ludus("train", "learned", *tiny, "--data", "data", "training.updates=2", "training.evaluate_every=2")
    assert "go to the target" in ludus("eval", "learned", "-n", 1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_pac_learns_to_go_where_only_the_image_shows(tmp_path):
    store, world = collected(tmp_path / "data", 512, 64)
    config = dataclasses.replace(TINY, width=32, latents=4, learning_rate=3e-3)
    rollouts = [RolloutSpec(world.library().captions, 10_000 + seed) for seed in range(64)]
    rates = {}
    for name, spec in (("seeing", world.spec), ("blind", dataclasses.replace(world.spec, encoder=blind))):
        learner = Trainer(config, spec, 2000, 0, TrainingConfig(processes=1))
        learner.fit(Sampler(store, world.library(), config, SamplingConfig(), 0), 1250)
        _, outcomes = run(world, world.library(), rollouts, learner.policy(1 / 3), "policy")
        rates[name] = np.mean([o.success_at_end for o in outcomes])
    store.record.close()
    assert rates["blind"] < 0.3 and rates["seeing"] > 0.8, rates


def blind(spec):
    kept = tuple(g for g in spec.observation.groups if g.name != "camera")
    return GroupEncoder(dataclasses.replace(spec, observation=ObservationSpec(kept)))


def logits(learner, seen):
    """The policy's, `[E, A, bins]`."""
    policy = learner.policy()
    agent = policy._agent
    token_ids, slots = map(torch.from_numpy, policy._captions.table(["go to the target"] * len(seen["point"])))
    with torch.inference_mode():
        task, objects, *images = agent.encoder(agent.encoder.pack(seen), slots)
        return agent.online.policy(*agent.online.encode(task, objects, token_ids, *images))
