"""Batches from what a device holds: the numbers of those that are sent to it."""

import dataclasses

import numpy as np
import pytest
import torch
from counting_episodes import LIBRARY, SPEC, VOCABULARY, episode
from test_agents_trainer import SMALL as TOY_AGENT
from test_agents_trainer import SPEC as TOY
from test_agents_trainer import Targets

from ludus.agents import batches
from ludus.agents.batches import BatchReader, DeviceReader
from ludus.agents.trainer import Trainer
from ludus.config import AgentConfig, SamplingConfig, TrainingConfig, preset
from ludus.data import EpisodeStore, Sampler
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import Vocabulary
from ludus.types import Field, Group, LudusError, ObservationSpec, WorldSpec

PAC = AgentConfig(
    batch_size=64, n_step=4, gamma=0.9, width=16, latents=2, action_bins=5, value_atoms=11, action_samples=2
)
PICTURE = Group("eye", "effector", (Field("picture", (8, 9, 3), "1", "what it sees", scale=255.0, dtype="uint8"),))
CPU = torch.device("cpu")


def world(*more: Group) -> WorldSpec:
    seen = ObservationSpec((*SPEC.groups, *more))
    return WorldSpec("counting", ("a", "b"), seen, ("x", "y", "z"), 20, 40, 10, ("any",), (), "counting", None)


def store(tmp_path, picture=False) -> EpisodeStore:
    found = EpisodeStore.create(tmp_path / "run", preset("tiny"))
    found.append([pictured(k, 10 + k, picture) for k in range(5)], step="collect/0")
    return found


def pictured(number, n_steps, picture):
    e = episode(number, n_steps, switches=[4], a=[7], b=[2, 9])
    if not picture:
        return e
    seen = np.random.default_rng(number).integers(0, 256, (n_steps + 1, 8, 9, 3)).astype(np.uint8)
    return dataclasses.replace(e, observations={**e.observations, "eye": seen})


def library(spec: WorldSpec) -> SkillLibrary:
    return SkillLibrary(Vocabulary(spec.observation, VOCABULARY.objects, VOCABULARY.predicates), LIBRARY)


@pytest.mark.parametrize("picture", [False, True], ids=["numbers", "pictures"])
@pytest.mark.parametrize("memory", ["ram", "mapped"])
def test_they_are_the_same_batches_also_after_more_episodes(tmp_path, monkeypatch, picture, memory):
    monkeypatch.setattr(batches, "PIECE", 1000)
    spec, kept = world(*[PICTURE] * picture), store(tmp_path, picture)
    samplers = [Sampler(kept, library(spec), PAC, SamplingConfig(memory=memory), 3) for _ in range(2)]
    for step in range(2):
        if step:
            kept.append([pictured(9, 30, picture)], step="collect/1")
            for sampler in samplers:
                sampler.refresh()
        sent, held = BatchReader(samplers[0], spec), DeviceReader(samplers[1], spec, CPU)
        for _ in range(6):
            one, other = sent.next(), held.next()
            for f in dataclasses.fields(one):
                a, b = getattr(one, f.name), getattr(other, f.name)
                assert a.dtype == b.dtype and torch.equal(a, b), f.name


@pytest.mark.parametrize("processes", [1, 2])
def test_where_the_data_lie_does_not_show_in_the_weights(tmp_path, processes):
    spec, kept = world(), store(tmp_path)
    learners = []
    for there in (False, True):
        settings = TrainingConfig(processes=processes, data_on_device=there)
        learners.append(Trainer(PAC, spec, 6, 0, settings))
        sampler = Sampler(kept, library(spec), PAC, SamplingConfig(), 3)
        for _ in range(2):
            learners[-1].fit(sampler, 3)
    assert all(map(torch.equal, learners[0].backend.parameters, learners[1].backend.parameters))


@pytest.mark.gpu
@pytest.mark.parametrize("picture", [False, True], ids=["numbers", "pictures"])
def test_on_a_gpu_it_learns_the_same(tmp_path, picture):
    spec, kept = world(*[PICTURE] * picture), store(tmp_path, picture)
    weights = []
    for there in (False, True):
        learner = Trainer(PAC, spec, 12, 0, TrainingConfig(device="cuda", data_on_device=there))
        begun = learner.backend.parameters[0].detach().clone()
        sampler = Sampler(kept, library(spec), PAC, SamplingConfig(), 3)
        for _ in range(3):
            learner.fit(sampler, 4)
        weights.append(learner.backend.parameters[0])
    assert (weights[0] - weights[1]).norm() < 0.01 * (weights[0] - begun).norm()


def test_a_source_without_rows_is_named():
    with pytest.raises(LudusError, match=r"Targets has no rows .* training.data_on_device=false"):
        Trainer(TOY_AGENT, TOY, 20, 0, TrainingConfig(data_on_device=True)).fit(Targets(TOY_AGENT), 1)


def test_too_little_memory_is_explained(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("can't allocate memory")

    sampler = Sampler(store(tmp_path), library(world()), PAC, SamplingConfig(), 3)
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(
        LudusError, match=r"no room for 0 MB of transitions in the memory of cpu; .*data_on_device=false"
    ):
        DeviceReader(sampler, world(), CPU)
