"""The seam: a second algorithm is a file and a line, its options are settings, and what worker processes need pickles."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from test_agents_pac import ALONE, LINE, ONWARD, STEPS, Chain, places
from test_agents_trainer import Targets
from torch import nn
from toy_world import SMALL, SPEC, observe

from ludus.agents import AGENTS, agent_class
from ludus.agents.base import Agent, AgentSpec
from ludus.agents.batches import BatchReader
from ludus.agents.policy import load_policy
from ludus.agents.trainer import Trainer
from ludus.config import Config, TrainingConfig, as_dict, from_dict, override
from ludus.types import LudusError

pytestmark = pytest.mark.usefixtures("one_thread")


# --- a second algorithm ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RegressionOptions:
    hidden: int = 32
    scale: float = 1.0


class Regression(Agent):
    """All of an algorithm: cloning by least squares, of whichever caption."""

    Options = RegressionOptions

    @classmethod
    def make_network(cls, config, spec):
        size = 5 + 9 * len(spec.objects)
        hidden = cls.read_options(config).hidden
        return nn.Sequential(nn.Linear(size + 1, hidden), nn.ReLU(), nn.Linear(hidden, len(spec.actions)))

    def loss(self, prepared):
        loss = (self._actions(prepared) - prepared.actions).square().mean() * self.options.scale
        return loss, {"error": loss.detach()}

    def act(self, batch, temperature, uniform):
        return self._actions(batch).clamp(-1, 1)

    def _actions(self, batch):
        return self.online(torch.cat([batch.obs, batch.object_slots[:, :1].float()], dim=-1))


TOY = dataclasses.replace(SMALL, name="toy", learning_rate=1e-2, acting_ema=0.02, options={"hidden": "64"})


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(AGENTS, "toy", Regression)  # the line


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("training", [ALONE, TrainingConfig(microbatches=4, processes=2)])
def test_a_second_algorithm_is_one_file_and_one_line(tmp_path, training):
    source = Targets(TOY, noise=0.2)
    trainer = Trainer(TOY, SPEC, 150, 0, training)
    metrics = trainer.fit(source, 150)
    assert metrics["loss"] == pytest.approx(metrics["error"])  # the loss is reported by itself
    assert source.error(trainer.policy()) < 0.3
    trainer.save(tmp_path / "toy.pt")
    policy, seen = load_policy(tmp_path / "toy.pt", SPEC), observe(np.random.default_rng(0), 5)
    assert np.array_equal(policy.act(seen, ["go to red"] * 5), trainer.policy().act(seen, ["go to red"] * 5))
    with pytest.raises(LudusError, match=r"agent\.name=toy has no critic"):
        policy.values(seen, ["go to red"])
    again = Trainer.load(tmp_path / "toy.pt", SPEC, training)
    again.fit(source, 1)
    assert again.updates == 151 and again.n_parameters == (23 + 1 + 1) * 64 + (64 + 1) * 2


@pytest.mark.usefixtures("toy")
def test_another_algorithms_weights_are_refused(tmp_path):
    Trainer(SMALL, SPEC, 1, 0).save(tmp_path / "pac.pt")
    with pytest.raises(LudusError, match=r"agent\.name=pac there, toy here"):
        Trainer(TOY, SPEC, 1, 0).start_from(tmp_path / "pac.pt")


def test_iql_learns_the_chains_optimal_policy():
    """Of the data's first actions, seven of ten lead back: cloning them would, too."""
    config = dataclasses.replace(STEPS, name="iql", target_ema=0.1)
    trainer, source = Trainer(config, LINE, 400, 0, ALONE), Chain()
    trainer.fit(source, 400)
    policy, seen = trainer.policy(), places([0, 1, 2])
    assert (np.sign(policy.act(seen, source.captions * 3)[:, 0]) == ONWARD).all()
    values = policy.values(seen, source.captions)[:, 0]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("name", AGENTS)
def test_every_algorithm_trains_in_worker_processes_as_in_one(name):
    config = dataclasses.replace(SMALL, name=name)
    weights = []
    for processes in (1, 2):
        trainer = Trainer(config, SPEC, 20, 0, TrainingConfig(processes=processes))
        trainer.fit(Targets(config), 2)
        weights.append(trainer.backend.acting_weights[0])
    assert torch.equal(*weights)


# --- options -----------------------------------------------------------------------------------------------------


def test_options_are_settings_that_survive_json():
    config = override(Config(), ["agent.name=iql", "agent.options.expectile=0.8", "agent.options.temperature=1"])
    config = from_dict(as_dict(config))
    options = agent_class("iql").read_options(config.agent)
    assert (options.expectile, options.temperature) == (0.8, 1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["agent.name=igl"], r"unknown agent\.name 'igl'; nearest: 'iql'"),
        (["agent.name=iql", "agent.options.expectil=0.9"], r"unknown option .*'expectil'; nearest: 'expectile'"),
        (["agent.name=iql", "agent.options.expectile=high"], r"agent\.options\.expectile=high is not of type float"),
        (["agent.options.expectile=0.9"], r"agent\.name=pac has no options"),
    ],
)
def test_what_an_algorithm_does_not_have_is_named(settings, words):
    with pytest.raises(LudusError, match=words):
        Trainer(override(Config(), settings).agent, SPEC, 1, 0)


# --- pickling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGENTS)
def test_what_processes_need_pickles(name):
    """An agent's spec goes to worker processes, batches lie in their memory, a policy may go to a collector."""
    config = dataclasses.replace(SMALL, name=name)
    spec = AgentSpec(agent_class(name), config, SPEC)
    assert pickle.loads(pickle.dumps(spec)) == spec
    batch = BatchReader(Targets(config), SPEC).next()
    copy = pickle.loads(pickle.dumps(batch))
    assert all(torch.equal(getattr(batch, f.name), getattr(copy, f.name)) for f in dataclasses.fields(batch))
    policy, seen = Trainer(config, SPEC, 1, 0).policy(), observe(np.random.default_rng(0), 3)
    again = pickle.loads(pickle.dumps(policy))
    assert np.array_equal(policy.act(seen, ["go to red"] * 3), again.act(seen, ["go to red"] * 3))


def test_a_policy_reads_only_the_acting_weights(tmp_path):
    trainer = Trainer(SMALL, SPEC, 20, 0)
    trainer.fit(Targets(SMALL), 3)
    trainer.save(tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({"config": state["config"], "world": state["world"], "acting": state["acting"]}, tmp_path / "b.pt")
    seen = observe(np.random.default_rng(0), 3)
    policy = load_policy(tmp_path / "b.pt", SPEC)
    assert np.array_equal(policy.act(seen, ["go to red"] * 3), trainer.policy().act(seen, ["go to red"] * 3))
