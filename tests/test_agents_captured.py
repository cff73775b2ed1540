"""Updates that are recorded as CUDA graphs: they are what they would be without."""

import dataclasses

import pytest
import torch
from test_agents_trainer import Targets
from toy_world import SMALL, SPEC

from ludus.agents.backends.captured import CapturedBackend
from ludus.agents.pac.agent import PAC
from ludus.agents.trainer import Trainer
from ludus.config import TrainingConfig

pytestmark = pytest.mark.gpu


class Longer(Targets):
    """Captions of more words: batches of another shape."""

    captions = ("go to red, and do so very slowly", "go to green")


def weights(config, updates, precision="float32"):
    learner = Trainer(config, SPEC, 20, 0, TrainingConfig(device="cuda", precision=precision))
    begun = learner.backend.parameters[0].detach().clone()
    metrics = [learner.fit(source(config), n) for source, n in updates]
    assert isinstance(learner.backend, CapturedBackend)
    return learner, begun, metrics


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "changes", [{}, {"network": "mlp"}, {"name": "iql"}, {"alpha": 1.0, "beta": 0.0}], ids=["pac", "mlp", "iql", "bc"]
)
def test_recorded_updates_are_the_same_updates(monkeypatch, changes, precision):
    config, updates = dataclasses.replace(SMALL, **changes), [(Targets, 4), (Longer, 3), (Targets, 3)]
    recorded, begun, metrics = weights(config, updates, precision)
    assert recorded.backend._recording is not None
    monkeypatch.setattr(CapturedBackend, "_recordable", False)
    computed, same, plain = weights(config, updates, precision)
    assert computed.backend._recording is None and torch.equal(begun, same)
    moved = (computed.backend.parameters[0] - begun).norm()
    assert (recorded.backend.parameters[0] - computed.backend.parameters[0]).norm() < 0.01 * moved
    for one, other in zip(metrics, plain, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3) and one.keys() == other.keys()


def test_what_cannot_be_recorded_is_computed(monkeypatch, caplog):
    loss = PAC.loss
    monkeypatch.setattr(PAC, "loss", lambda self, prepared: (float(loss(self, prepared)[0]), loss(self, prepared))[1])
    learner, begun, _ = weights(SMALL, [(Targets, 3), (Targets, 3)])
    assert "without CUDA graphs" in caplog.text and learner.backend._recording is None
    assert not torch.equal(learner.backend.parameters[0], begun)
